"""Choose the series to work on, and say of every other one why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from operators.clauses import measured, unmet
from operators.elements import numbers_of, values_of
from operators.errors import ImagingError, NothingSelectedError
from operators.ranking import rank
from operators.rules import Rules, Selection
from operators.series import Candidate, Instance, Series, Study
from operators.slice_stack import LARGEST_GAP_MM
from operators.splitting import split_series
from operators.traits import Traits, traits_of

_SHOWN = 10  # how many series an error text names


@dataclass(frozen=True, kw_only=True)
class ChosenSeries:
    """What a selection chose: CT images of a series that may form one volume.

    Parameters
    ----------
    selection_name
        The selection, as the rules name it.
    study, candidate
        The images, and the study they are of.
    model
        Name of the bundle that the selection asks for; None where it leaves that open.
    """

    selection_name: str
    study: Study = field(repr=False)
    candidate: Candidate
    model: str | None = None

    @property
    def series(self) -> Series:
        """The series that the images belong to."""
        return self.candidate.series


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one selection made of one series, or of one part of it; without patient data.

    What the headers do not tell is None, and so are all measures of what is no CT image.

    Parameters
    ----------
    StudyInstanceUID, SeriesInstanceUID
        The series.
    part
        What tells this candidate from others of its series; empty for a whole series.
    selection_name
        The selection, as the rules name it.
    chosen
        Whether the series was chosen.
    reason
        Why, or why not.
    Modality
        As in the header; empty where absent.
    sop_classes
        Names of the SOP classes of its instances.
    instance_count
        Number of instances of any kind in the series, or in the part of it.
    model
        Name of the bundle that the selection asks for.
    SeriesNumber
        As in the header.
    plane
        `axial`, `coronal` or `sagittal`.
    slices, slice_distance_mm, coverage_mm, kernel, contrast
        As `operators.traits` reads them, lengths to 0.01 mm.
    regular
        Whether the slices are a regular volume that needs no repair.
    """

    StudyInstanceUID: str
    SeriesInstanceUID: str
    part: str
    selection_name: str
    chosen: bool
    reason: str
    Modality: str
    sop_classes: tuple[str, ...]
    instance_count: int
    model: str | None = None
    SeriesNumber: int | None = None
    plane: str | None = None
    slices: int | None = None
    slice_distance_mm: float | None = None
    coverage_mm: float | None = None
    kernel: str | None = None
    contrast: str | None = None
    regular: bool | None = None

    @property
    def name(self) -> str:
        """For messages: the SeriesInstanceUID, and the part where it is one."""
        return f"{self.SeriesInstanceUID} ({self.part})" if self.part else self.SeriesInstanceUID

    def to_json(self) -> dict[str, Any]:
        """The decision in types that JSON has."""
        return asdict(self) | {"sop_classes": list(self.sop_classes)}


@dataclass(frozen=True, kw_only=True)
class SelectionResult:
    """Chosen series, and a decision per study, selection and series, in order of their UIDs."""

    chosen: tuple[ChosenSeries, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Examined:
    """A series and its candidates, or why there is none."""

    series: Series
    traits: tuple[Traits, ...] = ()
    problem: str = ""


def is_ct_image(SOPClassUID: str) -> bool:
    """Whether objects of a SOP class are CT images, single-frame or multi-frame (PS3.4 B.5)."""
    return SOPClassUID in (
        CTImageStorage,
        EnhancedCTImageStorage,
        LegacyConvertedEnhancedCTImageStorage,
    )


def select_series(
    studies: Sequence[Study], rules: Rules, largest_gap_mm: float = LARGEST_GAP_MM
) -> SelectionResult:
    """Let each selection choose the best fitting candidate of each study.

    A series is considered by its CT images, as their SOP class says; what else lies in it is left
    out. `operators.splitting` makes one candidate of them, or several where they cannot be one
    volume. All images of a candidate have to meet all that a selection asks for. Among those that
    fit `operators.ranking` decides. A series that cannot be examined is passed over with the
    reason, and the others go on.

    Parameters
    ----------
    studies
        In any order, their series too.
    rules
        What to choose.
    largest_gap_mm
        As `operators.slice_stack.stack_slices` takes it.

    Raises
    ------
    NothingSelectedError
        If no selection chose anything; carries all decisions.
    """
    chosen: list[ChosenSeries] = []
    decisions: list[Decision] = []
    for study in sorted(studies, key=lambda study: study.StudyInstanceUID):
        series = sorted(study.series, key=lambda series: series.SeriesInstanceUID)
        examined = [_examine(each, largest_gap_mm) for each in series]
        for selection in rules.selections:
            best, reasons = _choose([t for e in examined for t in e.traits], selection)
            if best is not None:
                chosen.append(
                    ChosenSeries(
                        selection_name=selection.name,
                        study=study,
                        candidate=best,
                        model=selection.model,
                    )
                )
            for each in examined:
                decisions += _decisions(each, selection, best, reasons)
    if not chosen:
        raise NothingSelectedError(_nothing_selected(decisions), tuple(decisions))
    return SelectionResult(chosen=tuple(chosen), decisions=tuple(decisions))


def _examine(series: Series, largest_gap_mm: float) -> _Examined:
    images = tuple(i for i in series.instances if is_ct_image(i.header.SOPClassUID))
    if not images:
        names = ", ".join(_sop_classes(series.instances))
        return _Examined(series=series, problem=f"{names}: not a CT image")
    try:
        candidates = split_series(series, images)
        traits = tuple(traits_of(candidate, largest_gap_mm) for candidate in candidates)
    except ImagingError as exc:
        return _Examined(series=series, problem=str(exc))
    return _Examined(series=series, traits=traits)


def _choose(
    traits: Sequence[Traits], selection: Selection
) -> tuple[Candidate | None, dict[str, str]]:
    """The best candidate, if any fits, and a reason for each by its name."""
    reasons = {t.candidate.name: problem for t in traits if (problem := _unmet(t, selection))}
    fitting = [t for t in traits if t.candidate.name not in reasons]
    if not fitting:
        return None, reasons
    ranked, why = rank(fitting, selection.prefer)
    best = ranked[0].candidate
    only = "the only match" if len(ranked) == 1 else f"the best of {len(ranked)} matches"
    reasons[best.name] = "; ".join([f"{only}: {why[0]}", *best.notes, *_left_out(best)])
    for other, reason in zip(ranked[1:], why[1:], strict=True):
        reasons[other.candidate.name] = f"matches, but {reason}"
    return best, reasons


def _unmet(traits: Traits, selection: Selection) -> str | None:
    problems = (unmet(clause, traits) for clause in selection.clauses)
    return next((problem for problem in problems if problem), None)


def _left_out(candidate: Candidate) -> list[str]:
    other = sum(not is_ct_image(i.header.SOPClassUID) for i in candidate.series.instances)
    return [f"{other} instances that are no CT images are left out"] if other else []


def _decisions(
    examined: _Examined, selection: Selection, best: Candidate | None, reasons: dict[str, str]
) -> list[Decision]:
    series = examined.series
    if examined.problem:
        return [_decision(series, series.instances, selection, examined.problem)]
    decisions = []
    for traits in examined.traits:
        candidate = traits.candidate
        instances = {frame.SOPInstanceUID: frame.instance for frame in candidate.frames}
        counted = tuple(instances.values()) if candidate.part else series.instances
        decision = replace(
            _decision(series, counted, selection, reasons[candidate.name]),
            part=candidate.part,
            chosen=candidate is best,
            plane=None if traits.plane is None else traits.plane.lower(),
            slices=traits.slices,
            slice_distance_mm=next(iter(measured(traits, "slice_distance_mm")), None),
            coverage_mm=next(iter(measured(traits, "coverage_mm")), None),
            kernel=traits.kernel,
            contrast=traits.contrast,
            regular=traits.regular,
        )
        decisions.append(decision)
    return decisions


def _decision(
    series: Series, instances: Sequence[Instance], selection: Selection, reason: str
) -> Decision:
    number = numbers_of(series.header, "SeriesNumber", 1)
    return Decision(
        StudyInstanceUID=series.StudyInstanceUID,
        SeriesInstanceUID=series.SeriesInstanceUID,
        part="",
        selection_name=selection.name,
        chosen=False,
        reason=reason,
        Modality=str(next(iter(values_of(series.header, "Modality")), "")),
        sop_classes=_sop_classes(instances),
        instance_count=len(instances),
        model=selection.model,
        SeriesNumber=None if number is None else int(number[0]),
    )


def _sop_classes(instances: Sequence[Instance]) -> tuple[str, ...]:
    found = Counter(UID(i.header.SOPClassUID).name for i in instances)
    return tuple(sorted(found))


def _nothing_selected(decisions: Sequence[Decision]) -> str:
    lines = [
        "no series fits the rules:" if decisions else "no series fits the rules: no series found"
    ]
    lines += [f"  {d.name}: {d.reason}" for d in decisions[:_SHOWN]]
    if len(decisions) > _SHOWN:
        lines.append(f"  and {len(decisions) - _SHOWN} more")
    return "\n".join(lines)
