"""An evaluation as CSV files and as a table for people."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.evaluation.measures import MEASURES, Evaluation
from models.evaluation.summary import EvaluationSummary, Summary, summarise

#: Heading of each measure in a table for people, and its decimals.
HEADINGS = {
    "dice": ("Dice", 3),
    "iou": ("IoU", 3),
    "hd95_mm": ("HD95 mm", 1),
    "nsd": ("NSD", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "accuracy": ("accuracy", 4),
    "auc": ("AUC", 4),
    "volume_ml": ("volume ml", 1),
    "truth_ml": ("true volume ml", 1),
    "volume_error_ml": ("volume error ml", 1),
    "volume_error_percent": ("volume error %", 1),
}


def heading_of(measure: str, evaluation: Evaluation) -> str:
    """A measure's heading in a table of an evaluation, with the unit that holds there."""
    return HEADINGS[measure][0].replace(" mm", f" {evaluation.unit}")


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """Write one row a case and organ; a field is empty where a measure is not defined.

    `hd95_mm` is in pixels where `spacing_stated` is `False`.
    """
    rows = (
        [
            case.name,
            case.patient,
            name,
            *(getattr(case.organs[name], m) for m in MEASURES),
            case.spacing_stated,
        ]
        for case in evaluation.cases
        for name in evaluation.organs
    )
    _write(path, ["case", "patient", "organ", *MEASURES, "spacing_stated"], rows)


def write_summary_csv(summary: EvaluationSummary, path: Path) -> None:
    """Write one row an organ and measure; `*` stands for the mean of the organs."""
    parts = ("mean", "standard_deviation", "median", "low", "high", "count")
    entries = [
        (name, measure, value)
        for name, values in (*summary.organs.items(), ("*", summary.mean_of_organs))
        for measure, value in values.items()
    ]
    entries.append(("*", "pixel_accuracy", summary.pixel_accuracy))
    rows = (
        [name, measure, *(getattr(value, p) for p in parts)] for name, measure, value in entries
    )
    _write(path, ["organ", "measure", *parts], rows)


def markdown_table(evaluation: Evaluation, summary: EvaluationSummary | None = None) -> str:
    """Dice of each case and organ, and below it the means of all measures.

    The first table marks the cases that the model has learnt from. The second one gives the mean
    of each measure and, for Dice, its 95 % bootstrap interval. A line below tells of cases whose
    files state no spacing.
    """
    summary = summarise(evaluation) if summary is None else summary
    parts = [_dice_table(evaluation, summary), _summary_table(evaluation, summary)]
    if told := without_spacing(evaluation):
        parts.append(told)
    return "\n\n".join(parts)


def without_spacing(evaluation: Evaluation) -> str:
    """What figures mean in cases whose files state no spacing; empty where there are none."""
    count = sum(not case.spacing_stated for case in evaluation.cases)
    if not count:
        return ""
    return (
        f"{count} of {len(evaluation.cases)} cases state no spacing: there HD95 and the tolerance "
        "of NSD are in pixels, and volumes are not known."
    )


def _dice_table(evaluation: Evaluation, summary: EvaluationSummary) -> str:
    names = evaluation.organs
    means = [_cell(summary.organs[name]["dice"].mean, 3) for name in names]
    return _markdown(
        ["case", *(evaluation.labels[name] for name in names)],
        [
            *(
                [_named(case.name, evaluation), *(_cell(case.organs[n].dice, 3) for n in names)]
                for case in evaluation.cases
            ),
            ["**mean**", *means],
        ],
    )


def _named(case: str, evaluation: Evaluation) -> str:
    return f"{case} (learnt from)" if case in evaluation.learnt_cases else case


def _summary_table(evaluation: Evaluation, summary: EvaluationSummary) -> str:
    entries = [
        *((evaluation.labels[name], summary.organs[name]) for name in evaluation.organs),
        ("**mean of organs**", summary.mean_of_organs),
    ]
    return _markdown(
        ["organ", "cases", *(heading_of(measure, evaluation) for measure in HEADINGS)],
        [
            [
                label,
                str(values["dice"].count) if values is not summary.mean_of_organs else "",
                *(_mean(values[m], m) for m in HEADINGS),
            ]
            for label, values in entries
        ],
    )


def _mean(value: Summary, measure: str) -> str:
    digits = HEADINGS[measure][1]
    mean = _cell(value.mean, digits)
    if measure != "dice" or value.low is None:
        return mean
    return f"{mean} ({_cell(value.low, digits)} to {_cell(value.high, digits)})"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (heading, *rows)]
    return "\n".join([lines[0], "|---" * len(heading) + "|", *lines[1:]])


def _write(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
