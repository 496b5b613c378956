from __future__ import annotations

import random
from collections.abc import Callable

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
    move,
    rotation,
)


def stack_of(headers: list[Dataset]) -> SliceStack:
    return stack_slices(frames_of(headers))


def heights_of(stack: SliceStack, axes: np.ndarray) -> np.ndarray:
    """Of the grid's planes above the origin of the tests."""
    planes = [(k, 0, 0) for k in range(stack.grid.shape[0])]
    return (stack.grid.to_lps(planes) - ORIGIN) @ axes[:, 2]


# --- regular


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(3),
        rotation(0, 180),
        rotation(180, 0),
        rotation(90, 0),
        OBLIQUE,
        rotation(-62, 118),
    ],
    ids=["axial", "prone", "feet up", "coronal", "oblique", "very oblique"],
)
def test_every_pixel_centre_lies_where_its_own_header_says(axes):
    stack = stack_of(headers_of(axes))
    assert stack.is_grid
    assert stack.repairs == ()
    assert stack.size == (HEIGHT, WIDTH)
    assert stack.grid.shape == (DEPTH, HEIGHT, WIDTH)
    assert stack.grid.affine_lps.dtype == np.float64
    np.testing.assert_allclose(
        stack.grid.spacing_mm, (STEP_MM, ROW_SPACING_MM, COLUMN_SPACING_MM), atol=1e-6
    )
    for k, frame in enumerate(stack.frames):
        for j, i in ((0, 0), (HEIGHT - 1, 1), (2, WIDTH - 1)):
            along, down = axes[:, 0] * COLUMN_SPACING_MM, axes[:, 1] * ROW_SPACING_MM
            position = np.array(frame.header.ImagePositionPatient, float)
            np.testing.assert_allclose(
                stack.grid.to_lps((k, j, i)), position + i * along + j * down, atol=1e-5
            )


def test_regular_slices_lie_on_whole_planes():
    stack = stack_of(headers_of(OBLIQUE))
    np.testing.assert_array_equal(stack.indices, [(k, 0, 0) for k in range(DEPTH)])
    np.testing.assert_allclose(stack.grid.to_lps(stack.indices), stack.positions_lps, atol=1e-9)


def test_slices_ascend_along_the_normal_whatever_order_they_come_in():
    headers = headers_of(OBLIQUE)
    expected = [h.SOPInstanceUID for h in headers]
    frames = list(frames_of(headers))
    for seed in range(5):
        random.Random(seed).shuffle(frames)
        assert [f.SOPInstanceUID for f in stack_slices(frames).frames] == expected


def test_a_normal_towards_the_feet_orders_slices_towards_the_feet():
    stack = stack_of(headers_of(rotation(180, 0)))
    z = [float(f.header.ImagePositionPatient[2]) for f in stack.frames]
    assert z == sorted(z, reverse=True)
    assert np.linalg.det(stack.grid.affine_lps[:3, :3]) > 0


def test_rounding_of_positions_is_no_tilt():
    headers = headers_of(depth=2)
    move(headers[1], 0.004, -0.004, 0)
    stack = stack_of(headers)
    assert stack.is_grid
    np.testing.assert_allclose(stack.grid.affine_lps[:3, 2], (0, 0, STEP_MM), atol=1e-9)


def test_cosines_of_few_decimals_make_an_orthogonal_grid():
    headers = headers_of()
    for header in headers:
        header.ImageOrientationPatient = [0.966, 0.259, 0, -0.259, 0.966, 0]
    axes = stack_of(headers).grid.direction_lps
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)


def test_a_series_without_any_frame_of_reference_is_one_by_itself():
    headers = headers_of()
    for header in headers:
        del header.FrameOfReferenceUID
    assert stack_of(headers).grid.shape[0] == DEPTH


# --- missing slices


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ([3], r"1 missing slices were interpolated, in 1 gaps of up to 5\.00 mm"),
        ([3, 4], r"2 missing .* in 1 gaps of up to 7\.50 mm where the distance is 2\.50 mm"),
        ([1], "1 missing"),
        ([7], "1 missing"),
        ([2, 5, 6], r"3 missing .* in 2 gaps of up to 7\.50 mm"),
    ],
)
@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, rotation(180, 0)])
def test_missing_slices_have_planes_at_their_places(axes, missing, told):
    headers = headers_of(axes, depth=9)
    present = [k for k in range(9) if k not in missing]
    stack = stack_of([headers[k] for k in present])
    assert not stack.is_grid
    assert stack.grid.shape == (9, HEIGHT, WIDTH)
    np.testing.assert_allclose(heights_of(stack, axes), np.arange(9) * STEP_MM, atol=1e-5)
    np.testing.assert_array_equal(stack.indices, [(k, 0, 0) for k in present])
    (repair,) = stack.repairs
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(repair)


def test_of_three_slices_one_is_missing():
    headers = headers_of(depth=4)
    del headers[1]
    stack = stack_of(headers)
    assert stack.grid.shape[0] == 4
    np.testing.assert_array_equal(stack.indices[:, 0], (0, 2, 3))


def test_positions_of_two_decimals_still_show_which_slices_are_missing():
    heights = [k * 1.333 for k in (0, 1, 2, 4, 5, 7, 8, 9)]
    headers = headers_at(heights, OBLIQUE)
    for header in headers:
        header.ImagePositionPatient = [round(float(p), 2) for p in header.ImagePositionPatient]
    stack = stack_of(headers)
    assert stack.grid.shape == (10, HEIGHT, WIDTH)
    np.testing.assert_allclose(heights_of(stack, OBLIQUE), np.arange(10) * 1.333, atol=0.015)


def test_a_gap_too_wide_to_bridge_is_named_by_its_neighbours():
    headers = headers_of(depth=12)
    below, above = headers[2].SOPInstanceUID, headers[7].SOPInstanceUID
    del headers[3:7]
    with pytest.raises(
        VolumeError,
        match=rf"a slice every 2\.500 mm, found 1 gaps where 4 slices are missing, too many to "
        rf"fill in: 12\.500 mm between {below} at 315\.12 mm and {above} at 327\.62 mm",
    ):
        stack_of(headers)


def test_the_widest_gap_that_is_bridged_can_be_set():
    headers = headers_of(depth=9)
    del headers[3]
    frames = frames_of(headers)
    assert stack_slices(frames, largest_gap_mm=5.0).grid.shape[0] == 9
    with pytest.raises(VolumeError, match="1 slices are missing"):
        stack_slices(frames, largest_gap_mm=4.9)


def test_a_distance_above_the_limit_is_no_gap_where_it_is_the_usual_one():
    assert stack_of(headers_at([0, 12, 24, 36])).grid.spacing_mm[0] == pytest.approx(12)
    assert stack_of(headers_at([0, 12, 24.5, 36])).grid.shape[0] == 4


def test_more_slices_missing_than_present_are_refused():
    headers = headers_at([0, 1, 2, 9, 10, 17])
    with pytest.raises(
        VolumeError,
        match=r"fill at least half of their grid, found 6 images of \(5, 4\) in a grid of "
        r"\(18, 5, 4\): 12 missing slices",
    ):
        stack_of(headers)


# --- uneven distances


def test_distances_rounded_to_a_tenth_are_evened_out():
    heights = [0, 1.3, 2.5, 3.8, 5.0, 6.3, 7.5, 8.8, 10.0]  # steps of 1.25 mm, rounded
    stack = stack_of(headers_at(heights, OBLIQUE))
    assert stack.grid.shape == (9, HEIGHT, WIDTH)
    np.testing.assert_allclose(heights_of(stack, OBLIQUE), np.arange(9) * 1.25, atol=1e-5)
    np.testing.assert_allclose(
        stack.indices, [(height / 1.25, 0, 0) for height in heights], atol=1e-5
    )
    assert stack.repairs == ("slice distances of 1.20 to 1.30 mm were resampled to 1.250 mm",)


def test_positions_just_off_the_even_ones_are_evened_out():
    stack = stack_of(headers_at([0, 2.5, 5.015, 7.5, 10]))
    assert stack.grid.shape[0] == 5
    assert stack.repairs == ("positions were evened out",)
    np.testing.assert_allclose(stack.indices[:, 0], (0, 1, 2.006, 3, 4), atol=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_blocks_the_fine_one_keeps_its_distance(turned):
    heights = np.array([0, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
    heights = (20 - heights)[::-1] if turned else heights
    stack = stack_of(headers_at(heights.tolist(), OBLIQUE))
    assert stack.grid.shape == (21, HEIGHT, WIDTH)
    np.testing.assert_allclose(stack.grid.spacing_mm[0], 1.0, atol=1e-6)
    np.testing.assert_array_equal(stack.indices[:, 0], heights)


def test_blocks_too_different_for_their_number_share_a_coarser_grid():
    heights = [0, 1, 2, 3, *range(8, 44, 5)]
    stack = stack_of(headers_at(heights))
    assert stack.grid.shape[0] == 2 * len(heights)
    np.testing.assert_allclose(stack.grid.spacing_mm[0], 43 / (2 * len(heights) - 1), atol=1e-6)
    assert "distances of 1.00 to 5.00 mm were resampled" in stack.repairs[0]


def test_one_slice_off_the_even_grid_is_resampled():
    headers = headers_of()
    move(headers[3], 0, 0, 0.4)
    stack = stack_of(headers)
    assert stack.grid.shape[0] == DEPTH
    np.testing.assert_allclose(stack.indices[:, 0], (0, 1, 2, 3.16, 4, 5, 6), atol=1e-6)
    assert stack.repairs == ("slice distances of 2.10 to 2.90 mm were resampled to 2.500 mm",)


# --- refused


def alter(**elements: object) -> Callable[[list[Dataset]], None]:
    """Give the slice 4 other elements; None removes one."""

    def change(headers: list[Dataset]) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(headers[4], keyword)
            else:
                setattr(headers[4], keyword, value)

    return change


def alter_all(**elements: object) -> Callable[[list[Dataset]], None]:
    """Give every slice other elements."""

    def change(headers: list[Dataset]) -> None:
        for header in headers:
            for keyword, value in elements.items():
                setattr(header, keyword, value)

    return change


def scaled_positions(factor: float) -> Callable[[list[Dataset]], None]:
    def change(headers: list[Dataset]) -> None:
        for header in headers:
            header.ImagePositionPatient = [float(p) * factor for p in header.ImagePositionPatient]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            alter(Rows=6),
            r"one size .*5\\4 in 6 images and others, such as 6\\4, in 1 images: <uid>",
        ),
        (alter(Columns=None), "expected Columns .* found none in 1 images: <uid>"),
        (alter(PixelSpacing=[0.75, 1.26]), r"one PixelSpacing, found 0\.75\\1\.25 in 6 .*1\.26"),
        (alter(PixelSpacing=None), "expected PixelSpacing .* found none in 1 images: <uid>"),
        (alter(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "one ImageOrientationPatient.*<uid>"),
        (
            alter(ImageOrientationPatient=[1, 0, 0, 0, 1]),
            "ImageOrientationPatient .6 usable values.*<uid>",
        ),
        (alter(ImagePositionPatient=None), "expected ImagePositionPatient .3 usable values.*<uid>"),
        (alter(FrameOfReferenceUID="1.8"), "one FrameOfReferenceUID, found 2: 1.9 in 6 images"),
        (alter(FrameOfReferenceUID=None), "one FrameOfReferenceUID, found 2"),
        (alter_all(PixelSpacing=[0, 1]), r"PixelSpacing of 0\.001 to 100 mm, found"),
        (alter_all(PixelSpacing=[-1, 1]), r"PixelSpacing of 0\.001 to 100 mm, found"),
        (alter_all(PixelSpacing=["1e-200", "1"]), r"0\.001 to 100 mm, found 1e-200\\1"),
        (alter_all(PixelSpacing=["1", "101"]), r"0\.001 to 100 mm, found 1\\101"),
        (alter_all(PixelSpacing=["1", "1e200"]), "PixelSpacing .2 usable values.*found none"),
        (alter_all(Rows=0), "positive Rows and Columns"),
        (alter_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "two orthogonal unit vectors"),
        (alter_all(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]), "two orthogonal unit vectors"),
        (alter_all(ImageOrientationPatient=["1e300"] * 6), "6 usable values"),
        (alter(ImagePositionPatient=[0, 0, "1e300"]), "ImagePositionPatient.*<uid>"),
        (scaled_positions(1e200), "ImagePositionPatient"),
        (scaled_positions(1e306), "ImagePositionPatient"),
        (lambda headers: headers.__delitem__(slice(1, None)), "at least 2 images .* found 1"),
    ],
)
def test_what_forms_no_volume_is_refused_with_the_image_concerned(change, message):
    headers = headers_of()
    uid = headers[4].SOPInstanceUID
    change(headers)
    with pytest.raises(VolumeError, match=message.replace("<uid>", uid)):
        stack_of(headers)


def test_two_phases_in_one_series_are_refused_with_counts():
    headers = headers_of() + headers_of()
    for n, header in enumerate(headers):
        header.AcquisitionNumber = 1 + n // DEPTH
        header.SOPInstanceUID = f"1.2.4.{n}"
    with pytest.raises(
        VolumeError,
        match=r"14 images at 7 positions \(up to 2 at one\), first at 310\.12 mm .*"
        r"AcquisitionNumber takes 2 values \(1, 2\)",
    ):
        stack_of(headers)
