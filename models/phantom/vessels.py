"""The large vessels of the abdomen and the crura of the diaphragm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.phantom.body import Body
from models.phantom.organs import Placer
from models.phantom.shapes import Shape, tube
from models.phantom.structures import Detail, Structure


def great_vessels(
    body: Body, hu: dict[str, float], rng: np.random.Generator
) -> Iterator[Structure]:
    """Aorta and vena cava with their branches to kidneys, gut and legs."""
    p = Placer(body.build.scale, rng, 1.5, 0.12)
    r = p.size
    trunk = tube(
        [
            p.at(22, -16, 240),
            p.at(17, -22, 130),
            p.at(10, -28, 60),
            p.at(6, -30, 0),
            p.at(4, -32, -85),
        ],
        (12.5 * r, 12 * r, 11 * r, 9.5 * r, 8.5 * r),
        14.0,
    )
    plaque: list[Shape] = []
    if rng.random() < 0.5:
        for part in trunk[4:]:
            if rng.random() < 0.5:
                x, y, z = part.start
                side = rng.uniform(0, 2 * np.pi)
                rim = part.start_radius - 1.2
                at = (x + rim * np.cos(side), y + rim * np.sin(side), z)
                end = (at[0] + 1, at[1] + 1, z - float(rng.uniform(2, 9)))
                plaque += tube([at, end], 1.3)
    arteries: list[Shape] = list(trunk)
    for side in (-1, 1):
        arteries += tube(
            [p.at(4, -32, -85), p.at(side * 20, -28, -125), p.at(side * 44, -22, -185)],
            (6 * r, 5.2 * r, 4.6 * r),
        )
        z = 2.0 if side > 0 else -4.0
        arteries += tube(
            [p.at(6, -28, z), p.at(side * 26, -12, z - 4), p.at(side * 44, 2, z - 6)], 2.6
        )
    arteries += tube([p.at(8, -27, 38), p.at(7, -42, 34), p.at(-2, -48, 32)], (4, 3.4, 3.0), 6.0)
    arteries += tube([p.at(-2, -48, 32), p.at(-26, -46, 36)], (2.6, 2.0))
    arteries += tube([p.at(7, -40, 34), p.at(34, -28, 32), p.at(72, 8, 42)], (2.8, 2.4, 2.0))
    arteries += tube(
        [p.at(7, -29, 26), p.at(6, -48, 10), p.at(4, -56, -30), p.at(-20, -60, -100)],
        (3.8, 3.6, 3.0, 1.6),
    )
    yield Structure(
        name="aorta",
        parts=tuple(arteries),
        hu=hu["aorta"],
        gap_mm=0.8,
        details=(Detail(parts=tuple(plaque), hu=650.0),),
    )
    yield _cava(body, p, hu)


def _cava(body: Body, p: Placer, hu: dict[str, float]) -> Structure:
    r = p.size
    veins: list[Shape] = list(
        tube(
            [
                p.at(-18, -36, body.build.dome_mm / p.scale + 22),
                p.at(-20, -26, 106),
                p.at(-24, -14, 80),
                p.at(-25, -22, 20),
                p.at(-22, -28, -40),
                p.at(-18, -28, -95),
            ],
            (12.5 * r, 12 * r, 11.5 * r, 11 * r, 10.5 * r, 9 * r),
        )
    )
    for side in (-1, 1):
        veins += tube(
            [p.at(-18, -28, -95), p.at(side * 22, -18, -135), p.at(side * 46, -14, -190)],
            (7 * r, 6.2 * r, 5.5 * r),
        )
    veins += tube([p.at(-24, -22, -2), p.at(6, -44, -2), p.at(46, -4, 0)], (4.2, 3.6, 3.8))
    veins += tube([p.at(-25, -20, -10), p.at(-44, 0, -16)], 4.2)
    return Structure(name="vena cava", parts=tuple(veins), hu=hu["cava"], gap_mm=0.8)


def portal_system(
    body: Body, hu: dict[str, float], rng: np.random.Generator
) -> Iterator[Structure]:
    """Portal, splenic and superior mesenteric veins."""
    p = Placer(body.build.scale, rng, 1.5, 0.1)
    r = p.size
    meeting = p.at(-6, -44, 6)
    parts = (
        *tube([meeting, p.at(-18, -42, 20), p.at(-32, -36, 35)], (7 * r, 7 * r, 6.5 * r), 7.0),
        *tube(
            [meeting, p.at(20, -40, 16), p.at(46, -10, 26), p.at(74, 12, 40)],
            (5 * r, 4.6 * r, 4.2 * r, 3.4 * r),
        ),
        *tube(
            [meeting, p.at(-8, -54, -20), p.at(-10, -58, -60), p.at(-30, -56, -110)],
            (6 * r, 5.6 * r, 4.6 * r, 2.0),
        ),
    )
    yield Structure(name="portal vein", parts=parts, hu=hu["portal"], gap_mm=0.6)


def mesenteric_branches(
    body: Body, hu: dict[str, float], rng: np.random.Generator
) -> Iterator[Structure]:
    """Small vessels in the fat of the mesentery."""
    p = Placer(body.build.scale, rng, 2.0, 0.1)
    parts: list[Shape] = []
    for _ in range(26):
        z = float(rng.uniform(-100, -5))
        x, y, dz = rng.uniform(-75, 75), rng.uniform(-95, -50), rng.uniform(-55, 10)
        start = p.at(-4, -57, z)
        bend = p.at(x * 0.5 + rng.normal(0, 8), (y - 57) / 2, z + dz * 0.3)
        parts += tube([start, bend, p.at(float(x), float(y), z + float(dz))], (2.4, 1.7, 0.9), 14.0)
    yield Structure(
        name="mesenteric vessels", parts=tuple(parts), hu=hu["portal"], within=(("abdomen", 6.0),)
    )


def crura(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """The diaphragm's two pillars beside the aorta."""
    p = Placer(body.build.scale, rng, 1.0, 0.15)
    parts: list[Shape] = []
    for side in (-1, 1):
        parts += tube(
            [
                p.at(side * 14 + 8, -30, 88),
                p.at(side * 19 + 8, -20, 60),
                p.at(side * 18 + 5, -18, 20),
                p.at(side * 14 + 3, -16, -35),
            ],
            (3.2, 4.6, 4.4, 2.4),
        )
    yield Structure(
        name="crura", parts=tuple(parts), hu=hu["muscle"], gap_mm=0.4, within=(("cavity", 0.0),)
    )
