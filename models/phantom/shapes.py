"""Closed surfaces in millimetres, each given by its approximate signed distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float32]
Vector = tuple[float, float, float]
Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


class Shape(Protocol):
    """A solid: negative distances lie inside."""

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest x, y, z in mm that the solid can reach."""

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate signed distance to the surface in mm at points x, y, z in mm."""


def turned(about_x: float = 0.0, about_y: float = 0.0, about_z: float = 0.0) -> NDArray[np.float64]:
    """Rotation matrix `(3, 3)` of three turns in degrees, first about x, last about z."""
    rotation = np.eye(3)
    for axis, degrees in enumerate((about_x, about_y, about_z)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = c
        turn[first, second], turn[second, first] = -s, s
        rotation = turn @ rotation
    return rotation


def _local(shape: Ellipsoid | Cylinder, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Coordinates along the shape's own axes, from its centre."""
    dx, dy, dz = (v - np.float32(c) for v, c in zip((x, y, z), shape.centre, strict=True))
    if shape.rotation is None:
        return dx, dy, dz
    m = shape.rotation.astype(np.float32)
    u, v, w = (m[0, n] * dx + m[1, n] * dy + m[2, n] * dz for n in range(3))
    return u, v, w


def _box(centre: Vector, radii: Vector, rotation: NDArray[np.float64] | None) -> Bounds:
    reach = np.asarray(radii, float)
    if rotation is not None:
        reach = np.abs(rotation) @ reach
    return np.asarray(centre) - reach, np.asarray(centre) + reach


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """A super-ellipsoid `|x/a|^p + |y/b|^p + |z/c|^p = 1`.

    Parameters
    ----------
    centre, radii
        In mm.
    rotation
        `(3, 3)`, columns are the directions of the three radii.
    boxiness
        The exponent p, 2 (ellipsoid) or 4 (rounded box).
    """

    centre: Vector
    radii: Vector
    rotation: NDArray[np.float64] | None = field(default=None, repr=False)
    boxiness: int = 2

    @property
    def bounds(self) -> Bounds:
        return _box(self.centre, self.radii, self.rotation)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        level = np.zeros(np.shape(x), np.float32)
        slope: Array = np.full(np.shape(x), 1e-12, np.float32)
        for values, radius in zip(_local(self, x, y, z), self.radii, strict=True):
            squared = (values / np.float32(radius)) ** 2
            power = squared if self.boxiness == 2 else squared * squared
            level += power
            # the derivative of |u|^p, squared: its length scales the level to millimetres
            slope += (power * power / np.maximum(squared, np.float32(1e-9))) / np.float32(radius**2)
        # the gauge is the p-th root of the level; (gauge - 1) over its slope is the distance
        gauge: Array = np.sqrt(level)
        scale = gauge
        if self.boxiness == 4:
            gauge = np.sqrt(gauge)
            scale = gauge * gauge * gauge
        beyond: Array = gauge - 1
        beyond *= scale / np.sqrt(slope)
        return beyond


@dataclass(frozen=True, eq=False)
class Cylinder:
    """An upright elliptic cylinder with half axes `radii[:2]` and half height `radii[2]`, in mm."""

    centre: Vector
    radii: Vector
    rotation: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def bounds(self) -> Bounds:
        return _box(self.centre, self.radii, self.rotation)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        u, v, w = _local(self, x, y, z)
        a, b, half = (np.float32(r) for r in self.radii)
        gauge = np.sqrt((u / a) ** 2 + (v / b) ** 2 + np.float32(1e-9))
        slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2 + np.float32(1e-12))
        distance: Array = np.maximum((gauge - 1) * gauge / slope, np.abs(w) - half)
        return distance


@dataclass(frozen=True, eq=False)
class Capsule:
    """A straight piece of tube between two points with a radius at each, in mm."""

    start: Vector
    end: Vector
    start_radius: float
    end_radius: float

    @property
    def bounds(self) -> Bounds:
        a, b = np.asarray(self.start), np.asarray(self.end)
        low = np.minimum(a - self.start_radius, b - self.end_radius)
        return low, np.maximum(a + self.start_radius, b + self.end_radius)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        dx, dy, dz = x - self.start[0], y - self.start[1], z - self.start[2]
        ax, ay, az = (end - start for start, end in zip(self.start, self.end, strict=True))
        per_length = 1.0 / max(ax * ax + ay * ay + az * az, 1e-6)
        t = (dx * (ax * per_length)) + dy * (ay * per_length) + dz * (az * per_length)
        t = np.minimum(np.maximum(t, 0), 1)
        dx, dy, dz = dx - t * ax, dy - t * ay, dz - t * az
        apart = np.sqrt(dx * dx + dy * dy + dz * dz) - self.start_radius
        distance: Array = apart - t * (self.end_radius - self.start_radius)
        return distance


@dataclass(frozen=True, eq=False)
class Below:
    """All points on the far side of a plane: those against the direction of `normal`."""

    point: Vector
    normal: Vector

    @property
    def bounds(self) -> Bounds:
        return np.full(3, -np.inf), np.full(3, np.inf)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        n = np.asarray(self.normal) / np.linalg.norm(self.normal)
        nx, ny, nz = (np.float32(c) for c in n)
        distance: Array = nx * x + ny * y + nz * z - np.float32(n @ np.asarray(self.point))
        return distance


@dataclass(frozen=True, eq=False)
class Blend:
    """The union of solids, with joints rounded over `round_mm`."""

    solids: tuple[Shape, ...]
    round_mm: float

    @property
    def bounds(self) -> Bounds:
        lows, highs = zip(*(solid.bounds for solid in self.solids), strict=True)
        return np.min(lows, axis=0) - self.round_mm / 4, np.max(highs, axis=0) + self.round_mm / 4

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        nearest = self.solids[0].distance(x, y, z)
        for solid in self.solids[1:]:
            nearest = _round_minimum(nearest, solid.distance(x, y, z), self.round_mm)
        return nearest


@dataclass(frozen=True, eq=False)
class Carved:
    """A solid without what lies in `tools`, with edges rounded over `round_mm`."""

    solid: Shape
    tools: tuple[Shape, ...]
    round_mm: float = 4.0

    @property
    def bounds(self) -> Bounds:
        return self.solid.bounds

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        result = self.solid.distance(x, y, z)
        for tool in self.tools:
            result = -_round_minimum(-result, tool.distance(x, y, z), self.round_mm)
        return result


def _round_minimum(a: Array, b: Array, round_mm: float) -> Array:
    k = np.float32(max(round_mm, 1e-3))
    near = np.maximum(k - np.abs(a - b), 0)
    rounded: Array = np.minimum(a, b) - near * near / (4 * k)
    return rounded


def tube(
    points: Sequence[ArrayLike], radii: Sequence[float] | float, step_mm: float = 10.0
) -> tuple[Capsule, ...]:
    """A bent tube through `points` (mm), in straight pieces of about `step_mm`."""
    knots = np.stack([np.asarray(point, float) for point in points])
    sizes = np.broadcast_to(np.asarray(radii, float), (len(knots),))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    count = max(2, int(np.ceil(along[-1] / step_mm)) + 1)
    at = np.linspace(0.0, along[-1], count)
    if len(knots) == 2:
        path = np.stack([np.interp(at, along, knots[:, n]) for n in range(3)], axis=1)
    else:
        path = PchipInterpolator(along, knots, axis=0)(at)
    width = np.interp(at, along, sizes)
    return tuple(
        Capsule(_vector(path[n]), _vector(path[n + 1]), float(width[n]), float(width[n + 1]))
        for n in range(count - 1)
    )


def _vector(point: NDArray[np.float64]) -> Vector:
    return float(point[0]), float(point[1]), float(point[2])
