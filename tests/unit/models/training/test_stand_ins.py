"""Teachers of a fold in place of those that a recipe names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.errors import TrainingError
from models.training.recipe import Recipe
from models.training.stand_ins import with_stand_ins


def recipe_of(bundle: Bundle, **content: object) -> Recipe:
    return Recipe(bundle=bundle, content=content)


def test_every_bundle_that_a_recipe_names_is_replaced(tiny_bundle: Bundle) -> None:
    folder, name = tiny_bundle.folder.parent, tiny_bundle.folder.name
    recipe = recipe_of(
        tiny_bundle,
        distillation={"teacher": name, "weight": 0.3},
        pseudo_labels={"teacher": f"./elsewhere/{name}"},
        stages=[{"name": "a"}, {"name": "b", "distillation": {"teacher": name}}],
        initial_weights=name,
        steps=4,
    )
    place = str(tiny_bundle.folder.resolve())
    changed = with_stand_ins(recipe, [folder]).content
    assert changed == {
        "distillation": {"teacher": place, "weight": 0.3},
        "pseudo_labels": {"teacher": place},
        "stages": [{"name": "a"}, {"name": "b", "distillation": {"teacher": place}}],
        "initial_weights": place,
        "steps": 4,
    }
    assert recipe.content["distillation"] == {"teacher": name, "weight": 0.3}


def test_bundles_that_a_first_run_names_are_replaced_too(tiny_bundle: Bundle) -> None:
    train = {"distillation": {"teacher": "tiny"}, "initial_weights": "tiny", "steps": 3}
    recipe = recipe_of(tiny_bundle, first={"variant": "quick", "train": train})
    place = str(tiny_bundle.folder.resolve())
    assert with_stand_ins(recipe, [tiny_bundle.folder.parent]).content["first"] == {
        "variant": "quick",
        "train": {"distillation": {"teacher": place}, "initial_weights": place, "steps": 3},
    }


def test_a_folder_without_the_bundle_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    recipe = recipe_of(tiny_bundle, distillation={"teacher": "tiny"})
    with pytest.raises(TrainingError, match=r"the bundle tiny in .*nowhere or .*, found none"):
        with_stand_ins(recipe, [tmp_path / "nowhere", tmp_path / "here"])


def test_a_recipe_that_learns_from_nobody_is_refused(tiny_bundle: Bundle) -> None:
    recipe = recipe_of(tiny_bundle, initial_weights="some.pth", steps=3)
    with pytest.raises(TrainingError, match="expected a teacher in its recipe, found none"):
        with_stand_ins(recipe, [tiny_bundle.folder.parent])


def test_teachers_and_initial_weights_may_lie_in_runs_of_their_own(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """A student goes on from its own folds, and learns from those of another model."""
    teachers, students = tmp_path / "teachers", tmp_path / "students"
    for folder in (teachers / "big", students / "big", students / "tiny"):
        shutil.copytree(tiny_bundle.folder, folder)
    recipe = recipe_of(tiny_bundle, distillation={"teacher": "big"}, initial_weights="tiny")
    changed = with_stand_ins(recipe, [teachers, students]).content
    assert changed["distillation"] == {"teacher": str((teachers / "big").resolve())}
    assert changed["initial_weights"] == str((students / "tiny").resolve())
