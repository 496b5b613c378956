"""`viscera evaluate`: figures of a model on labelled cases, and a report for people."""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from app.learning.access import data_access, read_recipe
from app.learning.report_writer import ReportWriter
from models.errors import TrainingError
from models.evaluation.evaluator import Evaluator
from models.evaluation.measures import Evaluation
from models.evaluation.tables import markdown_table
from models.precision import choose_device
from models.segmenter import Segmenter
from models.training.cases import Case, folds
from models.training.data_access import DataAccess
from models.training.recipe import Recipe
from models.training.recipe_data import CasesOnTheirGrids, RecipeData, people_of, read_data
from models.training.recipe_run import run_recipe
from models.training.stand_ins import with_stand_ins
from models.training.teacher import cases_learnt

log = logging.getLogger(__name__)


def run_evaluation(parsed: argparse.Namespace) -> int:
    """Measure a model or, with `--folds`, train and measure leaving patients out."""
    recipe = read_recipe(parsed)
    with TemporaryDirectory(prefix="viscera-") as scratch:
        own = parsed.run / "cache" if parsed.folds is not None and parsed.run else Path(scratch)
        access = data_access(recipe, parsed, parsed.cache or own)
        writer = ReportWriter(recipe.bundle, parsed.output, parsed.scenes)
        if parsed.folds is not None:
            evaluation = _leave_patients_out(recipe, access, parsed, writer)
        else:
            evaluation = _measure(recipe, access, parsed, writer)
    _tell_what_was_measured(evaluation)
    print(markdown_table(evaluation))
    if parsed.output is not None:
        # of folds, each has curves of its own, and those of the bundle's run are of none of them
        own = None if parsed.folds is not None else recipe.bundle.folder.parent / "curves.csv"
        page = writer.finish(evaluation, curves=own)
        print(f"\nreport: {page}")
    return 0


def _measure(
    recipe: Recipe, access: DataAccess, parsed: argparse.Namespace, writer: ReportWriter
) -> Evaluation:
    data = read_data(recipe, access, on_own_grid=True)
    part = parsed.part
    if part == "auto":
        part = part_to_measure(data, set(cases_learnt(recipe.bundle)))
    cases = cases_of(data, part)
    segmenter = Segmenter(recipe.bundle, parsed.device)
    evaluator = Evaluator(recipe.bundle, parsed.nsd_tolerance_mm)
    _evaluate(evaluator, segmenter, cases, writer)
    return evaluator.evaluation()


def part_to_measure(data: RecipeData, learnt: set[str]) -> str:
    """What `--part auto` takes: what training left out, which is all of a data set never learnt.

    Whose weights do not say what they learnt from, as those of other programs, are measured on all.
    """
    if not len(data.validation):
        return "training"
    if not learnt:
        count = len(data.validation) + len(data.training)
        print(
            f"All {count} cases; what these weights learnt from is not known "
            "(--part validation takes those that the recipe would leave out).\n"
        )
        return "all"
    if learnt.isdisjoint(_names(data.training)):
        return "all"
    some, count = len(data.validation), len(data.validation) + len(data.training)
    print(f"{some} of {count} cases, those that training leaves out (--part all takes all).\n")
    return "validation"


def _names(cases: Sequence[Case]) -> Sequence[str]:
    """Names without reading the cases, where that would take long."""
    if isinstance(cases, CasesOnTheirGrids):
        return cases.names
    return [case.name for case in cases]


def cases_of(data: RecipeData, part: str) -> Iterable[Case]:
    """The cases of a part of the data.

    Raises
    ------
    TrainingError
        If there are none.
    """
    parts: dict[str, Sequence[Sequence[Case]]] = {
        "training": [data.training],
        "validation": [data.validation],
        "all": [data.training, data.validation],
    }
    if not any(len(cases) for cases in parts[part]):
        kind = "" if part == "all" else f" for {part}"
        raise TrainingError(f"expected at least one case to evaluate{kind}, found none")
    return itertools.chain.from_iterable(map(_each, parts[part]))


def _each(cases: Sequence[Case]) -> Iterator[Case]:
    """One after the other, so that only one is in memory."""
    for index in range(len(cases)):
        yield cases[index]


def _evaluate(
    evaluator: Evaluator, segmenter: Segmenter, cases: Iterable[Case], writer: ReportWriter
) -> None:
    """Measure cases and show them to the report."""
    for case in cases:
        labels, measures = evaluator.segment(segmenter, case)
        writer.add(case, labels, measures)


def _tell_what_was_measured(evaluation: Evaluation) -> None:
    if evaluation.note:
        print(f"{evaluation.model}: {evaluation.note}\n")
    learnt = len(evaluation.learnt_cases)
    if learnt:
        print(f"Learnt from {learnt} of these cases: figures of them tell nothing of others.\n")


def _leave_patients_out(
    recipe: Recipe, access: DataAccess, parsed: argparse.Namespace, writer: ReportWriter
) -> Evaluation:
    """Train once per fold without its patients and measure on them alone.

    The figures are of none but the folds' networks, so neither the weights nor the version of the
    recipe's bundle is named.
    """
    if parsed.run is None:
        raise TrainingError("--folds needs --run FOLDER for the folds' checkpoints")
    evaluator = Evaluator(recipe.bundle, parsed.nsd_tolerance_mm)
    held_out = folds(people_of(recipe, access), parsed.folds)
    for number, patients in enumerate(held_out):
        log.info("fold %d holds out %s", number, ", ".join(patients))
        name = f"fold{number}"
        known = [run / name for run in parsed.teachers]
        own = with_stand_ins(recipe, known) if known else recipe
        without = replace(access, exclude=[*access.exclude, *patients], only=())
        device = choose_device(parsed.device)
        trained = run_recipe(own, without, parsed.run / name, device=device)
        data = read_data(recipe, replace(access, only=patients), on_own_grid=True)
        _evaluate(evaluator, Segmenter(trained, parsed.device), cases_of(data, "all"), writer)
    note = f"{len(held_out)} networks, each without its patients"
    return replace(evaluator.evaluation(), version="", sha256="", note=note)
