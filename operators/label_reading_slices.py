"""Labels drawn on the slices of a CT, and brought from there to the grid of its volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.geometry import LabelMap
from operators.errors import VolumeError
from operators.slice_stack import SliceStack

#: What to do where organs overlap: refuse, or let the one named first have the voxel.
Overlap = Literal["error", "first"]
#: Frames and contours may lie so far beside the plane of their slice, in slice distances.
PLANE_TOLERANCE = 0.25
#: Planes of a repaired grid further than this from any slice (in slice distances) are unknown.
_COVERED = 0.75
UNKNOWN = 255


class SliceLabels:
    """A canvas of the slices of a stack.

    Parameters
    ----------
    stack
        The slices.
    rank
        Of each label value; the lowest wins where `overlap` is `first`.
    overlap
        What to do with a pixel that two organs claim.
    path
        Of the object that is drawn, for messages.
    """

    def __init__(
        self, stack: SliceStack, rank: Mapping[int, int], overlap: Overlap, path: Path
    ) -> None:
        self.stack = stack
        self.path = path
        self.labels = np.zeros((len(stack.frames), *stack.size), np.uint8)
        self._overlap = overlap
        self._rank = np.full(256, 256)
        for value, place in rank.items():
            self._rank[value] = place
        directions = stack.grid.direction_lps
        self.normal: NDArray[np.float64] = directions[:, 2]
        self._in_plane = directions[:, :2]
        self._heights_mm = stack.positions_lps @ self.normal

    @property
    def slice_mm(self) -> float:
        """Distance between the planes of the grid."""
        return self.stack.grid.spacing_mm[0]

    def slice_at(self, points_lps: NDArray[np.float64], what: str) -> int:
        """The slice that points `(n, 3)` in LPS mm lie on.

        Raises
        ------
        VolumeError
            If they lie on none.
        """
        heights = points_lps @ self.normal
        n = int(np.abs(self._heights_mm - heights.mean()).argmin())
        apart = float(np.abs(heights - self._heights_mm[n]).max())
        if apart > PLANE_TOLERANCE * self.slice_mm:
            raise VolumeError(
                f"{self.path}: expected {what} on a slice of the series, "
                f"found it {apart:.2f} mm beside the nearest"
            )
        return n

    def to_pixels(self, points_lps: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Positions `(..., 2)` in pixels `(j, i)` of slice `n` of points in LPS mm `(..., 3)`."""
        _, dj, di = self.stack.grid.spacing_mm
        along = (points_lps - self.stack.positions_lps[n]) @ self._in_plane  # (..., i and j)
        pixels: NDArray[np.float64] = along[..., ::-1] / (dj, di)
        return pixels

    def paint(
        self, n: int, rows: NDArray[np.int64], columns: NDArray[np.int64], value: int
    ) -> None:
        """Give pixels of slice `n` a label.

        Raises
        ------
        VolumeError
            If another organ has one of them and overlaps are errors.
        """
        plane = self.labels[n]
        before = plane[rows, columns]
        taken = (before != 0) & (before != value)
        if taken.any() and self._overlap == "error":
            raise VolumeError(
                f"{self.path}: expected organs that do not overlap, found label {value} on "
                f"{int(taken.sum())} pixels of label {int(before[taken][0])}; a recipe with "
                "data.overlap=first gives them to the organ that comes first in the model"
            )
        free = ~taken | (self._rank[before] > self._rank[value])
        plane[rows[free], columns[free]] = value

    def label_map(self) -> LabelMap:
        """The labels on the grid of the stack.

        A grid that repairs its slices takes labels from the nearest slice; where a slice is
        missing nobody knows (255).
        """
        if self.stack.is_grid:
            return LabelMap(labels=self.labels, geometry=self.stack.grid)
        height, width = self.stack.size
        labels = np.zeros(self.stack.grid.shape, np.uint8)
        indices = self.stack.indices
        usual = float(np.median(np.diff(indices[:, 0]))) if len(indices) > 1 else 1.0
        for k, plane in enumerate(labels):
            apart = np.abs(indices[:, 0] - k)
            n = int(apart.argmin())
            if apart[n] > _COVERED * usual:
                plane[:] = UNKNOWN
                continue
            j, i = np.rint(indices[n, 1:]).astype(int)
            plane[j : j + height, i : i + width] = self.labels[n]
        return LabelMap(labels=labels, geometry=self.stack.grid)
