"""One plane of a grid, seen from the anatomy: coordinates and smooth fields on its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.geometry import VolumeGeometry
from models.phantom.anatomy import Anatomy
from models.phantom.shapes import Array

#: Distance in mm between the points at which smooth fields are evaluated; between, linear.
_PITCH_MM = 4.0

Window = tuple[slice, slice]
Lines = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """Coordinates and smooth fields on the pixels of one plane, in mm, each `(H, W)`.

    Parameters
    ----------
    x, y, z
        In the anatomy's frame.
    upright_y
        As y, but without the displacement: gravity knows no warps.
    table, skin, cavity, above_dome, wall
        Depth in the table, and distances to the body's surfaces (negative inside).
    row_low, row_high, column_low, column_high
        Lowest and highest x, y, z, `(N, 3)`, on every `step`-th row and column.
    step
        Pixels between these.
    """

    x: Array
    y: Array
    z: Array
    upright_y: Array
    table: Array
    skin: Array
    cavity: Array
    above_dome: Array
    wall: Array
    row_low: Lines
    row_high: Lines
    column_low: Lines
    column_high: Lines
    step: int

    def region(self, name: str, window: Window) -> Array:
        """Distance to the region `cavity`, `abdomen` or `chest` in a window."""
        if name == "cavity":
            return self.cavity[window]
        side = self.above_dome[window] if name == "abdomen" else -self.above_dome[window]
        return np.maximum(self.cavity[window], side)

    def windows(self, lows: Lines, highs: Lines) -> dict[int, Window]:
        """Rows and columns that hold all pixels within each of many boxes.

        Parameters
        ----------
        lows, highs
            Lowest and highest x, y, z of the boxes in mm, `(N, 3)`.

        Returns
        -------
        dict
            Windows by number of the box; boxes off the plane are left out.
        """
        low, high = self.row_low.min(axis=0), self.row_high.max(axis=0)
        near = np.flatnonzero(((lows <= high) & (highs >= low)).all(axis=1))
        rows = _meet(lows[near], highs[near], self.row_low, self.row_high)
        columns = _meet(lows[near], highs[near], self.column_low, self.column_high)
        found = {}
        for n in np.flatnonzero(rows.any(axis=1) & columns.any(axis=1)):
            found[int(near[n])] = (
                self._span(rows[n], self.x.shape[0]),
                self._span(columns[n], self.x.shape[1]),
            )
        return found

    def _span(self, lines: NDArray[np.bool_], count: int) -> slice:
        """Pixels from the first to the last of some lines, and up to the next on either side."""
        first = int(lines.argmax())
        last = len(lines) - 1 - int(lines[::-1].argmax())
        return slice(max(0, (first - 1) * self.step), min(count, (last + 1) * self.step + 1))


@dataclass(frozen=True, eq=False)
class PlaneMaker:
    """Makes the planes of a grid at any slice position."""

    anatomy: Anatomy
    geometry: VolumeGeometry
    _step: int = field(init=False)
    _rows: Array = field(init=False, repr=False)
    _columns: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _, height, width = self.geometry.shape
        step = max(1, int(_PITCH_MM // max(self.geometry.spacing_mm[1:])))
        object.__setattr__(self, "_step", step)
        object.__setattr__(self, "_rows", _interpolation(height, step))
        object.__setattr__(self, "_columns", _interpolation(width, step))

    def at(self, k: float) -> Plane:
        """The plane at slice index k, which may lie between slices."""
        rows = np.arange(self._rows.shape[1]) * float(self._step)
        columns = np.arange(self._columns.shape[1]) * float(self._step)
        index = np.empty((len(rows), len(columns), 3))
        index[..., 0], index[..., 1], index[..., 2] = k, rows[:, None], columns
        points = self.geometry.to_lps(index)
        coarse = self.anatomy.pose.to_anatomy(points)
        x, y, z = coarse[..., 0], coarse[..., 1], coarse[..., 2]
        body = self.anatomy.body
        return Plane(
            x=self._fine(x),
            y=self._fine(y),
            z=self._fine(z),
            upright_y=self._fine(points[..., 1] - self.anatomy.pose.shift_mm[1]),
            table=self._fine(self.anatomy.table_depth(points[..., 0], points[..., 1])),
            skin=self._fine(body.skin(x, y, z)),
            cavity=self._fine(body.cavity(x, y, z)),
            above_dome=self._fine(body.above_dome(x, y, z)),
            wall=self._fine(body.wall(x, y, z)),
            row_low=coarse.min(axis=1),
            row_high=coarse.max(axis=1),
            column_low=coarse.min(axis=0),
            column_high=coarse.max(axis=0),
            step=self._step,
        )

    def _fine(self, values: NDArray[np.float64]) -> Array:
        fine: Array = self._rows @ values.astype(np.float32) @ self._columns.T
        return fine


def _interpolation(count: int, step: int) -> Array:
    """Matrix that takes values at every `step`-th pixel to all `count` pixels, linearly."""
    knots = (count - 1 + step - 1) // step + 1
    hats = 1.0 - np.abs(np.arange(count)[:, None] / step - np.arange(knots))
    return np.maximum(hats, 0.0).astype(np.float32)


def _meet(lows: Lines, highs: Lines, line_lows: Lines, line_highs: Lines) -> NDArray[np.bool_]:
    """Which boxes `(N, 3)` meet which lines `(M, 3)` on all axes, `(N, M)`."""
    meets = np.ones((len(lows), len(line_lows)), bool)
    for axis in range(3):
        meets &= line_lows[:, axis] <= highs[:, axis, None]
        meets &= line_highs[:, axis] >= lows[:, axis, None]
    return meets
