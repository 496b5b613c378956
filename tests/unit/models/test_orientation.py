"""Turning axes: all 48 ways there are, and back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.geometry import VolumeGeometry
from models.orientation import AxisOrder

SHAPE = (3, 4, 5)
ORDERS = [
    AxisOrder(source_axis=axes, flipped=flips)  # type: ignore[arg-type]
    for axes in permutations(range(3))
    for flips in product((False, True), repeat=3)
]
OBLIQUE = Rotation.from_euler("xyz", (14, -21, 8), degrees=True).as_matrix()


def places(geometry: VolumeGeometry) -> NDArray[np.float64]:
    """LPS mm of every voxel, `(D, H, W, 3)`."""
    return geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))


def signed_permutations() -> list[NDArray[np.float64]]:
    return [
        np.eye(3)[:, axes] * signs
        for axes in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_apply_and_invert_undo_each_other(order: AxisOrder) -> None:
    source = np.arange(60).reshape(SHAPE)
    canonical = order.apply(source)
    assert canonical.shape == tuple(SHAPE[axis] for axis in order.source_axis)
    np.testing.assert_array_equal(order.invert(canonical), source)
    other = np.arange(60).reshape(canonical.shape)
    np.testing.assert_array_equal(order.apply(order.invert(other)), other)
    assert np.shares_memory(canonical, source)  # a view: a CT is not copied to be turned


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_voxel_keeps_its_place_in_the_patient(order: AxisOrder) -> None:
    source = VolumeGeometry.from_spacing(SHAPE, (4.7, 0.9, 1.3), (-31, 12, 880), OBLIQUE)
    turned = order.geometry(source)
    before, after = places(source), places(turned)
    for axis in range(3):
        np.testing.assert_allclose(after[..., axis], order.apply(before[..., axis]), atol=1e-9)
    assert turned.spacing_mm == pytest.approx(
        [source.spacing_mm[axis] for axis in order.source_axis]
    )


def test_a_grid_along_the_patients_axes_becomes_exactly_canonical() -> None:
    seen = set()
    for directions in signed_permutations():
        source = VolumeGeometry.from_spacing(SHAPE, (4.7, 0.9, 1.3), (1, 2, 3), directions)
        order = AxisOrder.closest(source)
        np.testing.assert_allclose(order.geometry(source).direction_lps, np.eye(3), atol=1e-12)
        seen.add(order)
    assert len(seen) == 48


def test_an_oblique_grid_turns_to_the_nearest_axes() -> None:
    for directions in signed_permutations():
        source = VolumeGeometry.from_spacing(
            SHAPE, (4.7, 0.9, 1.3), (0, 0, 0), OBLIQUE @ directions
        )
        canonical = AxisOrder.closest(source).geometry(source).direction_lps
        np.testing.assert_allclose(canonical, OBLIQUE, atol=1e-12)


def test_a_grid_between_two_axes_still_gets_three_different_ones() -> None:
    halfway = Rotation.from_euler("xyz", (45, 45, 45), degrees=True).as_matrix()
    source = VolumeGeometry.from_spacing(SHAPE, (4.7, 0.9, 1.3), (0, 0, 0), halfway)
    order = AxisOrder.closest(source)
    assert sorted(order.source_axis) == [0, 1, 2]
    assert (np.diag(order.geometry(source).direction_lps) > 0).all()
