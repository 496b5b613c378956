"""Oesophagus, stomach, duodenum, small and large bowel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.phantom.body import Body
from models.phantom.organs import Placer
from models.phantom.shapes import Blend, Capsule, Ellipsoid, Shape, tube
from models.phantom.structures import Detail, Structure

OESOPHAGUS, STOMACH, DUODENUM = 5, 7, 8


def oesophagus(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """From the chest, before the aorta, to the stomach; at times with some air."""
    p = Placer(body.build.scale, rng, 1.5, 0.15)
    path = [p.at(0, -26, 240), p.at(0, -35, 140), p.at(8, -46, 106), p.at(24, -36, 86)]
    tubes = tube(path, (8.5 * p.size, 8.5 * p.size, 9 * p.size, 9 * p.size))
    air: tuple[Shape, ...] = ()
    if rng.random() < 0.5:
        air = tube(path[:3], float(rng.uniform(1.0, 3.5)))
    yield Structure(
        name="oesophagus",
        parts=tubes,
        hu=hu["gut_wall"] * 0.75,
        label=OESOPHAGUS,
        gap_mm=1.0,
        details=(Detail(parts=air, hu=-800.0),),
    )


def stomach(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Fundus under the left dome, body, antrum and pylorus; gas lies in front of the fluid."""
    p = Placer(body.build.scale, rng, 4.0, 0.08)
    fill = float(rng.uniform(0.72, 1.22))
    r = p.size * fill
    sag = float(rng.uniform(-28, 8))
    path = [
        p.at(56, 0, 88),
        p.at(60, -28, 68),
        p.at(62, -54, 38 + sag * 0.4),
        p.at(40, -76, 8 + sag),
        p.at(8, -80, 0 + sag),
        p.at(-20, -64, 8),
        p.at(-30, -54, 10),
    ]
    parts = tube(path, (31 * r, 31 * r, 26 * r, 22 * r, 18 * r, 13 * r, 8 * p.size), 8.0)
    content, mottle, share = _content(rng, hu)
    front = min(part.start[1] - part.start_radius for part in parts)
    yield Structure(
        name="stomach",
        parts=(Blend((*parts, *tube([p.at(20, -36, 84), p.at(40, -20, 80)], 9.0)), 8.0),),
        hu=content,
        label=STOMACH,
        rim=(float(rng.uniform(2.8, 5.0)), hu["gut_wall"]),
        gap_mm=1.6,
        within=(("abdomen", 3.5),),
        gas_above_mm=front + float(rng.uniform(0.08, 0.62)) * 100.0 * p.scale,
        mottle=mottle,
        gas_share=share,
    )


def _content(
    rng: np.random.Generator, hu: dict[str, float]
) -> tuple[float, tuple[float, float], float]:
    """HU, texture and share of bubbles of what a stomach holds."""
    kind = rng.random()
    if kind < 0.5:  # water
        return hu["fluid"] + float(rng.normal(0, 5)), (1.0, 4.0), 0.0
    if kind < 0.75:  # a meal
        return 38.0 + float(rng.normal(0, 8)), (24.0, 5.0), float(rng.uniform(0.0, 0.25))
    return float(rng.uniform(120, 320)), (6.0, 6.0), 0.0  # oral contrast agent


def duodenum(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """A C around the head of the pancreas, then across the midline before the aorta."""
    p = Placer(body.build.scale, rng, 2.5, 0.12)
    r = p.size
    parts = tube(
        [
            p.at(-30, -54, 10),
            p.at(-46, -40, 8),
            p.at(-52, -24, -10),
            p.at(-48, -20, -44),
            p.at(-24, -32, -58),
            p.at(6, -45, -54),
            p.at(30, -42, -36),
            p.at(38, -52, -20),
        ],
        (10 * r, 13 * r, 13.5 * r, 13 * r, 12 * r, 9 * r, 11.5 * r, 11.5 * r),
        7.0,
    )
    yield Structure(
        name="duodenum",
        parts=parts,
        hu=hu["fluid"] + 14.0,
        label=DUODENUM,
        rim=(2.6, hu["gut_wall"]),
        gap_mm=1.2,
        within=(("abdomen", 4.0),),
        mottle=(14.0, 4.0),
        gas_share=float(rng.uniform(0.0, 0.12)),
    )


def colon(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Caecum to sigmoid, each part with its own calibre, stool and gas."""
    p = Placer(body.build.scale, rng, 5.0, 0.1)
    belly = body.build.belly_mm
    hang = float(rng.uniform(-45, 0))
    side = 96 + 0.35 * belly / p.scale
    front = -84 - 0.75 * belly / p.scale
    pieces: dict[str, tuple[list[tuple[float, float, float]], tuple[float, float]]] = {
        "ascending colon": (
            [p.at(-74, -30, -168), p.at(-side + 6, -22, -110), p.at(-side, -6, -40)],
            (21, 29),
        ),
        "right flexure": (
            [p.at(-side, -6, -40), p.at(-side + 12, -40, -14), p.at(-60, front, -22)],
            (17, 24),
        ),
        "transverse colon": (
            [p.at(-60, front, -22), p.at(0, front, -42 + hang), p.at(60, front + 6, -10)],
            (15, 25),
        ),
        "left flexure": (
            [p.at(60, front + 6, -10), p.at(86, -50, 26), p.at(side + 4, -14, 30)],
            (13, 22),
        ),
        "descending colon": (
            [p.at(side + 4, -14, 30), p.at(side + 4, 14, -40), p.at(side - 8, 2, -130)],
            (10, 18),
        ),
        "sigmoid colon": (
            [p.at(side - 8, 2, -130), p.at(70, -30, -175), p.at(20, -40, -195)],
            (10, 19),
        ),
    }
    for name, (path, (least, most)) in pieces.items():
        radius = float(rng.uniform(least, most)) * p.size
        gassy = rng.random()
        level = None
        if gassy < 0.55 and name not in ("descending colon", "sigmoid colon"):
            top = min(y for _, y, _ in path)
            level = top + float(rng.uniform(-0.6, 0.5)) * radius
        yield Structure(
            name=name,
            parts=_haustra(path, radius, rng),
            hu=float(rng.uniform(15, 60)),
            rim=(2.0, hu["gut_wall"]),
            gap_mm=1.4,
            within=(("abdomen", 4.0),),
            gas_above_mm=level,
            mottle=(float(rng.uniform(20, 55)), float(rng.uniform(3.5, 6.0))),
            gas_share=float(rng.uniform(0.1, 0.55)) if rng.random() < 0.8 else 0.0,
        )


def _haustra(
    path: list[tuple[float, float, float]], radius: float, rng: np.random.Generator
) -> tuple[Shape, ...]:
    """A tube with bulges."""
    core = tube(path, 0.86 * radius, 11.0)
    bulges = [
        Ellipsoid(
            tuple(np.asarray(part.start) + rng.normal(0, 0.14 * radius, 3)),
            (radius * 1.04, radius * 1.04, radius * float(rng.uniform(0.85, 1.1))),
        )
        for part in core[::2]
    ]
    return (*core, *bulges)


def small_bowel(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Loops that wander through what the other organs leave free."""
    p = Placer(body.build.scale, rng, 3.0, 0.1)
    contrast = rng.random() < 0.25
    low = np.array([-74.0, -100.0 - 0.8 * body.build.belly_mm, -190.0])
    high = np.array([98.0, -18.0, 16.0])
    for _ in range(20):
        radius = float(rng.uniform(9.0, 14.0)) * p.size
        parts = _wander(rng, low * p.scale, high * p.scale, radius)
        fluid = hu["fluid"] + float(rng.uniform(0, 30))
        gas = rng.random() < 0.25
        yield Structure(
            name="small bowel",
            parts=parts,
            hu=float(rng.uniform(150, 320)) if contrast and rng.random() < 0.6 else fluid,
            rim=(float(rng.uniform(2.0, 3.2)), hu["gut_wall"]),
            gap_mm=1.0,
            within=(("abdomen", 5.0),),
            mottle=(14.0, 4.0),
            gas_share=float(rng.uniform(0.1, 0.3)) if gas else 0.0,
        )


def _wander(
    rng: np.random.Generator,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    radius: float,
) -> tuple[Capsule, ...]:
    """A smooth random path within a box."""
    at = rng.uniform(low, high)
    heading = rng.standard_normal(3)
    path = []
    for _ in range(int(rng.integers(12, 20))):
        path.append(at)
        heading = heading / np.linalg.norm(heading) + 0.75 * rng.standard_normal(3)
        ahead = at + 16.0 * heading / np.linalg.norm(heading)
        heading = np.where((ahead < low) | (ahead > high), -heading, heading)
        at = at + 16.0 * heading / np.linalg.norm(heading)
    return tube(path, radius, 11.0)
