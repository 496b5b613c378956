"""The solid organs of the upper abdomen and the gallbladder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.phantom.body import Body
from models.phantom.shapes import (
    Below,
    Blend,
    Carved,
    Cylinder,
    Ellipsoid,
    Shape,
    Vector,
    tube,
    turned,
)
from models.phantom.structures import Detail, Structure

SPLEEN, PANCREAS, LEFT_KIDNEY, GALLBLADDER, LIVER, RIGHT_KIDNEY = 1, 2, 3, 4, 6, 9


class Placer:
    """Places points given for a person of scale 1, with each organ's own shift and size."""

    def __init__(self, scale: float, rng: np.random.Generator, shift_mm: float, vary: float):
        self.scale = scale
        self.size = scale * float(rng.uniform(1 - vary, 1 + vary))
        self.shift = rng.normal(0.0, shift_mm, 3).clip(-2 * shift_mm, 2 * shift_mm)

    def at(self, x: float, y: float, z: float) -> Vector:
        """A point in mm."""
        sx, sy, sz = (float(v) for v in self.shift)
        return x * self.scale + sx, y * self.scale + sy, z * self.scale + sz

    def sized(self, a: float, b: float, c: float) -> Vector:
        """Radii in mm."""
        return a * self.size, b * self.size, c * self.size


def kidneys(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Kidneys with cortex, pyramids, and a sinus of fat around the pelvis."""
    for side, label in ((1, LEFT_KIDNEY), (-1, RIGHT_KIDNEY)):
        place = Placer(body.build.scale, rng, 3.5, 0.1)
        z = 2.0 if side > 0 else -14.0
        centre = place.at(side * 62, 12, z)
        turn = turned(about_x=-8, about_y=side * -11.0, about_z=side * 30.0)
        axis = turn @ np.array([side, 0.0, 0.0])  # from the hilum out to the side
        length = float(rng.uniform(0.93, 1.07))
        sinus = _beyond(centre, axis, -14.0 * place.size)
        hilum = _beyond(centre, axis, -34.0 * place.size)
        kidney = Carved(
            Ellipsoid(centre, place.sized(27, 25, 54 * length), turn),
            (Ellipsoid(hilum, place.sized(15, 7, 14), turn),),
            7.0 * place.size,
        )
        fat = Ellipsoid(sinus, place.sized(15, 7, 21), turn)
        pelvis = Ellipsoid(_beyond(centre, axis, -20.0 * place.size), place.sized(13, 4.5, 9), turn)
        pyramids = []
        for turn_degrees in np.arange(-100, 101, 28) + rng.uniform(-8, 8):
            angle = np.radians(float(turn_degrees))
            for tilt in (-0.5, 0.5):
                out = turn @ np.array([side * np.cos(angle) * 0.9, tilt, 1.9 * np.sin(angle)])
                pyramids.append(
                    Ellipsoid(_beyond(centre, out, 14.0 * place.size), place.sized(6, 6, 7), turn)
                )
        yield Structure(
            name="kidney",
            parts=(kidney,),
            hu=hu["cortex"],
            label=label,
            gap_mm=1.5,
            within=(("abdomen", 3.0),),
            mottle=(4.0, 4.0),
            details=(
                Detail(parts=tuple(pyramids), hu=hu["medulla"]),
                Detail(parts=(fat,), hu=hu["fat"] + 12.0, label=0),
                Detail(parts=(pelvis,), hu=hu["pelvis"]),
            ),
        )


def _beyond(centre: Vector, direction: NDArray[np.float64], distance_mm: float) -> Vector:
    x, y, z = np.asarray(centre) + direction * distance_mm
    return float(x), float(y), float(z)


def adrenals(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Adrenal glands: two thin limbs above each kidney."""
    for side in (-1, 1):
        place = Placer(body.build.scale, rng, 2.0, 0.15)
        z = 52.0 if side > 0 else 45.0
        limbs = (
            *tube([place.at(side * 27, -8, z), place.at(side * 37, 8, z - 10)], 2.2 * place.size),
            *tube([place.at(side * 27, -8, z), place.at(side * 29, 10, z - 6)], 2.2 * place.size),
        )
        yield Structure(name="adrenal", parts=limbs, hu=hu["adrenal"], gap_mm=1.0)


def liver(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Liver with hepatic and portal veins; its upper side is the diaphragm's."""
    place = Placer(body.build.scale, rng, 4.0, 0.06)
    tip = float(rng.uniform(-62, -22))  # how far down the right lobe reaches
    left_reach = float(rng.uniform(20, 50))
    right = Ellipsoid(place.at(-78, -4, 38), place.sized(74, 92, 96))
    # the visceral face: steep beside the kidney and the colon
    face = Below(place.at(-104, 0, tip), (-0.60, 0.06, -0.72))
    behind = Ellipsoid(place.at(-46, 34, -22), place.sized(40, 40, 78))
    spine = Cylinder(place.at(2, 22, 40), place.sized(36, 40, 200))
    right_lobe = Carved(right, (_flipped(face), behind, spine), 24.0 * place.size)
    left_lobe = Ellipsoid(
        place.at(left_reach - 42, -56, 62), place.sized(70, 46, 33), turned(about_y=-14.0)
    )
    caudate = Ellipsoid(place.at(-20, -20, 58), place.sized(17, 17, 30))
    fissure = Ellipsoid(
        place.at(2, -74, 34), place.sized(1.8, 30, 22), turned(about_z=float(rng.uniform(4, 28)))
    )
    hilum = Ellipsoid(place.at(-26, -36, 28), place.sized(16, 11, 11))
    solid: Shape = Carved(
        Blend((right_lobe, left_lobe, caudate), 22.0 * place.size), (fissure, hilum), 5.0
    )
    yield Structure(
        name="liver",
        parts=(solid,),
        hu=hu["liver"],
        label=LIVER,
        gap_mm=0.6,
        within=(("abdomen", 2.6),),
        mottle=(2.5, 6.0),
        details=(
            Detail(parts=_hepatic_veins(place, rng), hu=hu["hepatic"]),
            Detail(parts=_portal_branches(place, rng), hu=hu["portal"]),
        ),
    )


def _flipped(plane: Below) -> Below:
    x, y, z = plane.normal
    return Below(plane.point, (-x, -y, -z))


def _hepatic_veins(place: Placer, rng: np.random.Generator) -> tuple[Shape, ...]:
    into_cava = place.at(-22, -8, 86)
    parts: list[Shape] = []
    for end in ((-112, 18, 50), (-70, -70, 56), (22, -62, 66), (-90, 30, 16)):
        x, y, z = np.asarray(end) + rng.normal(0, 5, 3)
        middle = place.at((x - 22) / 2, (y - 8) / 2 - 3, (z + 86) / 2 + 4)
        parts += tube([into_cava, middle, place.at(x, y, z)], (6.5, 5.0, 2.0), 14.0)
    return tuple(parts)


def _portal_branches(place: Placer, rng: np.random.Generator) -> tuple[Shape, ...]:
    porta, fork = place.at(-30, -36, 34), place.at(-52, -30, 42)
    parts = list(tube([porta, fork], (7.0, 6.0)))
    targets = [(-104, -38, 40), (-104, 20, 58), (-96, 28, 14), (-92, -40, 2), (-66, -72, 72)]
    for end in targets:
        x, y, z = np.asarray(end) + rng.normal(0, 6, 3)
        middle = place.at((x - 52) / 2, (y - 30) / 2, (z + 42) / 2)
        parts += tube([fork, middle, place.at(x, y, z)], (5.4, 4.0, 1.7), 14.0)
        for _ in range(4):
            dx, dy, dz = rng.normal(0, 20, 3)
            parts += tube([middle, place.at(x + dx, y + dy, z + dz)], (2.9, 1.2), 20.0)
    left = place.at(4, -58, 60)
    parts += tube([porta, place.at(-14, -46, 54), left], (5.0, 4.2, 3.2), 14.0)
    for dx, dy, dz in ((26, -8, 6), (2, -30, 4), (22, 10, 14)):
        parts += tube([left, place.at(4 + dx, -58 + dy, 60 + dz)], (2.6, 1.0), 18.0)
    return tuple(parts)


def gallbladder(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """A pear under the right lobe; now and then it has been removed."""
    if rng.random() < 0.08:
        return
    place = Placer(body.build.scale, rng, 3.0, 0.22)
    pear = tube(
        [place.at(-38, -44, 24), place.at(-50, -62, 8), place.at(-60, -82, -14)],
        (4 * place.size, 12 * place.size, 16 * place.size),
        6.0,
    )
    yield Structure(
        name="gallbladder",
        parts=pear,
        hu=hu["bile"],
        label=GALLBLADDER,
        rim=(1.6, hu["gut_wall"] * 0.7),
        within=(("abdomen", 6.0),),
        gap_mm=0.6,
    )


def spleen(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """A crescent against the left posterior wall, below the diaphragm."""
    place = Placer(body.build.scale, rng, 4.0, 0.16)
    solid = Carved(
        Ellipsoid(place.at(90, 20, 48), place.sized(47, 60, 62), turned(-14, 0, 24)),
        (Ellipsoid(place.at(44, -12, 44), place.sized(36, 44, 70), turned(about_z=24)),),
        14.0,
    )
    hilum = place.at(74, 8, 50)
    veins: list[Shape] = []
    for dx, dy, dz in ((22, 14, 18), (26, 4, -6), (18, 20, -22)):
        veins += tube([hilum, place.at(74 + dx, 8 + dy, 50 + dz)], (3.0, 1.0), 14.0)
    yield Structure(
        name="spleen",
        parts=(solid,),
        hu=hu["spleen"],
        label=SPLEEN,
        gap_mm=1.2,
        within=(("abdomen", 3.0),),
        mottle=(2.5, 5.0),
        details=(Detail(parts=tuple(veins), hu=hu["portal"]),),
    )


def pancreas(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Head beside the duodenum, neck before the portal vein, tail to the spleen's hilum."""
    place = Placer(body.build.scale, rng, 3.0, 0.14)
    r = place.size
    points = [
        place.at(-32, -32, -16),
        place.at(-24, -40, -2),
        place.at(-4, -54, 10),
        place.at(20, -50, 16),
        place.at(46, -26, 26),
        place.at(68, -4, 36),
    ]
    gland = tube(points, (13 * r, 17 * r, 11 * r, 12 * r, 12 * r, 10 * r), 5.0)
    lobules = tuple(
        Ellipsoid(
            tuple(np.asarray(part.start) + rng.normal(0, 5.5, 3)),
            place.sized(*rng.uniform(5, 9, 3)),
        )
        for part in gland
        for _ in range(2)
    )
    yield Structure(
        name="pancreas",
        parts=(Blend((*gland, *lobules), 3.0),),
        hu=hu["pancreas"],
        label=PANCREAS,
        gap_mm=1.0,
        mottle=(float(rng.uniform(5, 16)), 4.0),
    )
