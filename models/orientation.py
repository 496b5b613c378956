"""Turn a grid's axes to the patient's, by permuting and flipping alone, and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.geometry import VolumeGeometry

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class AxisOrder:
    """How array axes `(k, j, i)` become canonical: z to the head, y to the back, x to the left.

    Parameters
    ----------
    source_axis
        For each canonical axis `(z, y, x)`, the source's array axis.
    flipped
        For each canonical axis, whether the source runs the other way.
    """

    source_axis: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def closest(cls, geometry: VolumeGeometry) -> AxisOrder:
        """Pair each source axis with the patient axis it is closest to, best total first."""
        # rows: canonical (z, y, x); columns: array axes (k, j, i)
        cosines = geometry.direction_lps[::-1, ::-1]
        order = max(
            permutations(range(3)),
            key=lambda axes: sum(abs(cosines[row, axis]) for row, axis in enumerate(axes)),
        )
        flipped = tuple(bool(cosines[row, axis] < 0) for row, axis in enumerate(order))
        return cls(
            source_axis=(order[0], order[1], order[2]),
            flipped=(flipped[0], flipped[1], flipped[2]),
        )

    def apply(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """View a source array `(D, H, W)` in canonical order."""
        turned = array.transpose(self.source_axis)
        axes = tuple(axis for axis, flip in enumerate(self.flipped) if flip)
        return np.flip(turned, axes) if axes else turned

    def invert(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """View a canonical array in the source's order; the inverse of `apply`."""
        axes = tuple(axis for axis, flip in enumerate(self.flipped) if flip)
        turned = np.flip(array, axes) if axes else array
        return turned.transpose(np.argsort(self.source_axis))

    def geometry(self, source: VolumeGeometry) -> VolumeGeometry:
        """The grid of `apply(array)`: every voxel keeps its place in the patient."""
        kji = np.zeros(3)
        columns = np.zeros((3, 3))
        for canonical, (axis, flip) in enumerate(zip(self.source_axis, self.flipped, strict=True)):
            column = source.affine_lps[:3, 2 - axis]
            columns[:, 2 - canonical] = -column if flip else column
            if flip:
                kji[axis] = source.shape[axis] - 1
        affine = np.eye(4)
        affine[:3, :3] = columns
        affine[:3, 3] = source.to_lps(kji)
        shape: Any = tuple(source.shape[axis] for axis in self.source_axis)
        return VolumeGeometry(shape=shape, affine_lps=affine)
