"""Random series, and what has to become of them, decided from how they were made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.property.analytic_series import GREATEST_HU, LEAST_HU, SeriesCase, StoredAs

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)
#: Right-handed axes of axial (head first, feet first, prone), coronal and sagittal images.
PLAIN_AXES = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
    ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    ((0, 0, -1), (1, 0, 0), (0, -1, 0)),
)
MIXED_IN = ("", "", "localizer", "screen", "copies", "some copies", "phases")
LARGEST_GAP_MM = 10.0


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Heights of slices, and how many times their number the planes of an even grid may be."""

    kind: str
    heights_mm: tuple[float, ...]
    growth: float


def floats(low: float, high: float, digits: int = 3) -> st.SearchStrategy[float]:
    """Numbers that headers can hold."""
    return st.integers(round(low * 10**digits), round(high * 10**digits)).map(
        lambda n: n / 10**digits
    )


@st.composite
def axes(draw: st.DrawFn) -> tuple[tuple[float, ...], ...]:
    """Directions of i, j and k as columns."""
    plain = np.array(draw(st.sampled_from(PLAIN_AXES)), float).T
    if draw(st.booleans()):
        return tuple(map(tuple, plain.tolist()))
    turns = [draw(floats(-math.pi, math.pi, 4)) for _ in range(3)]
    for axis, turn in enumerate(turns):
        rotation = np.eye(3)
        one, other = [n for n in range(3) if n != axis]
        rotation[[one, other], [one, other]] = math.cos(turn)
        rotation[one, other], rotation[other, one] = -math.sin(turn), math.sin(turn)
        plain = rotation @ plain
    return tuple(map(tuple, plain.tolist()))


@st.composite
def storages(draw: st.DrawFn) -> StoredAs:
    allocated, bits = draw(st.sampled_from([(16, 16), (16, 12), (16, 13), (8, 8)]))
    stored = StoredAs(
        syntax=draw(st.sampled_from(SYNTAXES)),
        bits_allocated=allocated,
        bits_stored=bits,
        signed=draw(st.booleans()),
        spare_bits=draw(st.sampled_from(["sign", "zeros", "ones"])),
        padded=draw(st.booleans()),
        VR=draw(st.sampled_from(["OB", "OW"])) if allocated == 8 else "OW",
    )
    if stored.syntax == ImplicitVRLittleEndian:
        stored = replace(stored, VR="OW")
    count = draw(st.integers(1, 3))
    return replace(stored, rescales=tuple(draw(rescales(stored)) for _ in range(count)))


@st.composite
def rescales(draw: st.DrawFn, stored: StoredAs) -> tuple[float, float]:
    """A slope and an intercept with which all HU of the phantom can be stored."""
    least = (GREATEST_HU - LEAST_HU) / (stored.greatest - stored.least - 2)
    plain = draw(st.sampled_from([1.0, 1.0, 0.5, 2.0, 1.25, 0.37]))
    slope = plain if plain >= least else math.ceil(least * 1000) / 1000
    if draw(st.booleans()) and draw(st.booleans()):
        slope = -slope
    ends = sorted([slope * (stored.least + 1), slope * stored.greatest])
    low, high = GREATEST_HU - ends[1], LEAST_HU - ends[0]
    middle = min(max(-1024.0 if not stored.signed else 0.0, math.ceil(low)), math.floor(high))
    if math.ceil(low) <= middle <= math.floor(high) and draw(st.booleans()):
        return slope, middle
    share = draw(floats(0.05, 0.95))
    return slope, round(low + share * (high - low), 2) if high - low > 0.1 else (low + high) / 2


@st.composite
def even(draw: st.DrawFn) -> Distances:
    step_mm, count = draw(floats(0.4, 12.0)), draw(st.integers(4, 12))
    return Distances(
        kind="even", heights_mm=tuple(round(k * step_mm, 6) for k in range(count)), growth=1.0
    )


@st.composite
def with_gaps(draw: st.DrawFn) -> Distances:
    """Most neighbours one step apart, and gaps that may be bridged."""
    step_mm, count = draw(floats(0.4, 4.9)), draw(st.integers(7, 14))
    steps = [1] * (count - 1)
    for _ in range(draw(st.integers(1, 2))):
        widest = min(4, int(LARGEST_GAP_MM / step_mm - 1e-6))
        steps[draw(st.integers(0, count - 2))] = draw(st.integers(2, widest))
    at = np.cumsum([0, *steps])
    return Distances(
        kind="gaps",
        heights_mm=tuple(np.round(at * step_mm, 6).tolist()),
        growth=(at[-1] + 1) / count,
    )


@st.composite
def uneven(draw: st.DrawFn) -> Distances:
    """Distances that no even grid explains: rounded, wobbling, or of two blocks."""
    kind = draw(st.sampled_from(["rounded", "wobbling", "two blocks"]))
    count, step_mm = draw(st.integers(5, 12)), draw(floats(0.7, 6.0))
    if kind == "two blocks":
        first = draw(st.integers(2, count - 2))
        ratio = draw(floats(0.55, 1.45))
        steps = [step_mm] * first + [step_mm * ratio] * (count - 1 - first)
    else:
        most = 0.1 if kind == "rounded" else 0.2 * step_mm
        offsets = [0.0, *[draw(floats(-most, most)) for _ in range(count - 2)], 0.0]
        steps = np.diff(np.arange(count) * step_mm + offsets).tolist()
    heights = np.round(np.cumsum([0, *steps]), 6)
    least = min(2.0, (heights[-1] / min(steps) + 2) / count)
    return Distances(kind=kind, heights_mm=tuple(heights.tolist()), growth=float(least))


@st.composite
def leans(
    draw: st.DrawFn, distances: Distances, sizes: tuple[int, int], pixel_mm: tuple[float, float]
) -> tuple[tuple[float, float], ...]:
    """Shifts along rows and columns that leave the grid below twice the slices."""
    degrees = draw(floats(-30, 30))
    way = draw(st.sampled_from([0.0, 90.0, 37.0]))
    heights = np.array(distances.heights_mm)
    shift = np.array([math.cos(math.radians(way)), math.sin(math.radians(way))])
    shifts = heights[:, None] * math.tan(math.radians(degrees)) * shift
    if draw(st.booleans()):
        wobble = [[draw(floats(-0.7, 0.7)) for _ in range(2)] for _ in heights]
        shifts = shifts + np.array(wobble) * min(pixel_mm)
    while True:
        spread = np.ptp(shifts, axis=0)
        wider = [
            (n + spread[axis] / mm + 1) / n
            for axis, n, mm in zip((1, 0), sizes, pixel_mm, strict=True)
        ]
        leans_little = math.hypot(*spread) < 0.8 * heights[-1]
        if (leans_little and distances.growth * math.prod(wider) <= 1.95) or spread.max() < 1e-3:
            return tuple(map(tuple, np.round(shifts, 6).tolist()))
        shifts = shifts * 0.7


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A series that has to become a volume, and whether its slices are the volume's planes."""

    case: SeriesCase
    kind: str
    is_regular: bool


@st.composite
def volumes(draw: st.DrawFn) -> Expected:
    """Series that have to become a volume."""
    distances = draw(st.one_of(even(), even(), with_gaps(), uneven()))
    rows, columns = draw(st.integers(9, 16)), draw(st.integers(9, 20))
    pixel_mm = draw(floats(0.4, 3.0, 4)), draw(floats(0.4, 3.0, 4))
    tilted = draw(st.booleans())
    shifts = draw(leans(distances, (rows, columns), pixel_mm)) if tilted else ()
    tilted = bool(shifts) and float(np.ptp(shifts, axis=0).max()) > 0
    case = SeriesCase(
        rows=rows,
        columns=columns,
        pixel_mm=pixel_mm,
        origin_lps=draw(st.tuples(*[floats(-400, 400, 2)] * 3)),
        axes=draw(axes()),
        heights_mm=distances.heights_mm,
        shifts_mm=shifts,
        decimals=draw(st.sampled_from([6, 3])),
        stored=draw(storages()),
        names_seed=draw(st.integers(0, 999)),
        is_numbered=draw(st.booleans()),
        mixed_in=draw(st.sampled_from(MIXED_IN)),
    )
    is_regular = distances.kind == "even" and not tilted
    if case.stored.padded and not is_regular:
        case = replace(case, stored=replace(case.stored, padded=False))
    return Expected(
        case=case, kind=distances.kind + (", tilted" if tilted else ""), is_regular=is_regular
    )


@st.composite
def spoilt_volumes(draw: st.DrawFn) -> Expected:
    """Series of which one slice cannot be used, which then is a missing one."""
    step_mm, count = draw(floats(0.4, 4.9)), draw(st.integers(6, 12))
    n = draw(st.integers(0, count - 1))
    wrong = draw(
        st.sampled_from(["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "cut"])
    )
    stored = replace(draw(storages()), padded=False)
    if wrong == "cut":
        stored = replace(stored, syntax=ExplicitVRLittleEndian)
    case = SeriesCase(
        axes=draw(axes()),
        heights_mm=tuple(k * step_mm for k in range(count)),
        stored=stored,
        names_seed=draw(st.integers(0, 999)),
        is_numbered=draw(st.booleans()),
        spoilt={n: wrong},
    )
    return Expected(case=case, kind=f"one without {wrong}", is_regular=n in (0, count - 1))
