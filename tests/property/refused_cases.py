"""Random series that are no volume, and the reason that has to be given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from operators.errors import (
    ImagingError,
    NothingSelectedError,
    NothingUsableError,
    PixelDataError,
    VolumeError,
)
from tests.property.analytic_series import SeriesCase
from tests.property.series_cases import axes, floats, storages


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A series that has to be refused, and words that the reason has to contain."""

    case: SeriesCase
    kind: str
    error: type[ImagingError]
    reason: str


#: Of all slices: what is altered (None: absent), and what it leads to.
ALTERED: tuple[tuple[Mapping[str, Any], type[ImagingError], str], ...] = (
    ({"PixelSpacing": None}, VolumeError, r"expected PixelSpacing \(2 .*found none"),
    ({"PixelSpacing": ["0", "1"]}, VolumeError, "PixelSpacing of .*, found 0"),
    ({"PixelSpacing": ["1", "-0.7"]}, VolumeError, "PixelSpacing of .*, found 1.*-0.7"),
    ({"ImagePositionPatient": None}, VolumeError, "expected ImagePositionPatient .*found none"),
    ({"ImageOrientationPatient": None}, VolumeError, "ImageOrientationPatient .*found none"),
    (
        {"ImageOrientationPatient": ["1", "0", "0", "0.1", "1", "0"]},
        VolumeError,
        "two orthogonal unit vectors",
    ),
    (
        {"ImageOrientationPatient": ["0.7", "0", "0", "0", "1", "0"]},
        VolumeError,
        "two orthogonal unit vectors",
    ),
    ({"RescaleSlope": None}, PixelDataError, "expected RescaleSlope and RescaleIntercept"),
    ({"RescaleSlope": "0"}, PixelDataError, "expected RescaleSlope and RescaleIntercept"),
    ({"RescaleSlope": "1e300"}, PixelDataError, "expected RescaleSlope and RescaleIntercept"),
    ({"RescaleIntercept": None}, PixelDataError, "expected RescaleSlope and RescaleIntercept"),
    ({"RescaleType": "ED"}, PixelDataError, "expected Hounsfield units, found RescaleType ED"),
    ({"PhotometricInterpretation": "MONOCHROME1"}, PixelDataError, "MONOCHROME2, found MONOCH"),
    ({"BitsStored": 17, "HighBit": 16}, PixelDataError, "BitsStored 1 to .*, found 17"),
    ({"HighBit": 5}, PixelDataError, "HighBit .*found 5"),
    ({"PixelRepresentation": 2}, PixelDataError, "PixelRepresentation 0 or 1, found 2"),
    ({"Rows": 0}, VolumeError, "positive Rows and Columns, found 0"),
    ({"Rows": 63}, PixelDataError, "expected"),
    ({"Rows": None}, VolumeError, "expected Rows .*found none"),
    ({"SOPClassUID": MRImageStorage}, NothingSelectedError, "not a CT image"),
    ({"Modality": "PT"}, NothingSelectedError, "Modality"),
)


@st.composite
def plain_cases(draw: st.DrawFn) -> SeriesCase:
    """Series without fault."""
    step_mm, count = draw(floats(0.4, 4.9)), draw(st.integers(5, 9))
    return SeriesCase(
        rows=draw(st.integers(9, 12)),
        columns=draw(st.integers(9, 12)),
        axes=draw(axes()),
        heights_mm=tuple(round(k * step_mm, 6) for k in range(count)),
        stored=replace(draw(storages()), padded=False),
        names_seed=draw(st.integers(0, 999)),
        is_numbered=draw(st.booleans()),
    )


@st.composite
def altered(draw: st.DrawFn) -> Refusal:
    elements, error, reason = draw(st.sampled_from(ALTERED))
    case = replace(draw(plain_cases()), altered=elements)
    if "ImageOrientationPatient" in elements:  # slices lie one above the other, whatever it says
        case = replace(case, axes=SeriesCase.axes)
    return Refusal(case=case, kind=str(dict(elements)), error=error, reason=reason)


@st.composite
def gaps_too_wide(draw: st.DrawFn) -> Refusal:
    """Ten slices or so, one distance of which is above 10 mm."""
    step_mm, count = draw(floats(0.4, 9.0)), draw(st.integers(5, 10))
    steps = np.full(count - 1, step_mm)
    steps[draw(st.integers(0, count - 2))] = max(1.6 * step_mm, 10.1) + draw(floats(0, 30))
    heights = np.round(np.cumsum([0, *steps]), 6)
    case = replace(draw(plain_cases()), heights_mm=tuple(heights.tolist()))
    return Refusal(
        case=case,
        kind="gap too wide",
        error=VolumeError,
        reason=rf"a slice every {step_mm:.3f} mm, found 1 gaps .* missing, too many .* mm between",
    )


@st.composite
def mostly_missing(draw: st.DrawFn) -> Refusal:
    step_mm, wide = draw(floats(0.4, 1.9)), draw(st.integers(4, 6))
    steps = draw(st.permutations([1] * wide + [5] * wide))
    heights = tuple(np.round(np.cumsum([0, *steps, 1]) * step_mm, 6).tolist())
    case = replace(draw(plain_cases()), heights_mm=heights)
    planes, count = 6 * wide + 2, 2 * wide + 2
    assert planes > 2 * count
    return Refusal(
        case=case,
        kind="more missing than present",
        error=VolumeError,
        reason=rf"fill at least half of their grid, found {count} images .* grid of \({planes}, ",
    )


@st.composite
def leaning(draw: st.DrawFn) -> Refusal:
    """A lean above 45 degrees, or one for whose grid slices are too small."""
    degrees = draw(st.one_of(floats(46, 80, 2), floats(20, 44, 2)))
    way = math.radians(draw(floats(0, 360, 0)))
    shift = math.tan(math.radians(degrees)) * np.array([math.cos(way), math.sin(way)])
    case = draw(plain_cases())
    extent_mm = 1.2 * math.hypot(case.rows * case.pixel_mm[0], case.columns * case.pixel_mm[1])
    step_mm = extent_mm * 1.5 / (case.depth - 1) / math.tan(math.radians(degrees))
    heights = np.round(np.arange(case.depth) * step_mm, 4)
    shifts = np.round(heights[:, None] * shift, 6)
    case = replace(
        case,
        heights_mm=tuple(heights.tolist()),
        shifts_mm=tuple(map(tuple, shifts.tolist())),
    )
    reason = "fill at least half of their grid.*gantry tilt"
    if degrees > 45:
        reason = f"tilt of at most 45 degrees, found a stack that leans by {degrees:.2f} degrees"
    return Refusal(case=case, kind="leaning too far", error=VolumeError, reason=reason)


@st.composite
def cut_codestreams(draw: st.DrawFn) -> Refusal:
    syntax = draw(st.sampled_from([RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1]))
    case = draw(plain_cases())
    stored = replace(case.stored, syntax=syntax, cut_bytes=draw(st.integers(12, 40)))
    return Refusal(
        case=replace(case, stored=stored),
        kind=f"cut {syntax.name}",
        error=PixelDataError,
        reason=f"{syntax}.* cannot be decoded",
    )


@st.composite
def others(draw: st.DrawFn) -> Refusal:
    case = draw(plain_cases())
    cut = replace(
        case,
        stored=replace(case.stored, syntax=ExplicitVRLittleEndian),
        spoilt=dict.fromkeys(range(case.depth), "cut"),
    )
    return draw(
        st.sampled_from(
            [
                Refusal(
                    case=cut,
                    kind="all files cut short",
                    error=NothingUsableError,
                    reason=rf"no usable DICOM object among {case.depth} files .*cut short",
                ),
                Refusal(
                    case=replace(case, heights_mm=(0.0,)),
                    kind="one slice",
                    error=VolumeError,
                    reason="at least 2 images in a volume, found 1",
                ),
                Refusal(
                    case=replace(case, mixed_in="phases", altered={"AcquisitionNumber": None}),
                    kind="two images at each position, and nothing that tells them apart",
                    error=VolumeError,
                    reason=rf"{2 * case.depth} images at {case.depth} positions",
                ),
                Refusal(
                    case=replace(case, stored=replace(case.stored, syntax=MPEG2MPML)),
                    kind="unknown transfer syntax",
                    error=PixelDataError,
                    reason=rf"no decoder .*{MPEG2MPML}",
                ),
            ]
        )
    )


def refusals() -> st.SearchStrategy[Refusal]:
    """Series that have to be refused."""
    return st.one_of(
        altered(),
        altered(),
        gaps_too_wide(),
        mostly_missing(),
        leaning(),
        cut_codestreams(),
        others(),
    )


#: Elements that geometry, pixels or their separation depend on.
READ = (
    "AcquisitionDate",
    "AcquisitionNumber",
    "AcquisitionTime",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ContentTime",
    "FrameOfReferenceUID",
    "GantryDetectorTilt",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "KVP",
    "Modality",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SliceThickness",
    "TemporalPositionIdentifier",
)
ODD_VALUES = (
    b"",
    b" ",
    b"\\",
    b"\\ \\",
    b"0 ",
    b"-1",
    b"1",
    b"8\0",
    b"\x20\0",
    b"1e308 ",
    b"-1e308\\1e308 ",
    b"1e-320\\1e-320",
    b"nan\\nan ",
    b"1\\2\\3 ",
    b"1\\0\\0\\0\\1\\0 ",
    b"9" * 40,
    b"\xff\xff",
    b"\xff" * 4,
    b"\0" * 4,
    b"\xff" * 5,
    b"text",
    b"1.2.3 ",
    b"x\\" * 50,
)


@st.composite
def odd_series(draw: st.DrawFn) -> SeriesCase:
    """Series in which an element, or two, hold what they never should."""
    odd = st.dictionaries(
        st.sampled_from(READ), st.sampled_from(ODD_VALUES), min_size=1, max_size=2
    )
    even = {keyword: value + b" " * (len(value) % 2) for keyword, value in draw(odd).items()}
    return replace(draw(plain_cases()), altered=even)
