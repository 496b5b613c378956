"""From the slices of a series to one volume in the patient.

Everything about geometry is checked on the headers, before a pixel is decoded. Tolerances:

| quantity | tolerance | why |
|---|---|---|
| position of a slice | 0.01 mm | scanners write three decimals or more; highdicom's too |
| PixelSpacing | 0.00001 mm | moves the far edge of 1000 pixels by 0.01 mm |
| direction cosines among slices | 0.0001 | 0.025 mm at 250 mm from the centre |
| length and angle of the cosines | 0.001 | they are written with as few as three decimals |
| angle of the stack to the normal | 0.0001 | what `models.geometry` takes for orthogonal |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from models.geometry import ORTHOGONALITY_TOLERANCE, Volume, VolumeGeometry
from operators.errors import VolumeError
from operators.loading import numbers_of, values_of
from operators.pixels import decode_hu
from operators.series import Instance, Series, SeriesVolume

POSITION_TOLERANCE_MM = 0.01
PIXEL_SPACING_TOLERANCE_MM = 1e-5
COSINE_TOLERANCE = 1e-4
UNIT_TOLERANCE = 1e-3

_SHOWN = 3  # how many images an error text names


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceStack:
    """Slices in the order of a volume, and the grid they form.

    Parameters
    ----------
    instances
        One per slice, along the normal (row x column).
    geometry
        Their grid.
    """

    instances: tuple[Instance, ...] = field(repr=False)
    geometry: VolumeGeometry


def build_volume(series: Series) -> SeriesVolume:
    """Decode a series into a volume.

    Slices are decoded one by one into the array, so that memory holds the volume and one slice.

    Parameters
    ----------
    series
        CT images only, in any order.

    Returns
    -------
    SeriesVolume
        HU as int16 `(D, H, W)`; k runs along the slice normal, i along the rows, j down the
        columns, as the images are stored.

    Raises
    ------
    VolumeError
        If the slices do not form one regular volume.
    PixelDataError
        If the pixels of a slice cannot be had.
    """
    stack = stack_slices(series)
    hu = np.empty(stack.geometry.shape, np.int16)
    for k, instance in enumerate(stack.instances):
        hu[k] = decode_hu(instance)
    return SeriesVolume(
        series=series,
        volume=Volume(hu=hu, geometry=stack.geometry),
        instances=stack.instances,
    )


def stack_slices(series: Series) -> SliceStack:
    """Order the slices of a series and work out their grid, from headers alone.

    The affine follows PS3.3 C.7.6.2.1.1: the column index i runs along the first three cosines
    in steps of PixelSpacing[1], the row index j along the last three in steps of PixelSpacing[0].
    The step along k is the distance from the first slice to the last over their number less one.

    Parameters
    ----------
    series
        At least two single-frame images. One alone is refused: its SliceThickness does not say
        how far the next one would be.

    Raises
    ------
    VolumeError
        With what was expected and found, and the images concerned, if something is missing, if
        sizes, pixel spacings, orientations or frames of reference are mixed, if two images share
        a position, if a slice is missing or the spacing uneven, or if the stack leans (tilt).
    """
    slices = series.instances
    if len(slices) < 2:
        raise VolumeError(f"expected at least 2 images in a volume, found {len(slices)}")
    height, width = _one_size(slices)
    _one_frame_of_reference(slices)
    spacing = _one_array("PixelSpacing", slices, 2, PIXEL_SPACING_TOLERANCE_MM)
    if spacing.min() <= 0:
        raise VolumeError(f"expected a positive PixelSpacing in mm, found {spacing}")
    row, column = _axes(_one_array("ImageOrientationPatient", slices, 6, COSINE_TOLERANCE))
    normal = np.cross(row, column)
    positions = _arrays("ImagePositionPatient", slices, 3)
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = tuple(slices[n] for n in order), positions[order]
    _check_unique(slices, positions @ normal)
    _check_even(slices, positions @ normal)
    affine = np.eye(4)
    affine[:3, 0] = row * spacing[1]
    affine[:3, 1] = column * spacing[0]
    affine[:3, 2] = _step(positions, normal)
    affine[:3, 3] = positions[0]
    try:
        geometry = VolumeGeometry(shape=(len(slices), height, width), affine_lps=affine)
    except GeometryError as exc:
        raise VolumeError(f"the slices form no grid: {exc}") from exc
    _check_placed(slices, positions, geometry)
    return SliceStack(instances=slices, geometry=geometry)


def _one_size(slices: Sequence[Instance]) -> tuple[int, int]:
    sizes = np.stack([_arrays(keyword, slices, 1)[:, 0] for keyword in ("Rows", "Columns")], 1)
    _expect_one("size (Rows, Columns)", slices, sizes, 0)
    height, width = (int(n) for n in sizes[0])
    if height < 1 or width < 1:
        raise VolumeError(f"expected positive Rows and Columns, found {height} and {width}")
    frames = [s for s in slices if numbers_of(s.header, "NumberOfFrames", 1) not in (None, (1.0,))]
    if frames:
        raise VolumeError(f"expected single-frame images, found several frames in {_uids(frames)}")
    return height, width


def _one_frame_of_reference(slices: Sequence[Instance]) -> None:
    """Refuse several; a series that names none at all (anonymised, converted) is one by itself."""
    found = Counter(values_of(s.header, "FrameOfReferenceUID") for s in slices)
    if len(found) > 1:
        frames = ", ".join(
            f"{values[0] if values else 'none'} in {n} images"
            for values, n in found.most_common(_SHOWN)
        )
        raise VolumeError(f"expected one FrameOfReferenceUID, found {len(found)}: {frames}")


def _one_array(
    keyword: str, slices: Sequence[Instance], count: int, tolerance: float
) -> NDArray[np.float64]:
    arrays = _arrays(keyword, slices, count)
    _expect_one(keyword, slices, arrays, tolerance)
    first: NDArray[np.float64] = arrays[0]
    return first


def _arrays(keyword: str, slices: Sequence[Instance], count: int) -> NDArray[np.float64]:
    """An element of every slice, `(D, count)`."""
    found = [numbers_of(s.header, keyword, count) for s in slices]
    lacking = [s for s, numbers in zip(slices, found, strict=True) if numbers is None]
    if lacking:
        raise VolumeError(
            f"expected {keyword} ({count} values) in all {len(slices)} images, "
            f"found none in {_uids(lacking)}"
        )
    return np.array(found, np.float64)


def _expect_one(
    what: str, slices: Sequence[Instance], arrays: NDArray[np.float64], tolerance: float
) -> None:
    common = np.array(Counter(map(tuple, arrays.tolist())).most_common(1)[0][0])
    other = np.abs(arrays - common).max(axis=1) > tolerance
    if other.any():
        first = arrays[int(other.argmax())]
        odd = [s for s, differs in zip(slices, other, strict=True) if differs]
        raise VolumeError(
            f"expected one {what}, found {_text(common)} in {len(slices) - len(odd)} images and "
            f"others, such as {_text(first)}, in {_uids(odd)}"
        )


def _axes(cosines: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthogonal unit vectors of the rows and columns."""
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE or abs(row @ column) > UNIT_TOLERANCE:
        raise VolumeError(
            "expected two orthogonal unit vectors in ImageOrientationPatient, found lengths of "
            f"{_text(lengths)} and a scalar product of {row @ column:.4f}"
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    return row, column / np.linalg.norm(column)


def _check_unique(slices: Sequence[Instance], heights_mm: NDArray[np.float64]) -> None:
    """Refuse two images at one position; `heights_mm` are ascending distances along the normal."""
    starts = np.flatnonzero(np.diff(heights_mm, prepend=-np.inf) > POSITION_TOLERANCE_MM)
    if len(starts) == len(slices):
        return
    counts = np.diff(np.append(starts, len(slices)))
    n = int(starts[(counts > 1).argmax()])
    hints = [
        f"{keyword} takes {len(values)} values ({', '.join(map(str, values[:_SHOWN]))})"
        for keyword in ("AcquisitionNumber", "KVP", "ConvolutionKernel")
        if len(values := sorted({v for s in slices for v in values_of(s.header, keyword)})) > 1
    ]
    raise VolumeError(
        f"expected one image per position, found {len(slices)} images at {len(starts)} positions "
        f"(up to {counts.max()} at one), first at {heights_mm[n]:.2f} mm along the normal: "
        f"{_uids(slices[n : n + int(counts.max())])}"
        + (f"; {'; '.join(hints)}: more than one acquisition?" if hints else "")
    )


def _check_even(slices: Sequence[Instance], heights_mm: NDArray[np.float64]) -> None:
    """Refuse gaps and uneven spacing; `heights_mm` are ascending distances along the normal."""
    even = np.linspace(heights_mm[0], heights_mm[-1], len(heights_mm))
    if np.abs(heights_mm - even).max() <= POSITION_TOLERANCE_MM:
        return
    gaps = np.diff(heights_mm)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    wide = np.flatnonzero(np.round(gaps / usual) > 1)
    if len(wide):
        missing = int((np.round(gaps[wide] / usual) - 1).sum())
        places = ", ".join(
            f"{gaps[k]:.3f} mm between {slices[k].SOPInstanceUID} at {heights_mm[k]:.2f} mm and "
            f"{slices[k + 1].SOPInstanceUID} at {heights_mm[k + 1]:.2f} mm"
            for k in wide[:_SHOWN]
        )
        raise VolumeError(
            f"expected a slice every {usual:.3f} mm, found {len(wide)} gaps where {missing} "
            f"slices are missing: {places}"
        )
    k = int(np.abs(gaps - usual).argmax())
    raise VolumeError(
        f"expected evenly spaced slices, found distances from {gaps.min():.3f} to "
        f"{gaps.max():.3f} mm, most unusual between {slices[k].SOPInstanceUID} and "
        f"{slices[k + 1].SOPInstanceUID}"
    )


def _step(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """From one slice to the next, `(3,)` in mm; along the normal where only rounding differs."""
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    along: NDArray[np.float64] = (step @ normal) * normal
    drift = float(np.linalg.norm(step - along))
    if drift * (len(positions) - 1) <= POSITION_TOLERANCE_MM:
        return along
    if drift > ORTHOGONALITY_TOLERANCE * np.linalg.norm(step):
        angle = np.degrees(np.arctan2(drift, np.linalg.norm(along)))
        raise VolumeError(
            "expected slices stacked along their normal, found a stack that leans by "
            f"{angle:.2f} degrees ({drift:.3f} mm from slice to slice): gantry tilt?"
        )
    return step


def _check_placed(
    slices: Sequence[Instance], positions: NDArray[np.float64], geometry: VolumeGeometry
) -> None:
    corners = np.zeros_like(positions)
    corners[:, 0] = np.arange(len(positions))
    apart = np.linalg.norm(geometry.to_lps(corners) - positions, axis=1)
    if apart.max() > POSITION_TOLERANCE_MM:
        k = int(apart.argmax())
        raise VolumeError(
            f"expected every image within {POSITION_TOLERANCE_MM} mm of an even grid, found "
            f"{slices[k].SOPInstanceUID} {apart[k]:.3f} mm off, at {_text(positions[k])} mm"
        )


def _text(numbers: NDArray[np.float64]) -> str:
    return "\\".join(f"{n:.6g}" for n in numbers)


def _uids(instances: Sequence[Instance]) -> str:
    named = ", ".join(i.SOPInstanceUID for i in instances[:_SHOWN])
    rest = len(instances) - _SHOWN
    return f"{len(instances)} images: {named}" + (f" and {rest} more" if rest > 0 else "")
