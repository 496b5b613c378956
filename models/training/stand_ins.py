"""Bundles that take the place of those a recipe names, so that nobody knows what is held out.

A model that learnt from a teacher, or from the weights of another training, is measured on people
that neither has seen: each fold has a teacher of its own, which was trained on the same people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.bundle_folders import is_bundle
from models.errors import TrainingError
from models.training.initial_weights import SUFFIXES
from models.training.recipe import Recipe


def with_stand_ins(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the bundles of `folder` as teachers and initial weights.

    Parameters
    ----------
    folder
        Has a bundle of each name that the recipe gives, such as the run of one fold.

    Raises
    ------
    TrainingError
        If the recipe names no bundle, or the folder lacks one.
    """
    content = dict(recipe.content)
    names: list[str] = []

    def stand_in(wanted: object) -> str:
        name = Path(str(wanted)).name
        if not is_bundle(folder / name):
            raise TrainingError(f"expected the bundle {name} in {folder}, found none")
        names.append(name)
        return str((folder / name).resolve())

    def taught(entry: Mapping[str, Any], part: str) -> dict[str, Any]:
        settings = entry.get(part)
        if not isinstance(settings, Mapping) or "teacher" not in settings:
            return dict(entry)
        return {**entry, part: {**settings, "teacher": stand_in(settings["teacher"])}}

    for part in ("distillation", "pseudo_labels"):
        content = taught(content, part)
    if isinstance(content.get("stages"), list):
        content["stages"] = [
            taught(stage, "distillation") if isinstance(stage, Mapping) else stage
            for stage in content["stages"]
        ]
    initial = content.get("initial_weights")
    if initial is not None and not str(initial).endswith(SUFFIXES):
        content["initial_weights"] = stand_in(initial)
    if not names:
        raise TrainingError(f"{recipe.bundle.name}: expected a teacher in its recipe, found none")
    return replace(recipe, content=content)
