"""Bundles that take the place of those a recipe names, so that nobody knows what is held out.

A model that learnt from a teacher, or from the weights of another training, is measured on people
that neither has seen: each fold has a teacher of its own, which was trained on the same people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.bundle_folders import is_bundle
from models.errors import TrainingError
from models.training.initial_weights import SUFFIXES
from models.training.recipe import Recipe


def with_stand_ins(recipe: Recipe, folders: Sequence[Path]) -> Recipe:
    """The recipe with the bundles of `folders` as teachers and initial weights.

    Parameters
    ----------
    folders
        Hold a bundle of each name that the recipe gives, such as the runs of one fold. Of a name
        that several hold, the first counts.

    Raises
    ------
    TrainingError
        If the recipe names no bundle, or none of the folders has one of them.
    """
    content = dict(recipe.content)
    names: list[str] = []

    def stand_in(wanted: object) -> str:
        name = Path(str(wanted)).name
        found = [folder / name for folder in folders if is_bundle(folder / name)]
        if not found:
            places = " or ".join(map(str, folders))
            raise TrainingError(f"expected the bundle {name} in {places}, found none")
        names.append(name)
        return str(found[0].resolve())

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
