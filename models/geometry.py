"""Where voxels lie in the patient: the one place that defines the project's conventions.

Arrays are `(D, H, W)` with index `(k, j, i)`. An affine maps `(i, j, k, 1)` to LPS millimetres
(DICOM PS3.3 C.7.6.2.1.1: +x to the patient's left, +y to posterior, +z to the head).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import GeometryError

#: Largest cosine between two axes of a grid that still counts as orthogonal (0.006 degrees).
ORTHOGONALITY_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class VolumeGeometry:
    """A regular, orthogonal grid in the patient.

    Parameters
    ----------
    shape
        `(D, H, W)`, each at least 1.
    affine_lps
        `(4, 4)` float64, maps `(i, j, k, 1)` to LPS mm. Copied and made read-only.

    Raises
    ------
    GeometryError
        If no such grid can exist: not finite, a spacing of zero, sheared axes, a wrong last row.
    """

    shape: tuple[int, int, int]
    affine_lps: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"expected three positive sizes (D, H, W), found {self.shape}")
        affine = np.array(self.affine_lps, np.float64)  # a copy: nobody may move the grid
        affine.setflags(write=False)
        if affine.shape != (4, 4):
            raise GeometryError(f"expected a 4 x 4 affine, found shape {affine.shape}")
        if not np.isfinite(affine).all():
            raise GeometryError("expected a finite affine, found NaN or infinity")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise GeometryError(f"expected a last row of 0 0 0 1, found {affine[3]}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if not (spacing > 0).all():
            raise GeometryError(f"expected positive spacings (i, j, k) in mm, found {spacing}")
        cosines = (affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing) - np.eye(3)
        if np.abs(cosines).max() > ORTHOGONALITY_TOLERANCE:
            raise GeometryError(
                "expected orthogonal axes, found a shear of "
                f"{np.degrees(np.arcsin(min(1.0, np.abs(cosines).max()))):.3f} degrees"
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine_lps", affine)

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        origin_lps: Sequence[float] = (0.0, 0.0, 0.0),
        direction_lps: ArrayLike | None = None,
    ) -> VolumeGeometry:
        """Build a grid from its parts.

        Parameters
        ----------
        shape, spacing_mm
            In array order `(k, j, i)`.
        origin_lps
            Centre of the voxel `(0, 0, 0)` in LPS mm.
        direction_lps
            `(3, 3)`, columns are the unit vectors of i, j and k; default the identity (axial
            slices from feet to head).

        Raises
        ------
        GeometryError
            If no such grid can exist.
        """
        if not all(mm > 0 for mm in spacing_mm):
            raise GeometryError(f"expected positive spacings (k, j, i) in mm, found {spacing_mm}")
        affine = np.eye(4)
        directions = np.eye(3) if direction_lps is None else np.asarray(direction_lps, float)
        affine[:3, :3] = directions * np.asarray(spacing_mm, float)[::-1]
        affine[:3, 3] = origin_lps
        depth, height, width = (int(n) for n in shape)
        return cls(shape=(depth, height, width), affine_lps=affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres in mm, in array order `(k, j, i)`."""
        i, j, k = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def direction_lps(self) -> NDArray[np.float64]:
        """`(3, 3)`, columns are the unit vectors of i, j and k in LPS."""
        directions: NDArray[np.float64] = self.affine_lps[:3, :3] / np.linalg.norm(
            self.affine_lps[:3, :3], axis=0
        )
        return directions

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def to_lps(self, index_kji: ArrayLike) -> NDArray[np.float64]:
        """Map array indices `(..., 3)` in order `(k, j, i)` to LPS mm `(..., 3)`."""
        ijk = np.asarray(index_kji, np.float64)[..., ::-1]
        points: NDArray[np.float64] = ijk @ self.affine_lps[:3, :3].T + self.affine_lps[:3, 3]
        return points

    def to_index(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Map LPS mm `(..., 3)` to fractional array indices `(..., 3)` in order `(k, j, i)`."""
        offsets = np.asarray(points_lps, np.float64) - self.affine_lps[:3, 3]
        indices: NDArray[np.float64] = (offsets @ np.linalg.inv(self.affine_lps[:3, :3]).T)[
            ..., ::-1
        ]
        return indices

    def agrees_with(self, other: VolumeGeometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have one shape and every voxel within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape]), axis=-1)
        apart = np.abs(self.to_lps(corners) - other.to_lps(corners)).max()
        return bool(apart <= tolerance_mm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A CT volume in Hounsfield units.

    Parameters
    ----------
    hu
        `(D, H, W)` int16; kept as it is (no copy) and made read-only.
    geometry
        Its grid.

    Raises
    ------
    GeometryError
        If the array is not int16 or does not fit the grid.
    """

    hu: NDArray[np.int16] = field(repr=False)
    geometry: VolumeGeometry

    def __post_init__(self) -> None:
        if self.hu.dtype != np.int16:
            raise GeometryError(f"expected int16 Hounsfield units, found {self.hu.dtype}")
        if self.hu.shape != self.geometry.shape:
            raise GeometryError(
                f"expected voxels of shape {self.geometry.shape}, found {self.hu.shape}"
            )
        self.hu.setflags(write=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMap:
    """Segment numbers on a grid; 0 is background.

    Parameters
    ----------
    labels
        `(D, H, W)` uint8; kept as it is (no copy) and made read-only.
    geometry
        Its grid.

    Raises
    ------
    GeometryError
        If the array is not uint8 or does not fit the grid.
    """

    labels: NDArray[np.uint8] = field(repr=False)
    geometry: VolumeGeometry

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8:
            raise GeometryError(f"expected uint8 labels, found {self.labels.dtype}")
        if self.labels.shape != self.geometry.shape:
            raise GeometryError(
                f"expected labels of shape {self.geometry.shape}, found {self.labels.shape}"
            )
        self.labels.setflags(write=False)

    def centroid_lps(self, number: int) -> NDArray[np.float64] | None:
        """Mean position of a segment's voxel centres in LPS mm `(3,)`; None where it is empty."""
        sums = np.zeros(3)
        count = 0
        for k, plane in enumerate(self.labels):  # plane by plane: no list of all voxels in memory
            j, i = np.nonzero(plane == number)
            sums += (k * len(j), j.sum(), i.sum())
            count += len(j)
        return None if count == 0 else self.geometry.to_lps(sums / count)
