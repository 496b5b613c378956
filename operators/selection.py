"""Choose the series to work on, and say of every other one why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from operators.errors import NothingSelectedError
from operators.loading import values_of
from operators.ranking import rank
from operators.rules import Rules, Selection
from operators.series import Series, Study

_SHOWN = 10  # how many series an error text names


@dataclass(frozen=True, kw_only=True)
class ChosenSeries:
    """A series that a selection chose; it holds its CT images only."""

    selection_name: str
    study: Study = field(repr=False)
    series: Series


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one selection made of one series; without patient data.

    Parameters
    ----------
    StudyInstanceUID, SeriesInstanceUID
        The series.
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
        Number of instances of any kind.
    """

    StudyInstanceUID: str
    SeriesInstanceUID: str
    selection_name: str
    chosen: bool
    reason: str
    Modality: str
    sop_classes: tuple[str, ...]
    instance_count: int

    def to_json(self) -> dict[str, Any]:
        """The decision in types that JSON has."""
        return asdict(self) | {"sop_classes": list(self.sop_classes)}


@dataclass(frozen=True, kw_only=True)
class SelectionResult:
    """Chosen series, and a decision per study, selection and series, in order of their UIDs."""

    chosen: tuple[ChosenSeries, ...]
    decisions: tuple[Decision, ...]


def is_ct_image(SOPClassUID: str) -> bool:
    """Whether objects of a SOP class are single-frame CT images (PS3.4 B.5)."""
    return SOPClassUID == CTImageStorage


def is_enhanced_ct_image(SOPClassUID: str) -> bool:
    """Whether objects of a SOP class are multi-frame CT images."""
    return SOPClassUID in (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)


def select_series(studies: Sequence[Study], rules: Rules) -> SelectionResult:
    """Let each selection choose the best fitting series of each study.

    A series is considered by its CT images, as their SOP class says; what else lies in it is left
    out of the chosen series. All those images have to meet all conditions. Among fitting series
    `operators.ranking` decides.

    Parameters
    ----------
    studies
        In any order, their series too.
    rules
        What to choose.

    Raises
    ------
    NothingSelectedError
        If no selection chose anything; carries all decisions.
    """
    chosen: list[ChosenSeries] = []
    decisions: list[Decision] = []
    for study in sorted(studies, key=lambda study: study.StudyInstanceUID):
        for selection in rules.selections:
            best, reasons = _choose(study, selection)
            if best is not None:
                chosen.append(ChosenSeries(selection_name=selection.name, study=study, series=best))
            decisions += [
                _decision(series, selection, best, reasons[series.SeriesInstanceUID])
                for series in sorted(study.series, key=lambda series: series.SeriesInstanceUID)
            ]
    if not chosen:
        raise NothingSelectedError(_nothing_selected(decisions), tuple(decisions))
    return SelectionResult(chosen=tuple(chosen), decisions=tuple(decisions))


def _choose(study: Study, selection: Selection) -> tuple[Series | None, dict[str, str]]:
    """The best series, if any fits, and a reason for each series by its UID."""
    fitting: list[Series] = []
    reasons: dict[str, str] = {}
    for series in study.series:
        images = _ct_images(series)
        if images is None:
            reasons[series.SeriesInstanceUID] = _no_ct_image(series)
        elif problem := _unmet(images, selection):
            reasons[series.SeriesInstanceUID] = problem
        else:
            fitting.append(images)
    if not fitting:
        return None, reasons
    ranked, why = rank(fitting)
    total = {series.SeriesInstanceUID: len(series.instances) for series in study.series}
    best = ranked[0]
    only = "the only match" if len(ranked) == 1 else f"the best of {len(ranked)} matches"
    other = total[best.SeriesInstanceUID] - len(best.instances)
    left_out = f"; {other} instances that are no CT images are left out" if other else ""
    reasons[best.SeriesInstanceUID] = f"{only}: {why[0]}{left_out}"
    for series, reason in zip(ranked[1:], why[1:], strict=True):
        reasons[series.SeriesInstanceUID] = f"matches, but {reason}"
    return best, reasons


def _ct_images(series: Series) -> Series | None:
    images = tuple(i for i in series.instances if is_ct_image(i.header.SOPClassUID))
    if not images:
        return None
    return Series(
        StudyInstanceUID=series.StudyInstanceUID,
        SeriesInstanceUID=series.SeriesInstanceUID,
        instances=images,
    )


def _unmet(images: Series, selection: Selection) -> str | None:
    headers = [instance.header for instance in images.instances]
    problems = (condition.unmet(headers) for condition in selection.conditions)
    return next((problem for problem in problems if problem), None)


def _no_ct_image(series: Series) -> str:
    names = ", ".join(_sop_classes(series))
    if any(is_enhanced_ct_image(i.header.SOPClassUID) for i in series.instances):
        return f"{names}: enhanced multi-frame CT is not read yet"
    return f"{names}: not a CT image"


def _sop_classes(series: Series) -> tuple[str, ...]:
    found = Counter(UID(i.header.SOPClassUID).name for i in series.instances)
    return tuple(sorted(found))


def _decision(series: Series, selection: Selection, best: Series | None, reason: str) -> Decision:
    return Decision(
        StudyInstanceUID=series.StudyInstanceUID,
        SeriesInstanceUID=series.SeriesInstanceUID,
        selection_name=selection.name,
        chosen=best is not None and best.SeriesInstanceUID == series.SeriesInstanceUID,
        reason=reason,
        Modality=str(next(iter(values_of(series.header, "Modality")), "")),
        sop_classes=_sop_classes(series),
        instance_count=len(series.instances),
    )


def _nothing_selected(decisions: Sequence[Decision]) -> str:
    lines = [
        "no series fits the rules:" if decisions else "no series fits the rules: no series found"
    ]
    lines += [f"  {d.SeriesInstanceUID}: {d.reason}" for d in decisions[:_SHOWN]]
    if len(decisions) > _SHOWN:
        lines.append(f"  and {len(decisions) - _SHOWN} more")
    return "\n".join(lines)
