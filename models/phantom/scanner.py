"""What the scanner adds: blur within a slice and across it, noise, the circle it sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import VolumeGeometry
from models.phantom.shapes import Array

#: Value of pixels that the scanner does not see.
OUTSIDE_HU = -1024
_HIGHEST_HU = 3071


@dataclass(frozen=True, eq=False)
class Scanner:
    """A scanner's settings for one grid.

    Parameters
    ----------
    seed
        Of the noise.
    geometry
        The grid.
    noise_hu
        Standard deviation of the noise in the middle of the body.
    grain_mm
        Correlation length of the noise in the plane.
    blur_mm
        Width of the point spread in the plane.
    circular_view
        Whether the corners of slices are left out.
    """

    seed: int
    geometry: VolumeGeometry
    noise_hu: float
    grain_mm: float
    blur_mm: float
    circular_view: bool

    @classmethod
    def draw(cls, seed: int, geometry: VolumeGeometry, circular_view: bool) -> Scanner:
        """Draw the settings of a scan."""
        rng = np.random.default_rng([seed, 10])
        return cls(
            seed=seed,
            geometry=geometry,
            noise_hu=float(rng.uniform(8.0, 25.0)),
            grain_mm=float(rng.uniform(0.55, 0.95)),
            blur_mm=float(rng.uniform(1.1, 1.6)),
            circular_view=circular_view,
        )

    @property
    def edge_mm(self) -> float:
        """Width of an edge in the plane: point spread and pixel together."""
        return float(np.hypot(self.blur_mm, max(self.geometry.spacing_mm[1:])))

    def offsets_in_slice(self) -> tuple[float, ...]:
        """Positions across a slice's thickness, in slices, whose mean makes the slice."""
        count = 2 * int(self.geometry.spacing_mm[0] // 4.0) + 1 if self._thick() else 1
        return tuple((n - (count - 1) / 2) / count for n in range(count))

    def _thick(self) -> bool:
        return self.geometry.spacing_mm[0] > 2.5

    def expose(self, mean_hu: Array, k: int) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        """Add noise to a slice and cut the view.

        Returns
        -------
        hu, seen
            `(H, W)` int16, and whether the scanner sees the pixel.
        """
        hu = mean_hu + self._noise(mean_hu, k)
        # nothing is less dense than a vacuum: HU below -1024 are clipped, as on a real scanner
        result = np.clip(np.rint(hu), OUTSIDE_HU, _HIGHEST_HU).astype(np.int16)
        seen = self._seen()
        result[~seen] = OUTSIDE_HU
        return result, seen

    def _noise(self, mean_hu: Array, k: int) -> Array:
        rng = np.random.default_rng([self.seed, 11, k])
        _, dj, di = self.geometry.spacing_mm
        sigma = (self.grain_mm / dj, self.grain_mm / di)
        white = rng.standard_normal(mean_hu.shape, dtype=np.float32)
        fine = ndimage.gaussian_filter(white, sigma)
        # reconstruction leaves little noise of low frequency
        noise: Array = fine - ndimage.gaussian_filter(fine, [4 * s for s in sigma])
        noise *= np.float32(self.noise_hu / max(float(noise.std()), 1e-6))
        return noise * self._attenuation(mean_hu)

    def _attenuation(self, mean_hu: Array) -> Array:
        """Noise relative to the middle of the body: less outside of it."""
        _, dj, di = self.geometry.spacing_mm
        tissue = (mean_hu > -500).astype(np.float32)
        around = ndimage.gaussian_filter(tissue, (45.0 / dj, 45.0 / di), truncate=2.0)
        relative: Array = np.float32(0.35) + np.float32(0.75) * around
        return relative

    def _seen(self) -> NDArray[np.bool_]:
        _, height, width = self.geometry.shape
        if not self.circular_view:
            return np.ones((height, width), bool)
        _, dj, di = self.geometry.spacing_mm
        y = (np.arange(height) - (height - 1) / 2) * dj
        x = (np.arange(width) - (width - 1) / 2) * di
        radius = min(height * dj, width * di) / 2
        seen: NDArray[np.bool_] = np.hypot(y[:, None], x) <= radius
        return seen
