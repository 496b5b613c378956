"""Stacks whose slices are shifted in their own planes, as by a tilted gantry."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from operators.errors import VolumeError
from operators.slice_stack import SliceStack, stack_slices
from tests.unit.operators.anisotropic_slices import (
    COLUMN_SPACING_MM,
    DEPTH,
    HEIGHT,
    OBLIQUE,
    ORIGIN,
    ROW_SPACING_MM,
    STEP_MM,
    WIDTH,
    frames_of,
    headers_at,
    headers_of,
    leaning,
    move,
    rotation,
)

TALL = (40, 50)


def stack_of(headers: list[Dataset]) -> SliceStack:
    return stack_slices(frames_of(headers))


@pytest.mark.parametrize("degrees", [0.5, -0.5, 17, -20, 30])
@pytest.mark.parametrize("along", ["rows", "columns"])
@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, rotation(180, 40)])
def test_a_gantry_tilt_gets_an_upright_grid_around_all_slices(axes, along, degrees):
    heights = [k * STEP_MM for k in range(DEPTH)]
    tilt = (degrees, 0) if along == "rows" else (0, degrees)
    shifts = leaning(heights, *tilt)
    stack = stack_of(headers_at(heights, axes, shifts, TALL))
    spread = abs(np.tan(np.radians(degrees))) * heights[-1]
    more_rows = 0 if along == "rows" else int(np.ceil(spread / ROW_SPACING_MM))
    more_columns = int(np.ceil(spread / COLUMN_SPACING_MM)) if along == "rows" else 0
    assert stack.grid.shape == (DEPTH, TALL[0] + more_rows, TALL[1] + more_columns)
    np.testing.assert_allclose(stack.grid.direction_lps, axes, atol=1e-8)
    np.testing.assert_allclose(
        stack.grid.spacing_mm, (STEP_MM, ROW_SPACING_MM, COLUMN_SPACING_MM), atol=1e-5
    )
    first = ORIGIN + axes[:, :2] @ shifts.min(axis=0)
    np.testing.assert_allclose(stack.grid.to_lps((0, 0, 0)), first, atol=1e-5)
    indices = [
        (k, (j - shifts[:, 1].min()) / ROW_SPACING_MM, (i - shifts[:, 0].min()) / COLUMN_SPACING_MM)
        for k, (i, j) in enumerate(shifts)
    ]
    np.testing.assert_allclose(stack.indices, indices, atol=0.0135)
    np.testing.assert_allclose(
        stack.positions_lps, [f.header.ImagePositionPatient for f in stack.frames], atol=1e-9
    )
    assert stack.repairs == (
        f"a gantry tilt of {abs(degrees):.2f} degrees was resampled onto an upright grid",
    )


def test_a_tilt_as_scanners_write_it_leans_by_its_angle():
    axes = rotation(-20, 0)
    headers = headers_of(axes)
    for k, header in enumerate(headers):  # the table moves along z, not along the normal
        header.ImagePositionPatient = list(ORIGIN + np.array([0, 0, k * STEP_MM]))
        header.Rows, header.Columns = TALL
        header.GantryDetectorTilt = 20
    stack = stack_of(headers)
    assert stack.repairs == ("a gantry tilt of 20.00 degrees was resampled onto an upright grid",)
    assert stack.grid.spacing_mm[0] == pytest.approx(STEP_MM * np.cos(np.radians(20)))
    for header in headers:
        header.GantryDetectorTilt = 5
    assert "although GantryDetectorTilt says 5" in stack_of(headers).repairs[0]


def test_a_tilt_widens_the_grid_along_its_own_axis_alone():
    heights = [k * STEP_MM for k in range(DEPTH)]
    shifts = leaning(heights, 0, 10) + [(0.004 * (-1) ** k, 0) for k in range(DEPTH)]
    stack = stack_of(headers_at(heights, OBLIQUE, shifts, TALL))
    assert stack.grid.shape[2] == TALL[1]
    np.testing.assert_array_equal(stack.indices[:, 2], 0)


def test_slices_within_rounding_of_a_voxel_are_on_it():
    steps = np.arange(DEPTH)
    shifts = np.stack([np.zeros(DEPTH), steps * ROW_SPACING_MM + 0.004 * (steps % 2)], axis=1)
    stack = stack_of(headers_at((steps * STEP_MM).tolist(), OBLIQUE, shifts, TALL))
    np.testing.assert_array_equal(stack.indices, np.stack([steps, steps, 0 * steps], axis=1))
    assert stack.grid.shape == (DEPTH, TALL[0] + DEPTH - 1, TALL[1])


def test_tilt_gaps_and_uneven_distances_are_met_together():
    heights = [0, 2, 4.1, 6, 10, 12, 13.9, 16]
    shifts = leaning(heights, 8, -12)
    stack = stack_of(headers_at(heights, OBLIQUE, shifts, TALL))
    np.testing.assert_allclose(stack.grid.direction_lps, OBLIQUE, atol=1e-8)
    found = (stack.positions_lps - stack.grid.to_lps((0, 0, 0))) @ OBLIQUE
    np.testing.assert_allclose(found[:, 2], heights, atol=1e-5)
    assert found.min() >= -1e-5
    held = (np.array(stack.grid.shape) - (1, *TALL)) * stack.grid.spacing_mm
    assert (found[:, ::-1] <= held + 0.011).all()
    assert 8 < stack.grid.shape[0] <= 16
    assert [repair.split()[0] for repair in stack.repairs] == ["slice", "a"]


def test_a_slice_moved_sideways_is_moved_back():
    headers = headers_of()
    move(headers[3], 0.4, 0, 0)
    stack = stack_of(headers)
    assert stack.grid.shape == (DEPTH, HEIGHT, WIDTH + 1)
    np.testing.assert_allclose(stack.indices[:, 2], (0, 0, 0, 0.32, 0, 0, 0), atol=1e-6)
    assert stack.repairs == ("images shifted in their planes by up to 0.40 mm were resampled",)


@pytest.mark.parametrize(("degrees", "held"), [(44, True), (46, False), (-60, False)])
def test_a_lean_too_strong_for_a_gantry_is_refused(degrees, held):
    heights = [0, 1, 2, 3]
    headers = headers_at(heights, OBLIQUE, leaning(heights, degrees, 0), TALL)
    if held:
        assert "tilt of 44.00 degrees" in stack_of(headers).repairs[0]
        return
    with pytest.raises(
        VolumeError, match=rf"at most 45 degrees, found a stack that leans by {abs(degrees)}\.00"
    ):
        stack_of(headers)


def test_a_grid_holds_at_most_twice_the_voxels_of_its_slices():
    heights = [0.0, 10.0, 20.0]
    for degrees in range(5, 45, 3):
        headers = headers_at(heights, OBLIQUE, leaning(heights, degrees, 0), (20, 16))
        wider = int(np.ceil(20 * np.tan(np.radians(degrees)) / COLUMN_SPACING_MM - 0.008))
        if 16 + wider <= 32:
            grid = stack_of(headers).grid
            assert grid.shape == (3, 20, 16 + wider)
        else:
            with pytest.raises(VolumeError, match=rf"in a grid of \(3, 20, {16 + wider}\)"):
                stack_of(headers)
