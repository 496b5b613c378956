"""What headers say about how much of a study is there: gaps between slices, stated numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from operators.elements import numbers_of, values_of
from operators.slice_checks import POSITION_TOLERANCE_MM
from operators.slice_stack import GAP_RATIO

#: Elements that the functions here read, for `pydicom.dcmread(specific_tags=...)`.
KEYWORDS = (
    "SOPClassUID",
    "SeriesInstanceUID",
    "ImageType",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "NumberOfSeriesRelatedInstances",
)
#: Direction cosines of one stack of slices differ less, those of other planes by far more.
_ALIKE_COSINES = 0.02


@dataclass(frozen=True, kw_only=True)
class Contiguity:
    """How the slices of a series follow each other.

    Parameters
    ----------
    SeriesInstanceUID
        The series.
    slices
        Number of different positions along the normal.
    missing
        How many more would fill the gaps between them.
    step_mm, widest_mm
        The usual distance of neighbours and the widest, in mm; 0 for one slice alone.
    """

    SeriesInstanceUID: str
    slices: int
    missing: int
    step_mm: float
    widest_mm: float

    @property
    def told(self) -> str:
        """In words, with figures."""
        if self.slices < 2:
            return f"{self.slices} slice is there"
        if not self.missing:
            return f"{self.slices} slices every {self.step_mm:.2f} mm have no gap"
        return (
            f"{self.missing} slices are missing among {self.slices} every {self.step_mm:.2f} mm, "
            f"the widest gap is {self.widest_mm:.2f} mm"
        )


@dataclass(frozen=True, kw_only=True)
class StatedCounts:
    """How much there is of a study by its own headers; None and empty where they do not say.

    The names are those of `app.node.completion.StudyFacts`.
    """

    stated_instances: int | None
    stated_series: int | None
    stated_by_series: dict[str, int]


def contiguity(headers: Iterable[Dataset]) -> Contiguity | None:
    """Look for gaps between the slices of the likely CT series of a study.

    The likely one has the most slices of one orientation; of several, the first UID. Only
    single-frame CT that is no localizer counts (PS3.3 C.8.2.1.1.1). Gaps are those of
    `operators.slice_stack`: wider than 1.5 times the usual distance.

    Parameters
    ----------
    headers
        Of any instances, in any order, with at least `KEYWORDS`.

    Returns
    -------
    Contiguity or None
        None where no slice has a position and an orientation.
    """
    places = defaultdict(list)
    for header in headers:
        cosines = numbers_of(header, "ImageOrientationPatient", 6)
        position = numbers_of(header, "ImagePositionPatient", 3)
        if cosines is not None and position is not None and _is_slice(header):
            places[str(header.SeriesInstanceUID)].append((*cosines, *position))
    found = [_measured(uid, np.asarray(places[uid])) for uid in sorted(places)]
    return max(found, key=lambda stack: stack.slices, default=None)


def _is_slice(header: Dataset) -> bool:
    return (
        values_of(header, "SOPClassUID") == (CTImageStorage,)
        and "LOCALIZER" not in values_of(header, "ImageType")
        and bool(values_of(header, "SeriesInstanceUID"))
    )


def _measured(uid: str, places: NDArray[np.float64]) -> Contiguity:
    """Gaps among the slices of the most frequent orientation; `places` is `(n, 6 + 3)`."""
    kinds, counts = np.unique(places[:, :6].round(2) + 0.0, axis=0, return_counts=True)
    is_alike = np.abs(places[:, :6] - kinds[counts.argmax()]).max(axis=1) <= _ALIKE_COSINES
    alike = places[is_alike]
    direction = alike[:, :6].mean(axis=0)
    heights = np.sort(alike[:, 6:] @ np.cross(direction[:3], direction[3:]))
    gaps = np.diff(heights)
    gaps = gaps[gaps > POSITION_TOLERANCE_MM]  # phases and copies share their positions
    if not len(gaps):
        return Contiguity(SeriesInstanceUID=uid, slices=1, missing=0, step_mm=0.0, widest_mm=0.0)
    usual_mm = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    wide = gaps[gaps > GAP_RATIO * usual_mm]
    return Contiguity(
        SeriesInstanceUID=uid,
        slices=len(gaps) + 1,
        missing=int(np.maximum(np.round(wide / usual_mm) - 1, 1).sum()),
        step_mm=usual_mm,
        widest_mm=float(gaps.max()),
    )


def stated_counts(headers: Iterable[Dataset]) -> StatedCounts:
    """Collect the numbers that headers state about their study and series.

    Parameters
    ----------
    headers
        Of instances of one study with at least `KEYWORDS`, or identifiers of C-FIND responses at
        the level of study or series (PS3.4 C.6.2.1). Where they differ the largest number counts.
    """
    study: Counter[str] = Counter()
    series: Counter[str] = Counter()
    for header in headers:
        for keyword in ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"):
            study[keyword] = max(study[keyword], _number(header, keyword))
        for uid in values_of(header, "SeriesInstanceUID")[:1]:
            stated = _number(header, "NumberOfSeriesRelatedInstances")
            series[str(uid)] = max(series[str(uid)], stated)
    return StatedCounts(
        stated_instances=study["NumberOfStudyRelatedInstances"] or None,
        stated_series=study["NumberOfStudyRelatedSeries"] or None,
        stated_by_series={uid: count for uid, count in series.items() if count},
    )


def _number(header: Dataset, keyword: str) -> int:
    numbers = numbers_of(header, keyword, 1)
    return int(numbers[0]) if numbers is not None and numbers[0] >= 1 else 0
