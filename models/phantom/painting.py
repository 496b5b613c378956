"""The anatomy on one plane: Hounsfield units with soft edges, and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.phantom.anatomy import Anatomy
from models.phantom.plane import Plane, Window
from models.phantom.shapes import Array, Shape
from models.phantom.structures import Detail, Structure

_FAR = np.float32(1e3)
_UNSEEN = np.uint8(255)
#: Room in mm around a solid's box, for windows on a coarse raster.
_ROOM_MM = 3.0

Part = tuple[Shape, Window]


@dataclass(frozen=True, eq=False)
class _Canvas:
    """What has been drawn so far on a plane, each `(H, W)`."""

    plane: Plane
    windows: dict[int, Window]
    hu: Array
    through: Array
    nearest: Array
    labels: NDArray[np.uint8]


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
        self._solids: list[Shape] = []
        self._numbers: dict[Structure | Detail, range] = {}
        for structure in anatomy.structures:
            owners: tuple[Structure | Detail, ...] = (structure, *structure.details)
            for owner in owners:
                first = len(self._solids)
                self._solids += owner.parts
                self._numbers[owner] = range(first, len(self._solids))
        lows, highs = zip(*(solid.bounds for solid in self._solids), strict=True)
        self._lows = np.array(lows) - self.edge_mm - _ROOM_MM
        self._highs = np.array(highs) + self.edge_mm + _ROOM_MM

    def draw(self, plane: Plane) -> tuple[Array, NDArray[np.uint8]]:
        """HU `(H, W)` float32 and labels `(H, W)` uint8 of one plane."""
        shape = plane.x.shape
        canvas = _Canvas(
            plane=plane,
            windows=plane.windows(self._lows, self._highs),
            hu=np.zeros(shape, np.float32),
            through=np.ones(shape, np.float32),
            nearest=np.full(shape, _FAR, np.float32),
            labels=np.full(shape, _UNSEEN, np.uint8),
        )
        for structure in self.anatomy.structures:
            if parts := self._present(structure, canvas):
                self._add(structure, parts, canvas)
        hu = canvas.hu + canvas.through * self._background(plane)
        return hu, np.where(canvas.labels == _UNSEEN, np.uint8(0), canvas.labels)

    def _occupancy(self, distance: Array) -> Array:
        share = np.float32(0.5) - distance / np.float32(self.edge_mm)
        occupancy: Array = np.minimum(np.maximum(share, 0), 1)
        return occupancy

    def _present(self, owner: Structure | Detail, canvas: _Canvas) -> list[Part]:
        """The solids of a structure or a detail that reach the plane."""
        return [
            (self._solids[n], canvas.windows[n])
            for n in self._numbers[owner]
            if n in canvas.windows
        ]

    def _add(self, structure: Structure, parts: list[Part], canvas: _Canvas) -> None:
        window = _hull([part_window for _, part_window in parts])
        own = _union(parts, canvas.plane, window)
        for name, margin in structure.within:
            own = np.maximum(own, canvas.plane.region(name, window) + np.float32(margin))
        own = np.maximum(own, np.float32(structure.gap_mm) - canvas.nearest[window])
        occupancy = self._occupancy(own)
        if not occupancy.any():
            return
        values, numbers = self._inside(structure, own, canvas, window)
        share = canvas.through[window] * occupancy
        canvas.hu[window] += share * values
        canvas.through[window] -= share
        canvas.nearest[window] = np.minimum(canvas.nearest[window], own)
        seen = (own < 0) & (canvas.labels[window] == _UNSEEN)
        canvas.labels[window][seen] = numbers[seen]

    def _inside(
        self, structure: Structure, own: Array, canvas: _Canvas, window: Window
    ) -> tuple[Array, NDArray[np.uint8]]:
        """HU and labels of a structure's inside, wherever it ends."""
        plane = canvas.plane
        values = np.full(own.shape, structure.hu, np.float32)
        numbers = np.full(own.shape, structure.label, np.uint8)
        amplitude, grain_mm = structure.mottle
        if amplitude or structure.gas_share:
            texture = self.anatomy.grain.at(
                plane.x[window], plane.y[window], plane.z[window], grain_mm
            )
            values += np.float32(amplitude) * texture
            if structure.gas_share:
                limit = np.float32(2.2 - 3.0 * structure.gas_share)
                values += np.clip((texture - limit) * 2.5, 0, 1) * (np.float32(-900.0) - values)
        if structure.gas_above_mm is not None:
            gas = self._occupancy(plane.upright_y[window] - np.float32(structure.gas_above_mm))
            values += gas * (np.float32(-990.0) - values)
        if structure.rim is not None:
            thickness, rim_hu = structure.rim
            wall = 1 - self._occupancy(own + np.float32(thickness))
            values += wall * (np.float32(rim_hu) - values)
        for detail in structure.details:
            self._add_detail(detail, canvas, window, values, numbers)
        return values, numbers

    def _add_detail(
        self,
        detail: Detail,
        canvas: _Canvas,
        window: Window,
        values: Array,
        numbers: NDArray[np.uint8],
    ) -> None:
        plane = canvas.plane
        for part, part_window in self._present(detail, canvas):
            here = _common(part_window, window)
            if here is None:
                continue
            there = _within(here, window)
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
        """Distance to the fat between the muscles of the wall."""
        s = np.float32(self.anatomy.body.build.scale)
        thickness = np.maximum(plane.cavity - plane.wall, np.float32(1e-3))
        share = np.clip(plane.cavity / thickness, 0, 1)
        layers = np.minimum(np.abs(share - 0.36), np.abs(share - 0.68)) * thickness
        flank = np.maximum(66 * s - np.abs(plane.x), plane.z - 15 * s)
        seams = np.abs(np.abs(np.abs(plane.x) - 32 * s) - 32 * s)  # at the midline and 64 mm off
        front = np.maximum(np.maximum(plane.y + 45 * s, plane.z - 30 * s), plane.wall)
        # in the chest, fat lies between the ribs and the muscles of shoulder and back
        under = np.abs(share - 0.78) * thickness
        chest = np.maximum(30 * s - plane.z, 45 * s - np.abs(plane.x))
        planes: Array = np.maximum(layers - np.float32(0.3), flank)
        planes = np.minimum(planes, np.maximum(seams - np.float32(1.2), front))
        planes = np.minimum(planes, np.maximum(under - np.float32(0.5), chest))
        return planes

    def _lay(self, hu: Array, distance: Array, value: float) -> None:
        hu += self._occupancy(distance) * (np.float32(value) - hu)


def _hull(windows: list[Window]) -> Window:
    return (
        slice(min(w[0].start for w in windows), max(w[0].stop for w in windows)),
        slice(min(w[1].start for w in windows), max(w[1].stop for w in windows)),
    )


def _within(window: Window, outer: Window) -> Window:
    """A window, counted from the corner of the one around it."""
    return (
        slice(window[0].start - outer[0].start, window[0].stop - outer[0].start),
        slice(window[1].start - outer[1].start, window[1].stop - outer[1].start),
    )


def _common(a: Window, b: Window) -> Window | None:
    rows = slice(max(a[0].start, b[0].start), min(a[0].stop, b[0].stop))
    columns = slice(max(a[1].start, b[1].start), min(a[1].stop, b[1].stop))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _union(parts: list[Part], plane: Plane, hull: Window) -> Array:
    if len(parts) == 1:
        return parts[0][0].distance(plane.x[hull], plane.y[hull], plane.z[hull])
    nearest = np.full(plane.x[hull].shape, _FAR, np.float32)
    for part, window in parts:
        target = nearest[_within(window, hull)]
        distance = part.distance(plane.x[window], plane.y[window], plane.z[window])
        np.minimum(target, distance, out=target)
    return nearest
