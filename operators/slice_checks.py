"""What all slices of a volume must share, checked on their headers.

| quantity | tolerance | why |
|---|---|---|
| position of a slice | 0.01 mm | scanners write three decimals or more; highdicom's too |
| PixelSpacing | 0.00001 mm | moves the far edge of 1000 pixels by 0.01 mm |
| direction cosines among slices | 0.0001 | 0.025 mm at 250 mm from the centre |
| length and angle of the cosines | 0.001 | they are written with as few as three decimals |

A number beyond 1,000,000 is no length in a scanner, and counts as none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.elements import numbers_of, values_of
from operators.errors import VolumeError
from operators.series import Frame

POSITION_TOLERANCE_MM = 0.01
PIXEL_SPACING_TOLERANCE_MM = 1e-5
COSINE_TOLERANCE = 1e-4
UNIT_TOLERANCE = 1e-3

_FARTHEST = 1e6

SHOWN = 3  # how many images an error text names


def one_size(slices: Sequence[Frame]) -> tuple[int, int]:
    sizes = np.stack([arrays_of(keyword, slices, 1)[:, 0] for keyword in ("Rows", "Columns")], 1)
    _expect_one("size (Rows, Columns)", slices, sizes, 0)
    height, width = (int(n) for n in sizes[0])
    if height < 1 or width < 1:
        raise VolumeError(f"expected positive Rows and Columns, found {height} and {width}")
    return height, width


def one_frame_of_reference(slices: Sequence[Frame]) -> None:
    """Refuse several; a series that names none at all (anonymised, converted) is one by itself."""
    found = Counter(values_of(s.header, "FrameOfReferenceUID") for s in slices)
    if len(found) > 1:
        frames = ", ".join(
            f"{values[0] if values else 'none'} in {n} images"
            for values, n in found.most_common(SHOWN)
        )
        raise VolumeError(f"expected one FrameOfReferenceUID, found {len(found)}: {frames}")


def one_array(
    keyword: str, slices: Sequence[Frame], count: int, tolerance: float
) -> NDArray[np.float64]:
    arrays = arrays_of(keyword, slices, count)
    _expect_one(keyword, slices, arrays, tolerance)
    first: NDArray[np.float64] = arrays[0]
    return first


def arrays_of(keyword: str, slices: Sequence[Frame], count: int) -> NDArray[np.float64]:
    """An element of every slice, `(D, count)`."""
    found = [numbers_of(s.header, keyword, count) for s in slices]
    lacking = [
        s
        for s, numbers in zip(slices, found, strict=True)
        if numbers is None or max(map(abs, numbers)) > _FARTHEST
    ]
    if lacking:
        raise VolumeError(
            f"expected {keyword} ({count} usable values) in all {len(slices)} images, "
            f"found none in {names_of(lacking)}"
        )
    return np.array(found, np.float64)


def _expect_one(
    what: str, slices: Sequence[Frame], arrays: NDArray[np.float64], tolerance: float
) -> None:
    common = np.array(Counter(map(tuple, arrays.tolist())).most_common(1)[0][0])
    other = np.abs(arrays - common).max(axis=1) > tolerance
    if other.any():
        first = arrays[int(other.argmax())]
        odd = [s for s, differs in zip(slices, other, strict=True) if differs]
        raise VolumeError(
            f"expected one {what}, found {text_of(common)} in {len(slices) - len(odd)} images and "
            f"others, such as {text_of(first)}, in {names_of(odd)}"
        )


def axes_of(cosines: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthogonal unit vectors of the rows and columns."""
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE or abs(row @ column) > UNIT_TOLERANCE:
        raise VolumeError(
            "expected two orthogonal unit vectors in ImageOrientationPatient, found lengths of "
            f"{text_of(lengths)} and a scalar product of {row @ column:.4f}"
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def check_unique(slices: Sequence[Frame], heights_mm: NDArray[np.float64]) -> None:
    """Refuse two images at one position; `heights_mm` are ascending distances along the normal."""
    starts = np.flatnonzero(np.diff(heights_mm, prepend=-np.inf) > POSITION_TOLERANCE_MM)
    if len(starts) == len(slices):
        return
    counts = np.diff(np.append(starts, len(slices)))
    n = int(starts[(counts > 1).argmax()])
    hints = [
        f"{keyword} takes {len(values)} values ({', '.join(values[:SHOWN])})"
        for keyword in ("AcquisitionNumber", "KVP", "ConvolutionKernel")
        if len(values := sorted({str(v) for s in slices for v in values_of(s.header, keyword)})) > 1
    ]
    raise VolumeError(
        f"expected one image per position, found {len(slices)} images at {len(starts)} positions "
        f"(up to {counts.max()} at one), first at {heights_mm[n]:.2f} mm along the normal: "
        f"{names_of(slices[n : n + int(counts.max())])}"
        + (f"; {'; '.join(hints)}: more than one acquisition?" if hints else "")
    )


def text_of(numbers: NDArray[np.float64]) -> str:
    return "\\".join(f"{n:.6g}" for n in numbers)


def names_of(frames: Sequence[Frame]) -> str:
    named = ", ".join(f.name for f in frames[:SHOWN])
    rest = len(frames) - SHOWN
    return f"{len(frames)} images: {named}" + (f" and {rest} more" if rest > 0 else "")
