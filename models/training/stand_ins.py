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
    changes = _StandIns(folders)
    content = changes.within(recipe.content)
    first = content.get("first")
    if isinstance(first, Mapping) and isinstance(first.get("train"), Mapping):
        content["first"] = {**first, "train": changes.within(first["train"])}
    if not changes.made:
        raise TrainingError(f"{recipe.bundle.name}: expected a teacher in its recipe, found none")
    return replace(recipe, content=content)


class _StandIns:
    """Changes recipes, and counts the names that it has replaced."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.made = 0
        self._folders = folders

    def within(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        content = dict(recipe)
        for part in ("distillation", "pseudo_labels"):
            content = self._taught(content, part)
        if isinstance(content.get("stages"), list):
            content["stages"] = [
                self._taught(stage, "distillation") if isinstance(stage, Mapping) else stage
                for stage in content["stages"]
            ]
        initial = content.get("initial_weights")
        if initial is not None and not str(initial).endswith(SUFFIXES):
            content["initial_weights"] = self._of(initial)
        return content

    def _taught(self, entry: Mapping[str, Any], part: str) -> dict[str, Any]:
        settings = entry.get(part)
        if not isinstance(settings, Mapping) or "teacher" not in settings:
            return dict(entry)
        return {**entry, part: {**settings, "teacher": self._of(settings["teacher"])}}

    def _of(self, wanted: object) -> str:
        name = Path(str(wanted)).name
        found = [folder / name for folder in self._folders if is_bundle(folder / name)]
        if not found:
            places = " or ".join(map(str, self._folders))
            raise TrainingError(f"expected the bundle {name} in {places}, found none")
        self.made += 1
        return str(found[0].resolve())
