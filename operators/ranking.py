"""Which of several fitting series is the best to segment.

Two series are compared by these criteria in turn; the first that tells them apart decides.

| | criterion | better |
|---|---|---|
| 1 | regular volume | the headers form one regular grid (`operators.volumes`) |
| 2 | plane | axial |
| 3 | ImageType | begins with `ORIGINAL\\PRIMARY` |
| 4 | coverage | more mm; series within 10 % of the widest count as equally wide |
| 5 | slice distance | from 1 to 5 mm; else the nearer to that range |
| 6 | kernel | not a lung, bone or edge kernel by the usual names; unknown ones count as soft |
| 7 | contrast | a hint of the portal venous phase, then any contrast agent, then none |
| 8 | number of positions | more |
| 9 | SeriesInstanceUID | the first in order of text, so that the answer is always the same |

Coverage is the number of distinct positions times the median distance between them. It comes before
slice distance since an organ outside the images is lost, but a coarsely sampled one is not.
Contrast is weak and late, since it rests on free text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.conditions import plane_of
from operators.errors import VolumeError
from operators.loading import numbers_of, values_of
from operators.series import Series
from operators.volumes import POSITION_TOLERANCE_MM, stack_slices

EQUAL_COVERAGE = 0.9
USUAL_DISTANCE_MM = (1.0, 5.0)

#: Kernels for lung, bone and edges: by name, Siemens B/H/T/U 50 and up and Br/Hr/Qr/... 56 and
#: up, Canon (Toshiba) FC30-39, 50-59 and 80-89, Philips D, E, L and YA to YE.
_SHARP_KERNEL = re.compile(
    r".*(LUNG|BONE|EDGE|SHARP|DETAIL).*|[BHTU][5-9]\d[A-Z]?|[A-Z][A-Z](5[6-9]|[6-9]\d)[A-Z]?"
    r"|FC[358]\d|[DEL]|Y[A-E]",
    re.IGNORECASE,
)
_PORTAL_PHASE = re.compile(r"portal|ven(ous|ös|en)|veineux|\bPV[PI]?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Traits:
    """What a series is ranked by."""

    series: Series
    fault: str | None
    axial: bool
    original: bool
    positions: int
    distance_mm: float
    sharp: bool
    contrast: int

    @property
    def coverage_mm(self) -> float:
        """Extent along the normal."""
        return self.positions * self.distance_mm

    def lacking_mm(self, widest_mm: float) -> float:
        """How much less than the widest series this one covers; 0 where that is little."""
        enough = self.coverage_mm >= EQUAL_COVERAGE * widest_mm
        return 0.0 if enough else widest_mm - self.coverage_mm

    @property
    def extent(self) -> str:
        """Coverage in words."""
        return f"{self.coverage_mm:.0f} mm ({self.positions} slices)"

    @property
    def distance_off_mm(self) -> float:
        """How far the slice distance is outside the usual range."""
        least, most = USUAL_DISTANCE_MM
        return round(max(least - self.distance_mm, self.distance_mm - most, 0.0), 2)


@dataclass(frozen=True)
class _Criterion:
    name: str
    key: Callable[[Traits, float], Any]  # smaller is better; given the widest coverage in mm
    words: Callable[[Traits], str]


CRITERIA = (
    _Criterion(
        "regular volume",
        lambda t, _: t.fault is not None,
        lambda t: "yes" if t.fault is None else f"no ({t.fault})",
    ),
    _Criterion("axial", lambda t, _: not t.axial, lambda t: "yes" if t.axial else "no"),
    _Criterion(
        "ImageType ORIGINAL\\PRIMARY",
        lambda t, _: not t.original,
        lambda t: "yes" if t.original else "no",
    ),
    _Criterion(
        "coverage",
        lambda t, widest: t.lacking_mm(widest),
        lambda t: t.extent,
    ),
    _Criterion(
        "slice distance", lambda t, _: t.distance_off_mm, lambda t: f"{t.distance_mm:.2f} mm"
    ),
    _Criterion("kernel", lambda t, _: t.sharp, lambda t: "sharp" if t.sharp else "soft"),
    _Criterion(
        "contrast",
        lambda t, _: -t.contrast,
        lambda t: ("none noted", "agent", "portal venous")[t.contrast],
    ),
    _Criterion("slices", lambda t, _: -t.positions, lambda t: str(t.positions)),
    _Criterion(
        "order of SeriesInstanceUID",
        lambda t, _: t.series.SeriesInstanceUID,
        lambda t: t.series.SeriesInstanceUID,
    ),
)


def rank(candidates: Sequence[Series]) -> tuple[list[Series], list[str]]:
    """Put series in order, the best first.

    Parameters
    ----------
    candidates
        At least one series of CT images.

    Returns
    -------
    series : list of Series
        The best first, whatever order they came in.
    reasons : list of str
        For each: the best one's traits, and why each other one is not the best.
    """
    traits = [traits_of(series) for series in candidates]
    widest = max(t.coverage_mm for t in traits)
    traits.sort(key=lambda t: tuple(criterion.key(t, widest) for criterion in CRITERIA))
    best = traits[0]
    reasons = [f"{best.extent}, slice distance {best.distance_mm:.2f} mm"]
    for other in traits[1:]:
        decisive = next(c for c in CRITERIA if c.key(best, widest) != c.key(other, widest))
        reasons.append(
            f"series {best.series.SeriesInstanceUID} ranks higher: {decisive.name} "
            f"{decisive.words(best)} against {decisive.words(other)}"
        )
    return [t.series for t in traits], reasons


def traits_of(series: Series) -> Traits:
    """Read what a series is ranked by from its headers."""
    try:
        stack_slices(series)
        fault = None
    except VolumeError as exc:
        fault = str(exc)
    header = series.header
    positions, distance_mm = _positions(series)
    kernel = " ".join(map(str, values_of(header, "ConvolutionKernel")[:1]))
    return Traits(
        series=series,
        fault=fault,
        axial=plane_of(header) == "Axial",
        original=values_of(header, "ImageType")[:2] == ("ORIGINAL", "PRIMARY"),
        positions=positions,
        distance_mm=distance_mm,
        sharp=_SHARP_KERNEL.fullmatch(kernel) is not None,
        contrast=_contrast(series),
    )


def _positions(series: Series) -> tuple[int, float]:
    """The number of distinct positions along the normal and their median distance in mm."""
    cosines = numbers_of(series.header, "ImageOrientationPatient", 6)
    found = [numbers_of(i.header, "ImagePositionPatient", 3) for i in series.instances]
    placed = [position for position in found if position is not None]
    if cosines is None or not placed:
        return 0, 0.0
    heights_mm = np.sort(np.array(placed) @ np.cross(cosines[:3], cosines[3:]))
    gaps = np.diff(heights_mm)
    gaps = gaps[gaps > POSITION_TOLERANCE_MM]
    return len(gaps) + 1, float(np.median(gaps)) if len(gaps) else 0.0


def _contrast(series: Series) -> int:
    texts = ("SeriesDescription", "ProtocolName", "ContrastBolusAgent")
    text = " ".join(str(v) for k in texts for v in values_of(series.header, k))
    if _PORTAL_PHASE.search(text):
        return 2
    return 1 if values_of(series.header, "ContrastBolusAgent") else 0
