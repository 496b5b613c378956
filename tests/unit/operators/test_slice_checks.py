from __future__ import annotations

import numpy as np
import pytest

from operators.errors import VolumeError
from operators.slice_checks import (
    arrays_of,
    axes_of,
    check_unique,
    names_of,
    one_array,
    one_frame_of_reference,
    one_size,
    text_of,
)
from tests.unit.operators.anisotropic_slices import frames_of, headers_of


def test_rows_come_before_columns():
    assert one_size(frames_of(headers_of())) == (5, 4)


def test_the_odd_ones_out_are_named_and_counted():
    headers = headers_of()
    headers[1].Rows = headers[6].Rows = 6
    odd = sorted([headers[1].SOPInstanceUID, headers[6].SOPInstanceUID])
    with pytest.raises(
        VolumeError,
        match=rf"one size \(Rows, Columns\), found 5\\4 in 5 images and others, such as 6\\4, "
        rf"in 2 images: {', '.join(odd)}",
    ):
        one_size(frames_of(headers))


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (5, 0)])
def test_an_image_without_pixels_has_no_size(rows, columns):
    headers = headers_of()
    for header in headers:
        header.Rows, header.Columns = rows, columns
    with pytest.raises(VolumeError, match=f"positive Rows and Columns, found {rows} and {columns}"):
        one_size(frames_of(headers))


def test_numbers_that_differ_by_their_rounding_are_one():
    headers = headers_of()
    headers[2].PixelSpacing = [0.750009, 1.25]
    found = one_array("PixelSpacing", frames_of(headers), 2, 1e-5)
    np.testing.assert_allclose(found, (0.75, 1.25), atol=1e-5)
    headers[2].PixelSpacing = [0.75002, 1.25]
    with pytest.raises(VolumeError, match=r"one PixelSpacing, found 0\.75\\1\.25 in 6 images"):
        one_array("PixelSpacing", frames_of(headers), 2, 1e-5)


@pytest.mark.parametrize("value", [None, [0.75], [0.75, 1.25, 2], ["", ""], ["1", "-1e7"]])
def test_an_element_has_its_number_of_values_everywhere(value):
    headers = headers_of()
    headers[4].PixelSpacing = value
    uid = headers[4].SOPInstanceUID
    with pytest.raises(
        VolumeError,
        match=rf"PixelSpacing \(2 usable values\) in all 7 images, found none in 1 .*{uid}",
    ):
        arrays_of("PixelSpacing", frames_of(headers), 2)


def test_frames_of_reference_are_counted():
    headers = headers_of()
    headers[0].FrameOfReferenceUID = headers[3].FrameOfReferenceUID = "1.8"
    del headers[5].FrameOfReferenceUID
    with pytest.raises(
        VolumeError,
        match=r"found 3: 1\.9 in 4 images, 1\.8 in 2 images, none in 1 images",
    ):
        one_frame_of_reference(frames_of(headers))


def test_axes_of_few_decimals_become_orthogonal_unit_vectors():
    row, column = axes_of(np.array([0.966, 0.259, 0, -0.259, 0.9655, 0.02]))
    np.testing.assert_allclose([row @ row, column @ column, row @ column], (1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(row, (0.966, 0.259, 0), atol=2e-3)
    np.testing.assert_allclose(column, (-0.259, 0.966, 0.02), atol=2e-3)


@pytest.mark.parametrize(
    "cosines",
    [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (0, 0, 0, 0, 1, 0), (1, 0, 0, 0.002, 1, 0)],
)
def test_what_is_no_pair_of_axes_is_refused(cosines):
    with pytest.raises(VolumeError, match="two orthogonal unit vectors"):
        axes_of(np.array(cosines, float))


def test_images_at_one_height_are_counted_and_named():
    headers = headers_of(depth=4)
    for n, header in enumerate(headers):
        header.KVP = 80 if n % 2 else 140
    headers[0].KVP = None
    frames = frames_of(headers)
    names = ", ".join(f.SOPInstanceUID for f in frames[1:3])
    with pytest.raises(
        VolumeError,
        match=rf"4 images at 3 positions \(up to 2 at one\), first at 5\.00 mm along the normal: "
        rf"2 images: {names}; KVP takes 2 values \(140\.0, 80\.0\)",
    ):
        check_unique(frames, np.array([0, 5, 5.009, 10.0]))
    check_unique(frames, np.array([0, 5, 5.011, 10.0]))


def test_texts_are_short():
    assert text_of(np.array([1.0, 0.7500001, 1 / 3])) == r"1\0.75\0.333333"
    frames = frames_of(headers_of())
    assert names_of(frames).startswith("7 images: ")
    assert names_of(frames).endswith(f"{frames[2].SOPInstanceUID} and 4 more")
