"""What a recipe says, and how it is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from models.bundle_folders import find_bundle
from models.errors import TrainingError
from models.training.recipe import Recipe, configuration_errors
from tests.small_recipes import RECIPE, with_recipe

RUNNER = {"imports": ["$import models"], "run": ["$1"], "bundle_root": ".", "run_dir": "./run"}


def read(bundle: Bundle, **changes: Any) -> Recipe:
    return Recipe.read(with_recipe(bundle), changes=[changes])


def test_what_is_the_runners_is_left_out_and_stays_when_the_recipe_is_written(
    tiny_bundle: Bundle,
) -> None:
    recipe = Recipe.read(with_recipe(tiny_bundle, {**RUNNER, **RECIPE})).lasting("steps", 7)
    assert recipe.content.keys() == RECIPE.keys() - {"epochs"} | {"steps"}
    path = tiny_bundle.folder / "configs" / "train.json"
    recipe.write(path)
    written = json.loads(path.read_text())
    assert {key: written[key] for key in RUNNER} == RUNNER
    assert Recipe.read(tiny_bundle).content == recipe.content


def test_changes_reach_into_objects_and_replace_all_else(tiny_bundle: Bundle) -> None:
    recipe = read(tiny_bundle, optimiser={"name": "SGD"}, samples={"size": [8, 8, 8]}, seed=9)
    assert recipe.content["samples"] == {"kind": "patches", "size": [8, 8, 8], "per_case": 2}
    (stage,) = recipe.plan.stages
    assert (stage.optimiser.name, stage.optimiser.learning_rate) == ("SGD", 0.01)
    assert (recipe.seed, recipe.plan.seed) == (9, 9)


def test_another_file_takes_the_place_of_the_bundles_own(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"steps": 5}))
    assert Recipe.read(with_recipe(tiny_bundle), path).content == {"steps": 5}


@pytest.mark.parametrize(
    ("part", "key", "hint"),
    [
        ("data", "lables", "did you mean labels"),
        ("data", "folder", "known are layout, labels"),
        ("phantoms", "counts", "did you mean count"),
    ],
)
def test_a_key_that_nobody_looks_at_is_refused(
    part: str, key: str, hint: str, tiny_bundle: Bundle
) -> None:
    with pytest.raises(TrainingError, match=f"{part}: unknown key '{key}'; {hint}"):
        read(tiny_bundle, **{part: {key: 1}}).part(part)


def test_a_part_is_an_object_or_absent(tiny_bundle: Bundle) -> None:
    assert read(tiny_bundle).part("augmentation") == {}
    with pytest.raises(TrainingError, match="augmentation: expected an object, found 3"):
        read(tiny_bundle, augmentation=3).part("augmentation")


@pytest.mark.parametrize("seed", ["one", -1, 1.5, True])
def test_a_seed_is_a_whole_number(seed: object, tiny_bundle: Bundle) -> None:
    with pytest.raises(TrainingError, match="seed: expected a whole number"):
        _ = read(tiny_bundle, seed=seed).seed


def test_another_length_keeps_the_share_of_the_warm_up() -> None:
    """50 of UNETR's 1000 epochs: at 20 epochs the rate would otherwise never rise to its full."""
    recipe = Recipe.read(find_bundle("unetr_btcv"))
    assert recipe.plan.stages[0].schedule.warmup_epochs == 50
    for name, value in (("epochs", 20), ("steps", 100), ("minutes", 1.5)):
        (stage,) = recipe.lasting(name, value).plan.stages
        assert getattr(stage, name) == value
        assert stage.schedule.warmup == pytest.approx(0.05)
        assert stage.schedule.warmup_epochs is None


def test_another_length_holds_for_stages_with_warm_ups_of_their_own(tiny_bundle: Bundle) -> None:
    schedule = {"name": "warmup_cosine", "warmup_epochs": 2}
    stages = [{"name": "a", "epochs": 8, "schedule": schedule}, {"name": "b", "minutes": 3}]
    first, second = read(tiny_bundle, stages=stages).lasting("epochs", 4).plan.stages
    assert (first.epochs, first.schedule.warmup) == (4, 0.25)
    assert (second.epochs, second.minutes) == (4, None)


def test_another_length_holds_for_stages_that_inherit_their_warm_up(tiny_bundle: Bundle) -> None:
    schedule = {"name": "warmup_cosine", "warmup_epochs": 2}
    recipe = read(tiny_bundle, schedule=schedule, epochs=None, stages=[{"name": "a", "epochs": 8}])
    (stage,) = recipe.lasting("epochs", 2).plan.stages
    assert (stage.epochs, stage.schedule.warmup, stage.schedule.warmup_epochs) == (2, 0.25, None)


def test_a_warm_up_in_epochs_of_a_stage_in_steps_does_not_outlast_another_length(
    tiny_bundle: Bundle,
) -> None:
    schedule = {"name": "warmup_cosine", "warmup_epochs": 2}
    recipe = read(tiny_bundle, schedule=schedule, epochs=None, stages=[{"name": "a", "steps": 8}])
    (stage,) = recipe.lasting("steps", 2).plan.stages
    assert (stage.steps, stage.schedule.warmup_epochs) == (2, None)


def test_only_faults_of_settings_are_told_as_such() -> None:
    for fault in (KeyError("a"), TypeError("b"), ValueError("c")):
        with pytest.raises(TrainingError, match="incomplete or wrong"), configuration_errors():
            raise fault
    with pytest.raises(ZeroDivisionError), configuration_errors():
        raise ZeroDivisionError
