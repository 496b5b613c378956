"""Tables of an evaluation as texts for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.evaluation.charts import css_colour
from models.evaluation.measures import CaseMeasures, Evaluation
from models.evaluation.summary import EvaluationSummary, Summary
from models.evaluation.tables import HEADINGS
from models.evaluation.tables import heading_of as plain_heading_of

#: Measures from 0 to 1, which get a bar behind the number.
_SHARES = frozenset({"dice", "iou", "nsd", "precision", "recall"})
#: What the two summary tables hold; accuracy and volumes make one too wide.
_AGREEMENT = ("dice", "iou", "nsd", "hd95_mm", "precision", "recall")
#: Measures with a table of cases, the most wanted first; the volumes share one.
_BY_CASE = ("dice", "nsd", "hd95_mm", "iou", "precision", "recall", "auc", "volume_error_percent")
#: Worst cases shown of each organ.
WORST = 3
_NONE = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number, what is small below it, and the length of its bar in per cent, None for none."""

    text: str
    note: str = ""
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a table; `colour` is an organ's, or empty; `learnt` marks a case learnt from."""

    label: str
    note: str = ""
    colour: str = ""
    learnt: bool = False
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose first column names the rows."""

    title: str
    heading: tuple[str, ...]
    rows: tuple[Row, ...]


def heading_of(measure: str, evaluation: Evaluation) -> str:
    """A measure's name at the top of a column."""
    text = plain_heading_of(measure, evaluation)
    return text[0].upper() + text[1:]


def summary_tables(evaluation: Evaluation, summary: EvaluationSummary) -> list[Table]:
    """The mean of every measure by organ, with its interval: agreement, and all the others."""
    others = tuple(measure for measure in HEADINGS if measure not in _AGREEMENT)
    return [
        _summary_table("Agreement", evaluation, summary, _AGREEMENT),
        _summary_table("Voxels and volumes", evaluation, summary, others),
    ]


def _summary_table(
    title: str, evaluation: Evaluation, summary: EvaluationSummary, measures: Sequence[str]
) -> Table:
    rows = [
        Row(
            label=evaluation.labels[name],
            colour=css_colour(evaluation.rgb[name]),
            cells=_summary_cells(summary.organs[name], measures),
        )
        for name in evaluation.organs
    ]
    mean = _summary_cells(summary.mean_of_organs, measures)
    rows.append(Row(label="Mean of organs", cells=(Cell(text=""), *mean[1:])))
    heading = ("Organ", "Cases", *(heading_of(measure, evaluation) for measure in measures))
    return Table(title=title, heading=heading, rows=tuple(rows))


def _summary_cells(values: Mapping[str, Summary], measures: Sequence[str]) -> tuple[Cell, ...]:
    """The number of cases that have the first measure, and the means."""
    cells = (
        Cell(text=number(values[m].mean, m), note=interval(values[m], m), share=_bar(values[m], m))
        for m in measures
    )
    return (Cell(text=str(values[measures[0]].count)), *cells)


def _bar(summary: Summary, measure: str) -> float | None:
    return _cell(summary.mean, measure).share


def number(value: float | None, measure: str) -> str:
    """A value with the decimals of its measure and a true minus sign."""
    if value is None:
        return _NONE
    return f"{value:,.{HEADINGS[measure][1]}f}".replace("-", "\N{MINUS SIGN}")


def interval(summary: Summary, measure: str) -> str:
    """The bootstrap interval, empty where there is none."""
    if summary.low is None or summary.high is None:
        return ""
    return f"{number(summary.low, measure)} to {number(summary.high, measure)}"


def case_tables(evaluation: Evaluation) -> list[Table]:
    """One table a measure: a row a case, a column an organ; measures nobody has are left out."""
    return [
        _case_table(evaluation, measure)
        for measure in _BY_CASE
        if any(
            getattr(organ, measure) is not None
            for case in evaluation.cases
            for organ in case.organs.values()
        )
    ]


def _case_table(evaluation: Evaluation, measure: str) -> Table:
    dice = measure == "dice"
    rows = []
    for case in evaluation.cases:
        values = [getattr(case.organs[name], measure) for name in evaluation.organs]
        cells = [_cell(value, measure) for value in values]
        if dice:
            cells += [_cell(mean_dice(case), "dice"), _accuracy(case.pixel_accuracy)]
        note = "" if case.patient == case.name else case.patient
        learnt = case.name in evaluation.learnt_cases
        rows.append(Row(label=case.name, note=note, learnt=learnt, cells=tuple(cells)))
    organs = [evaluation.labels[name] for name in evaluation.organs]
    extra = ["Mean", "Pixel accuracy"] if dice else []
    heading = ("Case", *organs, *extra)
    return Table(title=heading_of(measure, evaluation), heading=heading, rows=tuple(rows))


def _cell(value: float | None, measure: str) -> Cell:
    bar = value is not None and measure in _SHARES
    return Cell(text=number(value, measure), share=round(100 * (value or 0.0), 1) if bar else None)


def _accuracy(value: float | None) -> Cell:
    return Cell(text=number(value, "accuracy"))


def mean_dice(case: CaseMeasures) -> float | None:
    """Mean of the organs' Dice in a case; None where no organ has one."""
    known = [organ.dice for organ in case.organs.values() if organ.dice is not None]
    return float(np.mean(known)) if known else None


def worst_tables(evaluation: Evaluation, count: int = WORST) -> list[Table]:
    """Of each organ, the cases of the lowest Dice, the worst first."""
    tables = []
    for name in evaluation.organs:
        known = [case for case in evaluation.cases if case.organs[name].dice is not None]
        known.sort(key=lambda case: case.organs[name].dice or 0.0)
        if not known:
            continue
        measures = ("dice", "hd95_mm", "volume_error_ml")
        rows = tuple(
            Row(
                label=case.name,
                learnt=case.name in evaluation.learnt_cases,
                cells=tuple(_cell(getattr(case.organs[name], m), m) for m in measures),
            )
            for case in known[:count]
        )
        tables.append(
            Table(
                title=evaluation.labels[name],
                heading=("Case", *(heading_of(measure, evaluation) for measure in measures)),
                rows=rows,
            )
        )
    return tables


def confusion_table(evaluation: Evaluation) -> Table:
    """Of the voxels of each true class, the share that got each class; the count in the note."""
    names = ("Background", *(evaluation.labels[name] for name in evaluation.organs))
    colours = ("", *(css_colour(evaluation.rgb[name]) for name in evaluation.organs))
    rows = []
    for label, colour, counts in zip(names, colours, evaluation.confusion, strict=True):
        total = int(counts.sum())
        shares = 100 * counts / total if total else np.zeros(len(counts))
        rows.append(
            Row(
                label=label,
                colour=colour,
                note=f"{total:,}",
                cells=tuple(
                    Cell(
                        text=percentage(share) if total else _NONE,
                        note=f"{int(n):,} voxels",
                        share=round(float(share), 1),
                    )
                    for share, n in zip(shares, counts, strict=True)
                ),
            )
        )
    return Table(title="Confusion matrix", heading=("Truth", *names), rows=tuple(rows))


def percentage(share: float) -> str:
    """Per cent in few digits; what is there but rounds to nothing is told from nothing."""
    if share == 0:
        return "0"
    return "<0.1" if share < 0.05 else f"{share:.1f}"


def by_worst(cases: Sequence[CaseMeasures]) -> list[CaseMeasures]:
    """Cases by their mean Dice, the worst first; those without one at the end."""
    return sorted(cases, key=lambda case: 2.0 if (dice := mean_dice(case)) is None else dice)
