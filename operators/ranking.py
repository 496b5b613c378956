"""Which of several fitting candidates is the best to segment.

Two candidates are compared by these criteria in turn; the first that tells them apart decides.

| | criterion | better |
|---|---|---|
| 1 | volume | the slices form one (`operators.slice_stack`) |
| | *`prefer:`* | *what the rules prefer, in their order (`operators.preferences`)* |
| 2 | plane | axial |
| 3 | ImageType | begins with `ORIGINAL\\PRIMARY` |
| 4 | coverage | more mm; those within 10 % of the widest count as equally wide |
| 5 | regular volume | a grid as it is; else it has to be resampled or filled in |
| 6 | slice distance | from 1 to 5 mm; else the nearer to that range |
| 7 | kernel | not a lung, bone or edge kernel by the usual names; unknown ones count as soft |
| 8 | contrast | a hint of the portal venous phase, then any contrast, then none |
| 9 | acquisition | the last of its series, where several parts of one series fit |
| 10 | slices | more positions |
| 11 | SeriesInstanceUID and part | the first in order of text, so that the answer stays |

A series that forms no volume gives no result, so no preference puts it first. Coverage comes before
the other qualities since an organ outside the images is lost, but a coarsely sampled one is not.
Contrast is weak and late, since it rests on free text.

Of two phases that one series holds and no text tells apart, the later one is taken (criterion 9):
phases follow each other as non-contrast, arterial, portal venous, delayed, and organs are evenly
enhanced in the later ones while the arterial phase leaves liver and spleen mottled; and where an
acquisition was repeated, the second try is the good one. Time of acquisition tells the order, else
AcquisitionNumber, else TemporalPositionIdentifier. Series are not compared by it: a delayed scan is
often short and a reconstruction may come from any of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from operators.contrast import NON_CONTRAST, PORTAL_VENOUS
from operators.elements import numbers_of
from operators.moments import acquisition_moment
from operators.traits import Traits

EQUAL_COVERAGE = 0.9
USUAL_DISTANCE_MM = (1.0, 5.0)


@dataclass(frozen=True)
class Contest:
    """What a candidate competes with.

    Parameters
    ----------
    widest_mm
        The widest coverage of all.
    later
        For each candidate by name: how many acquisitions of its series are later.
    """

    widest_mm: float
    later: Mapping[str, int]

    @classmethod
    def of(cls, traits: Sequence[Traits]) -> Contest:
        return cls(max(t.coverage_mm or 0.0 for t in traits), _later_acquisitions(traits))


@dataclass(frozen=True)
class Criterion:
    """One thing that candidates are ranked by.

    Parameters
    ----------
    name
        For messages.
    key
        Smaller is better.
    words
        What a candidate has.
    """

    name: str
    key: Callable[[Traits, Contest], Any]
    words: Callable[[Traits, Contest], str]


def lacking_mm(traits: Traits, contest: Contest) -> float:
    """How much less than the widest a candidate covers; 0 where that is little."""
    coverage_mm = traits.coverage_mm or 0.0
    enough = coverage_mm >= EQUAL_COVERAGE * contest.widest_mm
    return 0.0 if enough else contest.widest_mm - coverage_mm


def _distance_off_mm(traits: Traits) -> float:
    least, most = USUAL_DISTANCE_MM
    distance_mm = traits.slice_distance_mm or 0.0
    return round(max(least - distance_mm, distance_mm - most, 0.0), 2)


def _contrast_key(traits: Traits) -> int:
    if traits.contrast == PORTAL_VENOUS:
        return 0
    return 2 if traits.contrast in (None, NON_CONTRAST) else 1


def _distance_text(traits: Traits) -> str:
    distance_mm = traits.slice_distance_mm
    return "unknown" if distance_mm is None else f"{distance_mm:.2f} mm"


def _yes_no(is_so: bool, why_not: str = "") -> str:
    return "yes" if is_so else f"no ({why_not})" if why_not else "no"


#: Always asked first.
FORMS_VOLUME = Criterion(
    "volume", lambda t, _: t.fault is not None, lambda t, _: _yes_no(t.fault is None, t.fault or "")
)
#: Asked after what the rules prefer.
CRITERIA = (
    Criterion("axial", lambda t, _: t.plane != "Axial", lambda t, _: _yes_no(t.plane == "Axial")),
    Criterion(
        "ImageType ORIGINAL\\PRIMARY",
        lambda t, _: not t.original,
        lambda t, _: _yes_no(t.original),
    ),
    Criterion("coverage", lacking_mm, lambda t, _: t.extent),
    Criterion(
        "regular volume",
        lambda t, _: not t.regular,
        lambda t, _: _yes_no(t.regular, t.fault or "; ".join(t.repairs)),
    ),
    Criterion("slice distance", lambda t, _: _distance_off_mm(t), lambda t, _: _distance_text(t)),
    Criterion("kernel", lambda t, _: t.kernel == "sharp", lambda t, _: t.kernel or "unknown"),
    Criterion("contrast", lambda t, _: _contrast_key(t), lambda t, _: t.contrast or "none noted"),
    Criterion(
        "acquisition",
        lambda t, contest: contest.later[t.candidate.name],
        lambda t, contest: (
            f"{contest.later[t.candidate.name]} before the last"
            if contest.later[t.candidate.name]
            else "the last of its series"
        ),
    ),
    Criterion("slices", lambda t, _: -(t.slices or 0), lambda t, _: str(t.slices or 0)),
    Criterion(
        "order of UID and part", lambda t, _: t.candidate.name, lambda t, _: t.candidate.name
    ),
)


def rank(
    traits: Sequence[Traits], prefer: Sequence[Criterion] = ()
) -> tuple[list[Traits], list[str]]:
    """Put candidates in order, the best first.

    Parameters
    ----------
    traits
        Of at least one candidate.
    prefer
        What counts before the usual criteria.

    Returns
    -------
    traits : list of Traits
        The best candidate's first, whatever order they came in.
    reasons : list of str
        For each: the best one's traits, and why each other one is not the best.
    """
    criteria = (FORMS_VOLUME, *prefer, *CRITERIA)
    contest = Contest.of(traits)
    keys = {t.candidate.name: [c.key(t, contest) for c in criteria] for t in traits}
    ranked = sorted(traits, key=lambda t: keys[t.candidate.name])
    best = ranked[0]
    reasons = [_traits_text(best)]
    for other in ranked[1:]:
        pairs = zip(keys[best.candidate.name], keys[other.candidate.name], strict=True)
        decisive = criteria[next(n for n, (mine, theirs) in enumerate(pairs) if mine != theirs)]
        mine, theirs = decisive.words(best, contest), decisive.words(other, contest)
        values = f" {mine} against {theirs}" if mine != theirs else ""
        reasons.append(f"series {best.candidate.name} ranks higher: {decisive.name}{values}")
    return ranked, reasons


def _traits_text(traits: Traits) -> str:
    texts = [f"{traits.extent}, slice distance {_distance_text(traits)}", *traits.repairs]
    return "; ".join(texts if traits.fault is None else [*texts, f"no volume: {traits.fault}"])


def _later_acquisitions(traits: Sequence[Traits]) -> dict[str, int]:
    series: dict[str, list[Traits]] = defaultdict(list)
    for t in traits:
        series[t.candidate.series.SeriesInstanceUID].append(t)
    later: dict[str, int] = {}
    for parts in series.values():
        places = _places_in_time([t.candidate.header for t in parts])
        later |= {t.candidate.name: max(places) - n for t, n in zip(parts, places, strict=True)}
    return later


def _places_in_time(headers: Sequence[Dataset]) -> list[int]:
    """The place of each in order of acquisition, by the first attribute that tells all apart."""
    attributes: tuple[Callable[[Dataset], Any], ...] = (
        acquisition_moment,
        lambda header: numbers_of(header, "AcquisitionNumber", 1),
        lambda header: numbers_of(header, "TemporalPositionIdentifier", 1),
    )
    for attribute in attributes:
        found = [attribute(header) for header in headers]
        if None not in found and len(set(found)) > 1:
            order = sorted(set(found))
            return [order.index(value) for value in found]
    return [0] * len(headers)
