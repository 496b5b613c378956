"""Colours in the encoding that DICOM asks for."""

from __future__ import annotations

import numpy as np

#: Linear sRGB to XYZ under D50, the white of the ICC profile connection space: the primaries of
#: IEC 61966-2-1 adapted by Bradford (ICC.1:2022, annex E).
_XYZ_D50_FROM_SRGB = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)


def cielab_from_rgb(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Convert an sRGB colour to the CIELab values of RecommendedDisplayCIELabValue.

    DICOM states these as PCS-Values (PS3.3 table C.8.20-4), hence CIELab relative to D50.
    Many readers assume D65 instead; organ-like colours then shift by a few steps of 255.

    Parameters
    ----------
    rgb
        Red, green and blue, 0 to 255.

    Returns
    -------
    tuple of int
        L*, a* and b*, each scaled to 0 to 65535 (PS3.3 C.10.7.1.1).
    """
    signal = np.asarray(rgb, np.float64) / 255.0
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    white = _XYZ_D50_FROM_SRGB.sum(axis=1)
    ratio = _XYZ_D50_FROM_SRGB @ linear / white
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    lightness = 116.0 * root[1] - 16.0
    a_star = 500.0 * (root[0] - root[1])
    b_star = 200.0 * (root[1] - root[2])
    return (
        round(lightness / 100.0 * 65535),
        round((a_star + 128.0) / 255.0 * 65535),
        round((b_star + 128.0) / 255.0 * 65535),
    )
