"""Balls on any grid, as organs whose place and volume are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from models.geometry import LabelMap, VolumeGeometry
from models.segments import Code, Segment
from operators.errors import OutputError
from operators.scene import render_views
from operators.surfaces import Surface, organ_surfaces

_CODE = Code(value="10200004", scheme="SCT", meaning="Liver")

Ball = tuple[Sequence[float], float]  # centre in LPS mm, radius in mm


def oblique() -> NDArray[np.float64]:
    """Directions of i, j and k that lie along no axis of the patient."""
    turned, _ = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.4, 0.8, -0.3], [-0.1, 0.35, 0.95]]))
    directions: NDArray[np.float64] = turned * np.sign(np.linalg.det(turned))
    return directions


def balls(
    placed: Mapping[int, Ball],
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    direction_lps: ArrayLike | None = None,
) -> LabelMap:
    """A grid around the origin of the patient with balls by their label."""
    size = (np.array(shape[::-1]) - 1) * np.array(spacing_mm[::-1])
    directions = np.eye(3) if direction_lps is None else np.asarray(direction_lps)
    geometry = VolumeGeometry.from_spacing(
        shape, spacing_mm, (-directions @ size / 2).tolist(), directions
    )
    points = geometry.to_lps(np.stack(np.indices(geometry.shape), axis=-1))
    labels = np.zeros(geometry.shape, np.uint8)
    for number, (centre, radius) in placed.items():
        labels[np.linalg.norm(points - centre, axis=-1) < radius] = number
    return LabelMap(labels=labels, geometry=geometry)


def segment(number: int, name: str, rgb: tuple[int, int, int]) -> Segment:
    label = name.replace("_", " ").capitalize()
    return Segment(
        number=number, name=name, label=label, category=_CODE, type=_CODE, modifier=None, rgb=rgb
    )


#: Pure colours, so that a pixel tells its organ.
SEGMENTS = (segment(1, "left_high", (230, 0, 0)), segment(2, "right_low", (0, 0, 230)))


@lru_cache(maxsize=1)
def two_organs() -> tuple[Surface, ...]:
    """A red ball at the patient's left, high; a blue one at the right, low and to the front."""
    placed = {1: ((45.0, 10.0, 25.0), 22.0), 2: ((-45.0, -10.0, -25.0), 22.0)}
    return organ_surfaces(balls(placed, (40, 32, 56), (3.0, 3.0, 3.0)), SEGMENTS)


@lru_cache(maxsize=1)
def _reason_not_to_draw() -> str:
    try:
        render_views(two_organs(), [0.0], (32, 32))
    except OutputError as exc:
        return str(exc)
    return ""


def skip_where_nothing_can_be_drawn() -> None:
    """Skip a test on a machine without EGL and OSMesa."""
    if reason := _reason_not_to_draw():
        pytest.skip(reason)
