"""Muscles of the trunk that are not part of the wall around the cavity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.phantom.body import Body
from models.phantom.shapes import Ellipsoid, tube, turned
from models.phantom.structures import Structure


def muscles(body: Body, hu: dict[str, float], rng: np.random.Generator) -> Iterator[Structure]:
    """Psoas, quadratus lumborum and erector spinae."""
    b, s = body.build, body.build.scale
    bulk = float(rng.uniform(0.85, 1.1)) * (0.92 if b.female else 1.06)
    streaks = (float(rng.uniform(8, 26)), 5.0)
    for side in (-1, 1):
        psoas = tube(
            [
                (side * 27 * s, 6 * s, 30 * s),
                (side * 34 * s, 6 * s, -40 * s),
                (side * 42 * s, 0.0, -100 * s),
                (side * 58 * s, -16 * s, -175 * s),
            ],
            (5 * s, 12 * s * bulk, 18 * s * bulk, 21 * s * bulk),
        )
        yield Structure(name="psoas", parts=psoas, hu=hu["muscle"], gap_mm=0.8, mottle=(5.0, 5.0))
        yield Structure(
            name="quadratus lumborum",
            parts=(
                Ellipsoid(
                    (side * 66 * s, 36 * s, -60 * s),
                    (24 * s, 9 * s * bulk, 72 * s),
                    turned(about_z=side * 28.0),
                ),
            ),
            hu=hu["muscle"],
            gap_mm=1.2,
            mottle=(8.0, 5.0),
        )
        yield Structure(
            name="erector spinae",
            parts=tuple(
                Ellipsoid((side * x * s, y * s, z * s), (width * s, depth * s * bulk, 130 * s))
                for x, y, z, width, depth in (
                    (27.0, 56.0, -120.0, 26.0, 19.0),
                    (27.0, 57.0, -10.0, 25.0, 21.0),
                    (50.0, 52.0, -50.0, 25.0, 17.0),
                    (24.0, 60.0, 140.0, 23.0, 15.0),
                )
            ),
            hu=hu["muscle"],
            gap_mm=1.0,
            mottle=streaks,
        )
