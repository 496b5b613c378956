"""One page that shows what a model is worth."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.evaluation.charts import css_colour, dice_strips, roc_plots, training_plots
from app.evaluation.pictures import CasePicture
from app.evaluation.scenes import CaseScene
from app.evaluation.tables import (
    by_worst,
    case_tables,
    confusion_table,
    interval,
    mean_dice,
    number,
    summary_tables,
    worst_tables,
)
from models.evaluation.measures import Evaluation
from models.evaluation.summary import EvaluationSummary, summarise
from models.evaluation.tables import without_spacing
from operators.organ_volumes import NOTICE
from operators.outputs import atomic_write, make_folder
from operators.product import product_version

#: Name of the page in its folder.
REPORT = "report.html"


def write_report(
    evaluation: Evaluation,
    folder: Path,
    *,
    summary: EvaluationSummary | None = None,
    curves: Path | None = None,
    pictures: Sequence[CasePicture] = (),
    scenes: Sequence[CaseScene] = (),
    not_rendered: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html`: all in one file, without scripts, and nothing is fetched to show it.

    Parameters
    ----------
    summary
        Of the evaluation; None to make it.
    curves
        `curves.csv` of the training run.
    pictures, scenes
        Of some or all of the cases; on the page the worst come first. What a scene refers to
        lies in `folder`.
    not_rendered
        Why a case has no scene, by its name.

    Returns
    -------
    The page's path.

    Raises
    ------
    TrainingError
        If `curves` is no such file.
    OutputError
        If the page cannot be written.
    """
    page = render_report(
        evaluation,
        summarise(evaluation) if summary is None else summary,
        curves=curves,
        pictures=pictures,
        scenes=scenes,
        not_rendered=not_rendered,
    )
    make_folder(folder)
    path = folder / REPORT
    with atomic_write(path) as stream:
        stream.write(page.encode())
    return path


def render_report(
    evaluation: Evaluation,
    summary: EvaluationSummary,
    *,
    curves: Path | None = None,
    pictures: Sequence[CasePicture] = (),
    scenes: Sequence[CaseScene] = (),
    not_rendered: Mapping[str, str] | None = None,
) -> str:
    """The page's text, the same every time; for the parameters see `write_report`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of cases and organs come from files
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        notice=NOTICE,
        product_version=product_version(),
        evaluation=evaluation,
        facts=_facts(evaluation, summary),
        tolerances=_tolerances(evaluation),
        without_spacing=without_spacing(evaluation),
        summaries=summary_tables(evaluation, summary),
        strips=dice_strips(evaluation),
        worst=worst_tables(evaluation),
        cases=case_tables(evaluation),
        confusion=confusion_table(evaluation),
        roc=roc_plots(evaluation),
        training=[] if curves is None else training_plots(curves),
        organs=[
            (evaluation.labels[name], css_colour(evaluation.rgb[name]))
            for name in evaluation.organs
        ],
        pictures=_by_worst(pictures, evaluation),
        scenes=_by_worst(scenes, evaluation),
        not_rendered=not_rendered or {},
        chips={case.name: _chips(case, evaluation) for case in evaluation.cases},
        data_uri=_data_uri,
        link=quote,
    )


def _facts(evaluation: Evaluation, summary: EvaluationSummary) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value, and what is small below it."""
    dice, distance = summary.mean_of_organs["dice"], summary.mean_of_organs["hd95_mm"]
    accuracy = summary.pixel_accuracy
    patients = len({case.patient for case in evaluation.cases})
    return [
        ("Mean Dice of organs", number(dice.mean, "dice"), interval(dice, "dice")),
        (
            "Mean HD95",
            f"{number(distance.mean, 'hd95_mm')} {evaluation.unit}",
            interval(distance, "hd95_mm"),
        ),
        ("Pixel accuracy", number(accuracy.mean, "accuracy"), interval(accuracy, "accuracy")),
        ("Cases", str(len(evaluation.cases)), f"of {patients} patient{'s' * (patients != 1)}"),
    ]


def _tolerances(evaluation: Evaluation) -> str:
    """The tolerance of the surface distance, and that of organs with another."""
    others = ", ".join(
        f"{evaluation.labels.get(name, name)} {mm:g} {evaluation.unit}"
        for name, mm in evaluation.organ_tolerances_mm.items()
    )
    return f"{evaluation.nsd_tolerance_mm:g} {evaluation.unit}" + (f" ({others})" if others else "")


def _by_worst(entries: Sequence[Any], evaluation: Evaluation) -> list[Any]:
    """Pictures or scenes in the order of their cases' mean Dice, the worst first."""
    places = {case.name: place for place, case in enumerate(by_worst(evaluation.cases))}
    return sorted(entries, key=lambda entry: places.get(entry.case, len(places)))


def _chips(case: Any, evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Dice of each organ of a case for people: label, colour, number; the mean first."""
    organs = [
        (
            evaluation.labels[name],
            css_colour(evaluation.rgb[name]),
            number(case.organs[name].dice, "dice"),
        )
        for name in evaluation.organs
        if case.organs[name].dice is not None
    ]
    return [("Mean Dice", "", number(mean_dice(case), "dice")), *organs]


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
