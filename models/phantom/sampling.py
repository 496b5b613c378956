"""The anatomy on one plane of a grid: Hounsfield units with soft edges, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.geometry import VolumeGeometry
from models.phantom.anatomy import Anatomy
from models.phantom.shapes import Array, Shape
from models.phantom.structures import Detail, Structure

#: Distance in mm between the points at which smooth fields are evaluated; between, linear.
_PITCH_MM = 4.0
_FAR = np.float32(1e3)
_UNSEEN = np.uint8(255)

Window = tuple[slice, slice]
#: Lowest and highest x, y, z in mm of several solids, each `(N, 3)`.
Boxes = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Plane:
    """Coordinates and smooth fields on the pixels of one plane, in mm, each `(H, W)`.

    `row_low` to `column_high`, `(N, 3)`, are the lowest and highest x, y, z of every
    `step`-th row and column.
    """

    x: Array
    y: Array
    z: Array
    lps_y: Array
    table: Array
    skin: Array
    cavity: Array
    above_dome: Array
    wall: Array
    row_low: NDArray[np.float64]
    row_high: NDArray[np.float64]
    column_low: NDArray[np.float64]
    column_high: NDArray[np.float64]
    step: int

    def near(self, boxes: Boxes, margin_mm: float) -> Iterator[tuple[int, Window]]:
        """Numbers and windows of the boxes that reach this plane."""
        lows, highs = boxes[0] - margin_mm, boxes[1] + margin_mm
        low, high = self.row_low.min(axis=0), self.row_high.max(axis=0)
        for n in np.flatnonzero(((lows <= high) & (highs >= low)).all(axis=1)):
            window = self._window(lows[n], highs[n])
            if window is not None:
                yield int(n), window

    def region(self, name: str, window: Window) -> Array:
        """Distance to one of the body's regions in a window."""
        if name == "body":
            return self.skin[window]
        if name == "cavity":
            return self.cavity[window]
        side = self.above_dome[window] if name == "abdomen" else -self.above_dome[window]
        return np.maximum(self.cavity[window], side)

    def _window(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Window | None:
        """Rows and columns that hold all pixels within a box; None for none."""
        rows = np.flatnonzero(((self.row_low <= high) & (self.row_high >= low)).all(axis=1))
        columns = np.flatnonzero(
            ((self.column_low <= high) & (self.column_high >= low)).all(axis=1)
        )
        if len(rows) == 0 or len(columns) == 0:
            return None
        height, width = self.x.shape
        return (
            slice(max(0, (rows[0] - 1) * self.step), min(height, (rows[-1] + 1) * self.step + 1)),
            slice(
                max(0, (columns[0] - 1) * self.step), min(width, (columns[-1] + 1) * self.step + 1)
            ),
        )


@dataclass(frozen=True, eq=False)
class PlaneMaker:
    """Makes the planes of a grid at any slice position."""

    anatomy: Anatomy
    geometry: VolumeGeometry

    def __post_init__(self) -> None:
        _, height, width = self.geometry.shape
        step = max(1, int(_PITCH_MM // max(self.geometry.spacing_mm[1:])))
        object.__setattr__(self, "_step", step)
        object.__setattr__(self, "_rows", _interpolation(height, step))
        object.__setattr__(self, "_columns", _interpolation(width, step))

    _step: int = field(init=False)
    _rows: Array = field(init=False, repr=False)
    _columns: Array = field(init=False, repr=False)

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
            lps_y=self._fine(points[..., 1]),
            table=self._fine(self.anatomy.table_distance(points[..., 0], points[..., 1])),
            skin=self._fine(body.skin(x, y, z)),
            cavity=self._fine(body.cavity(x, y, z)),
            above_dome=self._fine(body.above_dome(x, y, z)),
            row_low=coarse.min(axis=1),
            row_high=coarse.max(axis=1),
            column_low=coarse.min(axis=0),
            column_high=coarse.max(axis=0),
            wall=self._fine(body.wall(x, y, z)),
            step=self._step,
        )

    def _fine(self, values: NDArray[np.float64]) -> Array:
        fine: Array = self._rows @ values.astype(np.float32) @ self._columns.T
        return fine


def _interpolation(count: int, step: int) -> Array:
    """Matrix that takes values at every `step`-th pixel to all `count` pixels, linearly."""
    knots = (count - 1 + step - 1) // step + 1
    where = np.arange(count) / step
    hats = 1.0 - np.abs(where[:, None] - np.arange(knots))
    return np.maximum(hats, 0.0).astype(np.float32)


class Painter:
    """Draws the anatomy on planes, from the highest priority to the lowest.

    What is in front hides what is behind it in the measure of its occupancy, and pushes it
    aside: nothing overlaps.

    Parameters
    ----------
    anatomy
        What to draw.
    edge_mm
        Width over which an edge passes from 0 to 1: the scanner's point spread in the plane.
    """

    def __init__(self, anatomy: Anatomy, edge_mm: float) -> None:
        self.anatomy = anatomy
        self.edge_mm = float(edge_mm)
        self._boxes = [_boxes(structure.parts) for structure in anatomy.structures]
        self._detail_boxes = {
            detail: _boxes(detail.parts)
            for structure in anatomy.structures
            for detail in structure.details
            if detail.parts
        }

    def draw(self, plane: Plane) -> tuple[Array, NDArray[np.uint8]]:
        """HU `(H, W)` float32 and labels `(H, W)` uint8 of one plane."""
        shape = plane.x.shape
        hu = np.zeros(shape, np.float32)
        through = np.ones(shape, np.float32)
        taken = np.full(shape, _FAR, np.float32)
        labels = np.full(shape, _UNSEEN, np.uint8)
        for structure, parts in self._present(plane):
            self._add(structure, parts, plane, hu, through, taken, labels)
        hu += through * self._background(plane)
        labels[labels == _UNSEEN] = 0
        return hu, labels

    def _occupancy(self, distance: Array) -> Array:
        occupancy: Array = np.clip(0.5 - distance / np.float32(self.edge_mm), 0, 1)
        return occupancy

    def _present(self, plane: Plane) -> Iterator[tuple[Structure, list[tuple[Shape, Window]]]]:
        for structure, boxes in zip(self.anatomy.structures, self._boxes, strict=True):
            parts = [
                (structure.parts[n], window) for n, window in plane.near(boxes, self.edge_mm + 3.0)
            ]
            if parts:
                yield structure, parts

    def _add(
        self,
        structure: Structure,
        parts: list[tuple[Shape, Window]],
        plane: Plane,
        hu: Array,
        through: Array,
        taken: Array,
        labels: NDArray[np.uint8],
    ) -> None:
        window = _hull([w for _, w in parts])
        own = _union(parts, plane, window)
        for name, margin in structure.within:
            own = np.maximum(own, plane.region(name, window) + np.float32(margin))
        own = np.maximum(own, np.float32(structure.gap_mm) - taken[window])
        occupancy = self._occupancy(own)
        if not occupancy.any():
            return
        values, numbers = self._inside(structure, own, plane, window)
        share = through[window] * occupancy
        hu[window] += share * values
        through[window] -= share
        taken[window] = np.minimum(taken[window], own)
        seen = (own < 0) & (labels[window] == _UNSEEN)
        labels[window][seen] = numbers[seen]

    def _inside(
        self, structure: Structure, own: Array, plane: Plane, window: Window
    ) -> tuple[Array, NDArray[np.uint8]]:
        """HU and labels of a structure's inside, wherever it ends."""
        values = np.full(own.shape, structure.hu, np.float32)
        numbers = np.full(own.shape, structure.label, np.uint8)
        amplitude, grain_mm = structure.mottle
        if amplitude or structure.gas_share:
            x, y, z = plane.x[window], plane.y[window], plane.z[window]
            texture = self.anatomy.grain.at(x, y, z, grain_mm)
            values += np.float32(amplitude) * texture
            if structure.gas_share:
                limit = np.float32(2.2 - 3.0 * structure.gas_share)
                bubbles = np.clip((texture - limit) * 2.5, 0, 1)
                values += bubbles * (np.float32(-900.0) - values)
        if structure.gas_above_mm is not None:
            gas = self._occupancy(plane.lps_y[window] - np.float32(structure.gas_above_mm))
            values += gas * (np.float32(-990.0) - values)
        if structure.rim is not None:
            thickness, rim_hu = structure.rim
            wall = 1 - self._occupancy(own + np.float32(thickness))
            values += wall * (np.float32(rim_hu) - values)
        for detail in structure.details:
            self._add_detail(detail, plane, window, values, numbers)
        return values, numbers

    def _add_detail(
        self,
        detail: Detail,
        plane: Plane,
        window: Window,
        values: Array,
        numbers: NDArray[np.uint8],
    ) -> None:
        if not detail.parts:
            return
        for n, found in plane.near(self._detail_boxes[detail], self.edge_mm):
            part, overlap = detail.parts[n], _common(found, window)
            if overlap is None:
                continue
            here, there = overlap
            distance = part.distance(plane.x[here], plane.y[here], plane.z[here])
            values[there] += self._occupancy(distance) * (np.float32(detail.hu) - values[there])
            if detail.label is not None:
                numbers[there][distance < 0] = detail.label

    def _background(self, plane: Plane) -> Array:
        """The body without its structures, and the table."""
        tissue = self.anatomy.hu
        hu = np.full(plane.x.shape, tissue["air"], np.float32)
        self._lay(hu, np.abs(plane.table - 9.0) - 9.0, -920.0)  # a shell filled with foam
        for depth in (0.0, 18.0):
            self._lay(hu, np.abs(plane.table - np.float32(depth)) - np.float32(1.3), 110.0)
        self._lay(hu, plane.skin, tissue["skin"])
        self._lay(hu, plane.skin + np.float32(1.8), tissue["fat"])
        self._lay(hu, plane.wall, tissue["muscle"])
        self._lay(hu, self._fat_planes(plane), tissue["fat"])
        self._lay(hu, plane.cavity, tissue["fat"])
        inner = plane.cavity + np.float32(1.0)
        self._lay(hu, np.maximum(inner, np.abs(plane.above_dome + 1.2) - 1.2), tissue["muscle"])
        self._lay(hu, np.maximum(inner, -plane.above_dome), tissue["lung"])
        return hu

    def _fat_planes(self, plane: Plane) -> Array:
        """Distance to the fat between the muscles of the flank and beside the rectus."""
        s = np.float32(self.anatomy.body.build.scale)
        thickness = np.maximum(plane.cavity - plane.wall, 1e-3)
        share = np.clip(plane.cavity / thickness, 0, 1)
        layers = np.minimum(np.abs(share - 0.36), np.abs(share - 0.68)) * thickness
        flank = np.maximum(66 * s - np.abs(plane.x), plane.z - 15 * s)
        seams = np.abs(np.abs(np.abs(plane.x) - 32 * s) - 32 * s)  # at the midline and 64 mm off
        front = np.maximum(np.maximum(plane.y + 45 * s, plane.z - 30 * s), plane.wall)
        # in the chest, fat lies between the ribs and the muscles of shoulder and back
        under = np.abs(share - 0.78) * thickness - np.float32(0.5)
        chest = np.maximum(30 * s - plane.z, 45 * s - np.abs(plane.x))
        belly = np.minimum(
            np.maximum(layers - np.float32(0.3), flank),
            np.maximum(seams - np.float32(1.5), front),
        )
        planes: Array = np.minimum(belly, np.maximum(under, chest))
        return planes

    def _lay(self, hu: Array, distance: Array, value: float) -> None:
        hu += self._occupancy(distance) * (np.float32(value) - hu)


def _boxes(parts: tuple[Shape, ...]) -> Boxes:
    lows, highs = zip(*(part.bounds for part in parts), strict=True)
    return np.array(lows), np.array(highs)


def _hull(windows: list[Window]) -> Window:
    return (
        slice(min(w[0].start for w in windows), max(w[0].stop for w in windows)),
        slice(min(w[1].start for w in windows), max(w[1].stop for w in windows)),
    )


def _inner(window: Window, hull: Window) -> Window:
    return (
        slice(window[0].start - hull[0].start, window[0].stop - hull[0].start),
        slice(window[1].start - hull[1].start, window[1].stop - hull[1].start),
    )


def _common(a: Window, b: Window) -> tuple[Window, Window] | None:
    """Where two windows overlap: on the plane, and counted from the corner of `b`."""
    rows = slice(max(a[0].start, b[0].start), min(a[0].stop, b[0].stop))
    columns = slice(max(a[1].start, b[1].start), min(a[1].stop, b[1].stop))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return (rows, columns), _inner((rows, columns), b)


def _union(parts: list[tuple[Shape, Window]], plane: Plane, hull: Window) -> Array:
    if len(parts) == 1:
        return parts[0][0].distance(plane.x[hull], plane.y[hull], plane.z[hull])
    nearest = np.full(plane.x[hull].shape, _FAR, np.float32)
    for part, window in parts:
        inner = _inner(window, hull)
        distance = part.distance(plane.x[window], plane.y[window], plane.z[window])
        nearest[inner] = np.minimum(nearest[inner], distance)
    return nearest
