"""Irregularity that belongs to the anatomy: displacement of the whole body and grain of tissue."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.phantom.shapes import Array

_TILE = 48


@dataclass(frozen=True, eq=False)
class Grain:
    """A periodic random field of mean 0 and standard deviation 1, the same at the same place."""

    tile: Array = field(repr=False)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Grain:
        """Draw a field."""
        white = rng.standard_normal((_TILE, _TILE, _TILE))
        smooth = ndimage.gaussian_filter(white, 1.2, mode="wrap")
        return cls(((smooth - smooth.mean()) / smooth.std()).astype(np.float32))

    def at(self, x: Array, y: Array, z: Array, grain_mm: float) -> Array:
        """Values at points in mm, for bumps of about `grain_mm`."""
        pitch = np.float32(grain_mm / 2.5)
        where = np.stack([np.broadcast_to(v / pitch, np.shape(x)) for v in (x, y, z)])
        values: Array = ndimage.map_coordinates(self.tile, where, order=1, mode="grid-wrap")
        return values


@dataclass(frozen=True, eq=False)
class Pose:
    """Maps points in the patient (LPS mm) to the undistorted anatomy.

    A small turn and shift of the person on the table, then a smooth displacement: a sum of plane
    waves with lengths of 110 to 320 mm, so that neighbouring organs move together.
    """

    shift_mm: NDArray[np.float64]
    rotation: NDArray[np.float64]
    waves: NDArray[np.float64] = field(repr=False)
    phases: NDArray[np.float64] = field(repr=False)
    amplitudes_mm: NDArray[np.float64] = field(repr=False)

    @classmethod
    def draw(cls, rng: np.random.Generator, strength_mm: float = 3.0) -> Pose:
        """Draw a pose; the displacement has a standard deviation of `strength_mm` per axis."""
        count = 9
        angles = np.radians(rng.normal(0.0, (1.2, 1.2, 1.8)))
        skew = np.array(
            [
                [0.0, -angles[2], angles[1]],
                [angles[2], 0.0, -angles[0]],
                [-angles[1], angles[0], 0.0],
            ]
        )
        rotation, _ = np.linalg.qr(np.eye(3) + skew)
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(110.0, 320.0, (count, 1))
        amplitudes = rng.standard_normal((count, 3)) * strength_mm * np.sqrt(2.0 / count)
        # short waves are kept low, or else surfaces would fold
        amplitudes *= lengths / 220.0
        return cls(
            shift_mm=rng.uniform(-8.0, 8.0, 3),
            rotation=rotation * np.sign(np.diag(rotation)),
            waves=2 * np.pi * directions / lengths,
            phases=rng.uniform(0.0, 2 * np.pi, count),
            amplitudes_mm=amplitudes,
        )

    def to_anatomy(self, points_lps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points `(..., 3)` in LPS mm to the anatomy's own frame `(..., 3)` in mm."""
        moved = (points_lps - self.shift_mm) @ self.rotation.T
        displaced: NDArray[np.float64] = (
            moved + np.sin(moved @ self.waves.T + self.phases) @ self.amplitudes_mm
        )
        return displaced
