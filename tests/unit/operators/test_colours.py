from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from highdicom.color import CIELabColor
from PIL import Image, ImageCms

from operators.colours import cielab_from_rgb


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((255, 255, 255), (65535, 0x8080, 0x8080)), ((0, 0, 0), (0, 0x8080, 0x8080))],
)
def test_white_and_black_have_no_hue(
    rgb: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    assert cielab_from_rgb(rgb) == expected


def test_red_is_that_of_the_profile_connection_space() -> None:
    lightness, a_star, b_star = CIELabColor.from_dicom_value(cielab_from_rgb((255, 0, 0))).lab

    assert (lightness, a_star, b_star) == pytest.approx((54.29, 80.81, 69.89), abs=0.02)


def test_colours_agree_with_a_colour_management_system() -> None:
    """LittleCMS converts from sRGB to Lab (D50) with 8 bits, so to about one unit."""
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        "RGB",
        "LAB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    for rgb in product((0, 90, 180, 255), repeat=3):
        pixel = ImageCms.applyTransform(Image.new("RGB", (1, 1), rgb), transform)
        raw = np.frombuffer(pixel.tobytes(), np.uint8).astype(float)
        expected = (raw[0] / 2.55, *(raw[1:].astype(np.uint8).view(np.int8)))
        found = CIELabColor.from_dicom_value(cielab_from_rgb(rgb)).lab
        assert found == pytest.approx(expected, abs=1.2)


def test_readers_that_assume_d65_show_organ_colours_nearly_unchanged() -> None:
    for rgb in [(221, 130, 101), (157, 108, 162), (185, 102, 83), (216, 180, 105)]:
        shown = CIELabColor.from_dicom_value(cielab_from_rgb(rgb)).to_rgb(clip=True)
        assert np.abs(np.array(shown) - rgb).max() <= 6
