"""From a recipe and its data to a trained bundle in the run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.bundle import Bundle
from models.training.feed import Feed
from models.training.pace import Progress
from models.training.parallel import first_process
from models.training.recipe import Recipe
from models.training.recipe_data import DataAccess, RecipeData, read_data
from models.training.recipe_feed import feed_of
from models.training.run_folder import RunFolder
from models.training.session import TrainingResult
from models.training.trainer import train
from models.training.validation import Validator


def run_recipe(
    recipe: Recipe,
    access: DataAccess,
    folder: Path,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
) -> Bundle:
    """Train a copy of a recipe's bundle in `folder`, going on where an earlier call stopped.

    Returns
    -------
    The trained bundle, `folder/<name>`.

    Raises
    ------
    TrainingError
        If the recipe, its data or the folder cannot be used.
    """
    data = read_data(recipe, access)
    return train_on(recipe, data, folder, device=device, on_progress=on_progress)


def train_on(
    recipe: Recipe,
    data: RecipeData,
    folder: Path,
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
) -> Bundle:
    """As `run_recipe`, on data that are there already."""
    bundle, plan = recipe.bundle, recipe.plan
    feed = feed_of(recipe, data)
    torch.manual_seed(plan.seed)  # the first weights
    network = bundle.as_volume_network(bundle.build_network())
    validate = Validator(bundle, data.validation, device) if len(data.validation) else None
    settings = {"model": bundle.name, "inference": bundle.inference, "train": recipe.content}
    with RunFolder.open(folder, settings) as run:
        copy = _copy(bundle, folder)
        result = train(
            network, feed, plan, run, validate=validate, device=device, on_progress=on_progress
        )
        if not first_process():
            return copy
        state = _own_names(network, bundle, result.state)
        return copy.save_weights(state, {"trained_on": _notes(result, feed, data)})


def _copy(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle in the run's folder, to which the weights go."""
    target = folder / bundle.name
    if first_process() and target.resolve() != bundle.folder.resolve():
        for part in ("configs", "docs"):
            if (bundle.folder / part).is_dir():
                shutil.copytree(bundle.folder / part, target / part, dirs_exist_ok=True)
        return Bundle.read(target)
    return bundle


def _own_names(
    network: nn.Module, bundle: Bundle, state: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
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
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
