"""From a recipe and its data to a trained bundle in the run's folder."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.bundle import Bundle
from models.data.cache import CachedCases
from models.training.cases import Case
from models.training.checkpoint import CASES, RECIPE
from models.training.data_access import DataAccess
from models.training.feed import Feed
from models.training.first_run import FIRST, FirstRun
from models.training.initial_weights import InitialWeights
from models.training.pace import Progress
from models.training.parallel import first_process, joined
from models.training.pseudo_labels import FilledCases, PseudoLabels, pseudo_labels_of
from models.training.recipe import Recipe
from models.training.recipe_data import RecipeData, read_data
from models.training.recipe_feed import feed_of
from models.training.run_folder import RunFolder
from models.training.session import TrainingResult
from models.training.teacher import cases_learnt, find_teachers, load_teacher, refuse_known
from models.training.trainer import train
from models.training.validation import Validator

#: Folder within a run's, for labels that a teacher made.
PSEUDO_LABELS = "pseudo_labels"


def run_recipe(
    recipe: Recipe,
    access: DataAccess,
    folder: Path,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
    beside: Path | None = None,
) -> Bundle:
    """Train a copy of a recipe's bundle in `folder`, going on where an earlier call stopped.

    Parameters
    ----------
    beside
        Folder that teachers and initial weights are looked for in by name, where it is not the one
        that holds the recipe's bundle: a variant is written elsewhere.

    Returns
    -------
    The trained bundle, `folder/<name>`.

    Raises
    ------
    TrainingError
        If the recipe, its data or the folder cannot be used.
    """
    _ = recipe.plan, FirstRun.of(recipe)  # a fault in them is told before the data are read
    sources = _sources(find_teachers(recipe, beside), InitialWeights.of(recipe, beside))
    refuse_known(sources, recipe, access.exclude)
    data = read_data(recipe, access)
    refuse_known(sources, recipe, data.excluded)  # a teacher may know a person by another name
    with joined(device):  # once, for all trainings that follow
        return train_on(recipe, data, folder, device=device, on_progress=on_progress, beside=beside)


def train_on(
    recipe: Recipe,
    data: RecipeData,
    folder: Path,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
    beside: Path | None = None,
) -> Bundle:
    """As `run_recipe`, on data that are there already."""
    bundle, plan = recipe.bundle, recipe.plan
    teachers = find_teachers(recipe, beside)
    initial = InitialWeights.of(recipe, beside)
    sources = _sources(teachers, initial)
    if sources:  # those of a `first` run too
        held_out = {n for c in data.validation for n in (c.name, c.patient)}
        refuse_known(sources, recipe, held_out | data.excluded)
    feed = feed_of(recipe, data)  # a fault of its settings is told before the cases are made
    cases = _look_at(data)
    first = FirstRun.of(recipe)
    if first is not None:
        initial = _train_first(
            first, recipe, data, folder, device=device, on_progress=on_progress, beside=beside
        )
    pseudo = pseudo_labels_of(recipe)
    if pseudo is not None:
        teacher = teachers[pseudo.teacher]
        data = _with_pseudo_labels(data, teacher, pseudo, folder / PSEUDO_LABELS, device)
        feed = feed_of(recipe, data)
    networks = {name: load_teacher(name, teachers[name], recipe) for name in plan.teachers}
    torch.manual_seed(plan.seed)  # the first weights
    network = bundle.build_network()
    if initial is not None:
        initial.load_into(network)
    network = bundle.as_volume_network(network)
    validate = Validator(bundle, data.validation, device) if len(data.validation) else None
    settings = {
        "model": bundle.name,
        "inference": bundle.inference,
        RECIPE: recipe.content,
        CASES: cases,
    }
    if teachers:  # their weights decide as much as the data do
        settings["teachers"] = {name: teacher.sha256 for name, teacher in teachers.items()}
    if initial is not None:
        settings["initial_weights"] = initial.sha256
    with RunFolder.open(folder, settings) as run:
        result = train(
            network,
            feed,
            plan,
            run,
            validate=validate,
            device=device,
            on_progress=on_progress,
            teachers=networks,
        )
        if not first_process():
            return bundle
        # not before: a call that fails leaves the result of an earlier one as it is
        copy = _copy(recipe, folder)
        state = _own_names(bundle, result.state)
        notes = _notes(result, feed, data) | _notes_of_others(teachers.values(), initial)
        return copy.save_weights(state, {"trained_on": notes})


def _train_first(
    first: FirstRun,
    recipe: Recipe,
    data: RecipeData,
    folder: Path,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None,
    beside: Path | None,
) -> InitialWeights:
    """What the recipe's own run starts from; arguments as of `train_on`."""

    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(replace(progress, stage=f"{first.variant} {progress.stage}"))

    with TemporaryDirectory(prefix="viscera-") as scratch:
        trained = train_on(
            first.recipe(recipe, Path(scratch)),
            data,
            folder / FIRST,
            device=device,
            on_progress=tell,
            beside=beside or recipe.bundle.folder.parent,
        )
    with joined(device) as processes:
        written = processes.of_first(trained)  # the others wait for it, and read the same file
    return InitialWeights.from_bundle(written, written.name, first.part)


def _look_at(data: RecipeData) -> dict[str, Any]:
    """Who validates, and the digest of every case by its name.

    All cases are read for that, and made where they are not kept yet, so that the fault of one is
    told before the first step, not when a validation comes to it hours later.
    """
    validation = {case.name: _digest_of(case) for case in data.validation}
    digests = dict(validation)
    for case in itertools.chain(data.training, data.synthetic):
        # several sources may have cases of one name
        digests[case.name] = digests.get(case.name, "") + _digest_of(case)
    return {"validation": list(validation), "sha256": digests}


def _digest_of(case: Case) -> str:
    """SHA-256 of all that a case teaches."""
    spacing_mm = [float(mm) for mm in case.spacing_mm]
    facts = (case.patient, spacing_mm, sorted(case.unlabelled), case.hu.shape)
    digest = hashlib.sha256(repr(facts).encode())
    for array in (case.hu, case.labels):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _with_pseudo_labels(
    data: RecipeData,
    teacher: Bundle,
    settings: PseudoLabels,
    folder: Path,
    device: torch.device,
) -> RecipeData:
    """The data with what the recipe's `pseudo_labels` add to its real cases."""
    filled = FilledCases(data.training, teacher, settings, folder, device)
    lazy = isinstance(data.training, CachedCases)  # else they are in memory, and may stay there
    return replace(data, training=filled if lazy else list(filled))


def _copy(recipe: Recipe, folder: Path) -> Bundle:
    """The bundle in the run's folder, with the recipe as it was followed."""
    bundle = recipe.bundle
    target = folder / bundle.name
    if target.resolve() != bundle.folder.resolve():
        for part in ("configs", "docs"):
            if (bundle.folder / part).is_dir():
                shutil.copytree(bundle.folder / part, target / part, dirs_exist_ok=True)
    recipe.write(target / "configs" / "train.json")
    return Bundle.read(target)


def _own_names(bundle: Bundle, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights by the names of the bundle's network, without a wrapper's prefix."""
    if bundle.dimensions == 3:
        return state
    return {name.removeprefix("network."): value for name, value in state.items()}


def _notes(result: TrainingResult, feed: Feed, data: RecipeData) -> dict[str, Any]:
    synthetic = {case.name for case in data.synthetic}
    return {
        "cases": [name for name in feed.cases if name not in synthetic],
        "phantoms": len(synthetic),
        "epochs": result.epochs,
        "steps": result.steps,
        "best_epoch": result.best_epoch,
        "best_value": round(result.best_value, 6),
        "best_by": "validation Dice" if len(data.validation) else "training loss",
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _sources(teachers: Mapping[str, Bundle], initial: InitialWeights | None) -> dict[str, Bundle]:
    """All bundles whose knowledge goes into a training."""
    if initial is None or initial.bundle is None:
        return dict(teachers)
    return {**teachers, initial.name: initial.bundle}


def _notes_of_others(teachers: Iterable[Bundle], initial: InitialWeights | None) -> dict[str, Any]:
    """What a bundle owes to others: their weights, and the cases that these know."""
    notes: dict[str, Any] = {}
    told = {teacher.sha256: teacher for teacher in teachers}
    known = {case for teacher in told.values() for case in cases_learnt(teacher)}
    if told:
        notes["teachers"] = [{"name": t.name, "weights_sha256": d} for d, t in told.items()]
    if initial is not None:
        notes["initial_weights"] = {
            "name": Path(initial.name).name,
            "weights_sha256": initial.sha256,
        }
        known |= set(cases_learnt(initial.bundle)) if initial.bundle else set()
    return {**notes, "teacher_cases": sorted(known)} if known else notes
