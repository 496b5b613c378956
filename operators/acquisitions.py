"""Tell apart what was acquired or reconstructed more than once at the same place.

Contrast phases, energies, cine and perfusion times, kernels and overlapping table positions may
share a series. M, the number of images at the most frequented position, says how many there are
at least. The first of these that gives parts without a repeated position is taken:

1. one element, M parts: those of `TELLING`, in that order. AcquisitionNumber is first tried with
   neighbouring numbers joined while each continues where those before it end (a scanner may count
   on in the middle of a scan), then by each number.
2. two elements together, M parts.
3. passes, M of them: the images in order of time, or at last of InstanceNumber, are cut where
   they turn back, so that each pass moves along the normal in one direction.
4. one element, any number of parts of which no more than half are single images: as table
   positions that overlap their neighbours have M = 2, however many they are.
5. passes, any number, if most positions are visited once.

Without a repeated position there can still be two scans, shifted against each other. So images
are also told apart where parts of at least three regularly spaced images interleave: by
TemporalPositionIdentifier or AcquisitionNumber always, by the others and by passes only if the
images together are not evenly spaced, and by passes only if these are much more evenly spaced: a
scan in interleaved order, or with random numbers, that lacks a slice is one all the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydicom.tag import Tag

from operators.elements import values_of
from operators.frame_groups import FrameGroup, printable
from operators.series import Frame
from operators.slice_checks import POSITION_TOLERANCE_MM

#: Elements that tell acquisitions apart, the surest and most readable first. AcquisitionTime and
#: ContentTime stand for themselves with their dates, or for AcquisitionDateTime.
TELLING = (
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "ImageType",
    "RescaleType",
    "NominalPercentageOfCardiacPhase",
    "KVP",
    "ConvolutionKernel",
    "FilterType",
    "SliceThickness",
    "ReconstructionDiameter",
    "ContrastBolusAgent",
    "TriggerTime",
    "IrradiationEventUID",
    "AcquisitionTime",
    "ContentTime",
)
_COUNTING = TELLING[:2]
_TIMES = ("AcquisitionTime", "ContentTime")
_HIDDEN = ("ContrastBolusAgent",)  # free text, which PS3.15 Table E.1-1 cleans


@dataclass(frozen=True, kw_only=True, eq=False)
class Partition:
    """Frames in parts.

    Parameters
    ----------
    by
        What tells them apart, for people.
    names
        Of the parts, in their order.
    part_of
        The number of its part for each frame, `(n,)`.
    """

    by: str
    names: tuple[str, ...]
    part_of: NDArray[np.intp] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Column:
    """An element of all frames: its values in their order, and which each frame has."""

    keyword: str
    values: tuple[str, ...]
    value_of: NDArray[np.intp]

    def shown(self, n: int) -> str:
        value = self.values[n]
        if not value:
            return f"no {self.keyword}"
        if self.keyword in _HIDDEN:
            return f"{self.keyword} {n + 1} of {len(self.values)}"
        return f"{self.keyword} {printable(value[8:] if self.keyword in _TIMES else value)}"


def tell_apart(group: FrameGroup) -> Partition | None:
    """Separate frames that repeat positions, or interleave.

    Parameters
    ----------
    group
        Of frames with positions.

    Returns
    -------
    Partition or None
        At least two parts; None where the frames are one acquisition, or nothing tells them apart.
    """
    if group.heights_mm is None or len(group.frames) < 2:
        return None
    places = group.places()
    visits = np.bincount(places)
    if visits.max() > 1:
        return _by_repeats(group, group.heights_mm, places, visits)
    return _by_interleaving(group, group.heights_mm)


def _by_repeats(
    group: FrameGroup,
    heights_mm: NDArray[np.float64],
    places: NDArray[np.intp],
    visits: NDArray[np.intp],
) -> Partition | None:
    def fits(partition: Partition, count: int | None = None) -> bool:
        if count is not None and len(partition.names) != count:
            return False
        visited = np.unique(partition.part_of * len(visits) + places)
        return len(visited) == len(places)

    least = int(visits.max())
    columns: list[_Column] = []
    for column in _columns(group.frames, TELLING):
        columns.append(column)
        for partition in _by_element(column, heights_mm):
            if fits(partition, least):
                return partition
    for pair in combinations(columns, 2):
        if fits(partition := _by_two(*pair), least):
            return partition
    passes = list(_by_passes(group.frames, columns, heights_mm))
    many = [_by_value(c) for c in columns if c.keyword not in _TIMES]
    exact = (p for p in passes if fits(p, least))
    loose = (p for p in many if fits(p) and not _is_scattered(p, len(visits)))
    mostly_once = int((visits == 1).sum()) * 2 > len(visits)
    chained = (p for p in passes if mostly_once and fits(p))
    return next(exact, None) or next(loose, None) or next(chained, None)


def _by_interleaving(group: FrameGroup, heights_mm: NDArray[np.float64]) -> Partition | None:
    def fits(partition: Partition) -> bool:
        order = partition.part_of[np.argsort(heights_mm, kind="stable")]
        changes = int((np.diff(order) != 0).sum())
        if changes < len(partition.names):  # one after the other
            return False
        if len(partition.names) * 3 > len(order):
            return False
        parts = [np.sort(heights_mm[partition.part_of == n]) for n in range(len(partition.names))]
        return all(len(part) >= 3 and _is_regular(part) for part in parts)

    def evens_out(partition: Partition) -> bool:
        parts = (heights_mm[partition.part_of == n] for n in range(len(partition.names)))
        return 2 * sum(map(_odd_steps, parts)) < _odd_steps(heights_mm)

    is_even = _is_even(np.sort(heights_mm))
    columns: list[_Column] = []
    for column in _columns(group.frames, _COUNTING if is_even else TELLING):
        columns.append(column)
        for partition in _by_element(column, heights_mm):
            if fits(partition):
                return partition
    if is_even:
        return None
    passes = _by_passes(group.frames, columns, heights_mm)
    return next((p for p in passes if fits(p) and evens_out(p)), None)


def _columns(frames: Sequence[Frame], keywords: Sequence[str]) -> Iterator[_Column]:
    """The elements that have at least two values."""
    for keyword in keywords:
        column = _column(frames, keyword)
        if len(column.values) > 1:
            yield column


def _column(frames: Sequence[Frame], keyword: str) -> _Column:
    found = _texts(frames, keyword)
    if keyword in _TIMES:
        both = [""] * len(found)
        if keyword == "AcquisitionTime" and "" in found:
            both = _texts(frames, "AcquisitionDateTime")
        found = list(map(_moment, _texts(frames, keyword.replace("Time", "Date")), found, both))
    values = tuple(sorted(set(found), key=_natural))
    number = {value: n for n, value in enumerate(values)}
    value_of = np.array([number[value] for value in found], np.intp)
    return _Column(keyword=keyword, values=values, value_of=value_of)


def _texts(frames: Sequence[Frame], keyword: str) -> list[str]:
    """An element of each frame, numbers in one way of writing; empty where it is absent."""
    tag = Tag(keyword)  # once, not for thousands of frames
    return ["\\".join(map(_text, values_of(frame.header, tag))) for frame in frames]


def _text(value: object) -> str:
    return f"{float(value):.10g}" if isinstance(value, int | float) else str(value)


def _moment(date: str, time: str, both: str) -> str:
    """Date and time as digits that sort, the time from the ninth on; empty without a time."""
    if not time:
        date, time = both[:8], re.sub(r"[+-]\d{4}$", "", both)[8:]
    time = re.sub(r"[^\d.]", "", time)
    return f"{re.sub(r'[^0-9]', '', date)[:8]:0>8}{time}" if time else ""


def _natural(value: str) -> tuple[int, float, str]:
    """Numbers in their order, then texts; nothing at all comes first."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isnan(number):
        return 1, number, value
    return (2 if value else 0), 0.0, value


def _by_element(column: _Column, heights_mm: NDArray[np.float64]) -> Iterator[Partition]:
    if column.keyword == "AcquisitionNumber" and column.values[0]:
        joined = _cut(column, heights_mm)
        if 1 < len(joined.names) < len(column.values):
            yield joined
    yield _by_value(column)


def _by_value(column: _Column) -> Partition:
    names = tuple(column.shown(n) for n in range(len(column.values)))
    return Partition(by=column.keyword, names=names, part_of=column.value_of)


def _by_two(one: _Column, other: _Column) -> Partition:
    both = np.stack([one.value_of, other.value_of], axis=1)
    found, part_of = np.unique(both, axis=0, return_inverse=True)
    names = tuple(f"{one.shown(n)}, {other.shown(m)}" for n, m in found.tolist())
    by = f"{one.keyword} and {other.keyword}"
    return Partition(by=by, names=names, part_of=part_of.reshape(-1))


def _by_passes(
    frames: Sequence[Frame], columns: Sequence[_Column], heights_mm: NDArray[np.float64]
) -> Iterator[Partition]:
    times = [column for column in columns if column.keyword in _TIMES]
    for column in (*times, _column(frames, "InstanceNumber")):
        if column.values[0] and len(column.values) > 1:
            passes = _cut(column, heights_mm)
            if len(passes.names) > 1:
                yield passes


def _cut(column: _Column, heights_mm: NDArray[np.float64]) -> Partition:
    """Join values, in their order, while their frames go on along the normal in one direction."""
    count = len(column.values)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, column.value_of, heights_mm)
    np.maximum.at(high, column.value_of, heights_mm)
    starts, direction = [0], 0
    bottom, top = low[0], high[0]
    for n in range(1, count):
        way = int(low[n] > top + POSITION_TOLERANCE_MM) - int(
            high[n] < bottom - POSITION_TOLERANCE_MM
        )
        if way == 0 or way == -direction:
            starts.append(n)
            direction, bottom, top = 0, low[n], high[n]
        else:
            direction, bottom, top = way, min(bottom, low[n]), max(top, high[n])
    ends = [*(start - 1 for start in starts[1:]), count - 1]
    names = tuple(_range(column, *pair) for pair in zip(starts, ends, strict=True))
    part_of = np.searchsorted(starts, column.value_of, side="right") - 1
    return Partition(by=f"the order of {column.keyword}", names=names, part_of=part_of)


def _range(column: _Column, first: int, last: int) -> str:
    if first == last:
        return column.shown(first)
    return f"{column.shown(first)} to {column.shown(last).removeprefix(column.keyword + ' ')}"


def _is_scattered(partition: Partition, place_count: int) -> bool:
    singles = int((np.bincount(partition.part_of) == 1).sum())
    return place_count > 1 and singles * 2 > len(partition.names)


def _is_even(heights_mm: NDArray[np.float64]) -> bool:
    even = np.linspace(heights_mm[0], heights_mm[-1], len(heights_mm))
    return bool(np.abs(heights_mm - even).max() <= POSITION_TOLERANCE_MM)


def _is_regular(heights_mm: NDArray[np.float64]) -> bool:
    """Whether the steps are multiples of the usual one: slices may be missing."""
    steps, usual = _steps(heights_mm)
    rest = np.abs(steps - np.maximum(np.rint(steps / usual), 1) * usual)
    return bool(rest.max() <= _step_tolerance_mm(usual))


def _odd_steps(heights_mm: NDArray[np.float64]) -> int:
    """How many steps are not the usual one."""
    steps, usual = _steps(np.sort(heights_mm))
    return int((np.abs(steps - usual) > _step_tolerance_mm(usual)).sum())


def _steps(heights_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Distances of ascending heights, and the usual one."""
    steps = np.diff(heights_mm)
    return steps, float(np.sort(steps)[(len(steps) - 1) // 2])


def _step_tolerance_mm(usual_mm: float) -> float:
    return 2 * POSITION_TOLERANCE_MM + 0.05 * usual_mm
