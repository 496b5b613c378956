"""Charts as values that the page draws: places in per cent, so that they fit any width."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.evaluation.axes import Axis, Tick, round_axis
from models.errors import TrainingError
from models.evaluation.measures import Evaluation, RocCurve

#: Colours of lines that belong to no organ, good on light and on dark.
BLUE, ORANGE, GREEN = "#3b82c4", "#d9792b", "#3a9d6a"
_CURVES = ("loss", "validation_loss", "validation_dice", "learning_rate")
_SHARE = Axis(low=0.0, high=1.0, step=0.2)


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One case: place along the axis and across the row in per cent, and what it is."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class StripRow:
    """One organ: a dot a case, and a box from the first to the third quartile."""

    label: str
    colour: str
    dots: tuple[Dot, ...]
    quartiles: tuple[float, float, float]
    median: str


@dataclass(frozen=True, kw_only=True)
class StripPlot:
    """Organs below one another on one axis."""

    rows: tuple[StripRow, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line: its points are `x,y` in per cent of the plot from its upper left corner."""

    label: str
    colour: str
    points: str


@dataclass(frozen=True, kw_only=True)
class LinePlot:
    """Lines on common axes; `marks` are upright lines with a text, `diagonal` that of chance."""

    title: str
    x_title: str
    y_title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...] = ()
    diagonal: bool = False
    legend: bool = True


def css_colour(rgb: Sequence[int]) -> str:
    """`#rrggbb`."""
    red, green, blue = (int(value) for value in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


def dice_strips(evaluation: Evaluation) -> StripPlot:
    """Dice of every case by organ; organs that no case has are left out."""
    known = {
        name: [
            (case.name, dice)
            for case in evaluation.cases
            if (dice := case.organs[name].dice) is not None
        ]
        for name in evaluation.organs
    }
    lowest = min((dice for cases in known.values() for _, dice in cases), default=0.0)
    low = min(0.8, math.floor(lowest * 5) / 5)
    axis = Axis(low=low, high=1.0, step=0.05 if low > 0.7 else 0.1 if low > 0.5 else 0.2)
    rows = tuple(_strip(evaluation, name, cases, axis) for name, cases in known.items() if cases)
    return StripPlot(rows=rows, ticks=axis.ticks)


def _strip(
    evaluation: Evaluation, name: str, cases: Sequence[tuple[str, float]], axis: Axis
) -> StripRow:
    first, median, third = np.quantile([dice for _, dice in cases], (0.25, 0.5, 0.75))
    return StripRow(
        label=evaluation.labels[name],
        colour=css_colour(evaluation.rgb[name]),
        dots=tuple(
            # spread across the row by the golden ratio: even, and the same every time
            Dot(x=axis.place(dice), y=round(22 + 56 * (n * 0.618 % 1)), text=f"{case}: {dice:.3f}")
            for n, (case, dice) in enumerate(cases)
        ),
        quartiles=(axis.place(first), axis.place(median), axis.place(third)),
        median=f"{median:.3f}",
    )


def roc_plots(evaluation: Evaluation) -> list[LinePlot]:
    """ROC curves of all organs, whole and where it matters; none where no scores were at hand."""
    if not evaluation.roc:
        return []
    near = Axis(low=0.0, high=0.05, step=0.01)
    return [
        _roc_plot(evaluation, "Whole curves", _SHARE),
        _roc_plot(evaluation, "Up to 5 % false positives", near),
    ]


def _roc_plot(evaluation: Evaluation, title: str, x_axis: Axis) -> LinePlot:
    lines = tuple(
        Line(
            label=f"{evaluation.labels[name]}, AUC {curve.auc:.4f}",
            colour=css_colour(evaluation.rgb[name]),
            points=_points(_up_to(curve, x_axis.high), x_axis, _SHARE),
        )
        for name in evaluation.organs
        if (curve := evaluation.roc.get(name)) is not None
    )
    return LinePlot(
        title=title,
        x_title="False positive rate",
        y_title="True positive rate",
        lines=lines,
        x_ticks=x_axis.ticks,
        y_ticks=_SHARE.ticks,
        diagonal=x_axis is _SHARE,
        legend=x_axis is _SHARE,
    )


def _up_to(curve: RocCurve, limit: float) -> list[tuple[float, float]]:
    """Points of a curve up to a false positive rate, and the one on it."""
    x, y = curve.false_positive_rate, curve.true_positive_rate
    inside = x <= limit
    end = (limit, float(np.interp(limit, x, y)))
    return [*zip(x[inside].tolist(), y[inside].tolist(), strict=True), end]


def training_plots(path: Path) -> list[LinePlot]:
    """Loss, validation Dice and learning rate of a run's `curves.csv`, over its epochs.

    Raises
    ------
    TrainingError
        If the file is not there or not such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            rows = list(table)
        if missing := {"stage", *_CURVES}.difference(table.fieldnames or ()):
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        stages = [row["stage"] for row in rows]
        columns = {
            name: [math.nan if row[name] == "" else float(row[name]) for row in rows]
            for name in _CURVES
        }
    except (OSError, ValueError, TypeError) as exc:  # TypeError: a row that is too short
        raise TrainingError(f"expected learning curves in {path}, found {exc!r}") from exc
    validated = ("Validation", columns["validation_loss"], ORANGE)
    plots = (
        _training_plot("Loss", (("Training", columns["loss"], BLUE), validated), stages),
        _training_plot("Validation Dice", (("Dice", columns["validation_dice"], GREEN),), stages),
        _training_plot("Learning rate", (("Rate", columns["learning_rate"], BLUE),), stages),
    )
    return [plot for plot in plots if plot is not None]


def _training_plot(
    title: str, columns: Sequence[tuple[str, list[float], str]], stages: Sequence[str]
) -> LinePlot | None:
    """A plot over epochs, counted on through the stages; None where nothing was measured."""
    values = [value for _, column, _ in columns for value in column]
    if not any(map(math.isfinite, values)):
        return None
    y_axis = _SHARE if title.endswith("Dice") else round_axis(values)
    x_axis = round_axis([len(stages)])
    lines = (
        Line(label=label, colour=colour, points=_points(enumerate(column, 1), x_axis, y_axis))
        for label, column, colour in columns
    )
    starts = [n for n in range(len(stages)) if n == 0 or stages[n] != stages[n - 1]]
    marks = [Tick(place=x_axis.place(n), text=stages[n]) for n in starts] if starts[1:] else []
    return LinePlot(
        title=title,
        x_title="Epoch",
        y_title=title,
        lines=tuple(line for line in lines if line.points),
        x_ticks=x_axis.ticks,
        y_ticks=y_axis.ticks,
        marks=tuple(marks),
        legend=len(columns) > 1,
    )


def _points(pairs: Iterable[tuple[float, float]], x_axis: Axis, y_axis: Axis) -> str:
    """Points from the upper left corner; a single one is given twice, for a line of no length."""
    places = [
        f"{x_axis.place(x):g},{round(100 - y_axis.place(y), 2):g}"
        for x, y in pairs
        if math.isfinite(y)
    ]
    return " ".join(places * 2 if len(places) == 1 else places)
