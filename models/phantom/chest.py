"""Heart, mediastinum and the vessels of the lungs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.phantom.body import Body
from models.phantom.organs import Placer
from models.phantom.shapes import Ellipsoid, Shape, tube, turned
from models.phantom.structures import Detail, Structure


def heart(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """The heart on the diaphragm, its chambers, and the fat around it."""
    p = Placer(body.build.scale, rng, 3.0, 0.08)
    z = body.build.dome_mm / p.scale + 34
    turn = turned(about_z=-38.0)
    chambers = (
        Ellipsoid(p.at(42, -68, z), p.sized(32, 17, 32), turn),
        Ellipsoid(p.at(6, -84, z + 4), p.sized(31, 14, 32), turn),
        Ellipsoid(p.at(-20, -60, z + 14), p.sized(21, 20, 30)),
    )
    yield Structure(
        name="heart",
        parts=(Ellipsoid(p.at(20, -73, z), p.sized(58, 33, 46), turn),),
        hu=hu["myocardium"],
        within=(("chest", 4.0),),
        gap_mm=0.3,
        details=(Detail(parts=chambers, hu=hu["heart"]),),
    )


def mediastinum(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Fat between the lungs; drawn last, so that it fills what is left."""
    p = Placer(body.build.scale, rng, 2.0, 0.06)
    z = body.build.dome_mm / p.scale + 30
    yield Structure(
        name="mediastinum",
        parts=(
            Ellipsoid(p.at(19, -74, z), p.sized(68, 41, 56), turned(about_z=-34.0)),
            Ellipsoid(p.at(5, -16, 150), p.sized(29, 30, 130), None, 4),
            Ellipsoid(p.at(5, -70, 190), p.sized(30, 46, 60), None, 4),
        ),
        hu=hu["fat"],
        within=(("cavity", 0.0),),
    )


def lung_vessels(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Branches that thin out from the hila to the pleura."""
    s = body.build.scale
    parts: list[Shape] = []
    for side in (-1, 1):
        hilum = np.array([side * 34.0, -22.0, 158.0]) * s
        for _ in range(22):
            end = np.array(
                [side * rng.uniform(42, 112), rng.uniform(-86, 50), rng.uniform(55, 190)]
            )
            middle = hilum + (end * s - hilum) * 0.5 + rng.normal(0, 6, 3)
            parts += tube([hilum, middle, end * s], (5.0, 3.2, 1.2), 24.0)
            for _ in range(3):
                twig = middle + (end * s - middle) * rng.uniform(0.2, 0.9) + rng.normal(0, 15, 3)
                parts += tube([middle, twig], (1.9, 0.9), 30.0)
    yield Structure(
        name="lung vessels",
        parts=tuple(parts),
        hu=hu["cava"] * 0.6,
        within=(("chest", 2.0),),
    )
