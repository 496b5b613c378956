"""A variant that is trained first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.bundle import Bundle
from models.errors import TrainingError
from models.training.data_access import DataAccess
from models.training.first_run import FirstRun
from models.training.pace import Progress
from models.training.recipe import Recipe
from models.training.recipe_run import run_recipe
from tests.small_recipes import RECIPE, with_recipe, write_pairs

FIRST = {"variant": "quick"}


@pytest.fixture
def bundle(tiny_bundle: Bundle) -> Bundle:
    """With a variant that has the same network and a recipe of one epoch."""
    return with_variant(with_recipe(tiny_bundle, {**RECIPE, "first": FIRST}))


def with_variant(bundle: Bundle, **change: Any) -> Bundle:
    folder = bundle.folder / "configs" / "variants"
    folder.mkdir(exist_ok=True)
    content = {"train": {"epochs": 1, "optimiser": {"learning_rate": 0.02}}, **change}
    (folder / "quick.json").write_text(json.dumps(content), encoding="utf-8")
    return bundle


def changed(bundle: Bundle, **changes: Any) -> Recipe:
    return Recipe.read(bundle, changes=[changes])


def run(recipe: Recipe, tmp_path: Path, **options: Any) -> Bundle:
    access = DataAccess(root=write_pairs(tmp_path / "pairs", "one", "two"), cache=tmp_path / "c")
    return run_recipe(recipe, access, tmp_path / "run", device=torch.device("cpu"), **options)


def test_the_bundle_starts_from_the_weights_of_the_first_run(
    bundle: Bundle, tmp_path: Path
) -> None:
    told: list[Progress] = []
    still = {"optimiser": {"learning_rate": 1e-12, "weight_decay": 0.0}}
    trained = run(
        changed(bundle, **still, first={"train": still}), tmp_path, on_progress=told.append
    )
    first = Bundle.read(tmp_path / "run" / "first" / "tiny_quick")
    # neither run moved its weights: the one's are the other's, and not drawn anew
    weights, start = load_file(trained.weights), load_file(first.weights)
    for name, value in start.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-6, msg=name)
    notes = trained.metadata["trained_on"]
    assert notes["initial_weights"] == {"name": "tiny_quick", "weights_sha256": first.sha256}
    assert notes["cases"] == notes["teacher_cases"] == ["one", "two"]
    assert (first.metadata["trained_on"]["epochs"], notes["epochs"]) == (1, 2)
    assert list(dict.fromkeys(p.stage for p in told)) == ["quick train", "train"]


def test_the_same_call_gives_the_same_again(bundle: Bundle, tmp_path: Path) -> None:
    recipe = changed(bundle)
    once = run(recipe, tmp_path)
    told: list[Progress] = []
    again = run(recipe, tmp_path, on_progress=told.append)
    assert again.sha256 == once.sha256
    assert told == []  # both runs were finished
    assert (
        again.metadata["trained_on"]["initial_weights"]
        == (once.metadata["trained_on"]["initial_weights"])
    )


def test_what_is_held_out_is_so_of_both_runs(bundle: Bundle, tmp_path: Path) -> None:
    access = DataAccess(
        root=write_pairs(tmp_path / "pairs", "one", "two"), cache=tmp_path / "c", exclude=["two"]
    )
    run_recipe(changed(bundle), access, tmp_path / "run", device=torch.device("cpu"))
    first = Bundle.read(tmp_path / "run" / "first" / "tiny_quick")
    assert first.metadata["trained_on"]["cases"] == ["one"]


def test_a_teacher_of_the_first_run_that_knows_what_is_held_out_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    teacher = run(changed(bundle, first=None), tmp_path)  # knows one and two
    train = {"distillation": {"teacher": f"{teacher.folder}/"}}
    recipe = changed(bundle, first={"train": train})
    access = DataAccess(root=tmp_path / "pairs", cache=tmp_path / "c", exclude=["two"])
    with pytest.raises(TrainingError, match="this run holds out: two;"):
        run_recipe(recipe, access, tmp_path / "other", device=torch.device("cpu"))


def test_its_recipe_is_the_one_of_this_training_under_the_variants_changes(
    bundle: Bundle, tmp_path: Path
) -> None:
    recipe = changed(bundle, seed=5, batch=2, first={"train": {"batch": 3}}).lasting("minutes", 7)
    first = FirstRun.of(recipe)
    assert first is not None
    content = first.recipe(recipe, tmp_path).content
    assert {key: content.get(key) for key in ("seed", "batch", "epochs", "minutes", "first")} == {
        "seed": 5,
        "batch": 3,
        "epochs": 1,  # a length of the command line is the bundle's own run's
        "minutes": None,
        "first": None,
    }
    assert content["optimiser"] == {"learning_rate": 0.02}


def test_initial_weights_take_its_place(bundle: Bundle, tmp_path: Path) -> None:
    assert FirstRun.of(changed(bundle, initial_weights="tiny")) is None
    assert FirstRun.of(changed(bundle, first=None)) is None
    run(changed(bundle, initial_weights="tiny"), tmp_path)
    assert not (tmp_path / "run" / "first").exists()


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ({"variant": 3}, "first.variant: expected the name of a variant, found 3"),
        ({"variants": "quick"}, "first: unknown key 'variants'; did you mean variant"),
        ({"variant": "quick", "part": ""}, "first.part: expected the name of a module, found ''"),
        ({"variant": "quick", "train": 3}, "first.train: expected an object, found 3"),
        ("quick", "first: expected an object, found 'quick'"),
    ],
)
def test_a_wrong_setting_is_told_before_the_data_are_looked_for(
    bundle: Bundle, tmp_path: Path, first: Any, told: str
) -> None:
    recipe = Recipe.read(with_recipe(bundle, {**RECIPE, "first": first}))
    access = DataAccess(root=tmp_path / "nowhere", cache=tmp_path)
    with pytest.raises(TrainingError, match=told):
        run_recipe(recipe, access, tmp_path / "run", device=torch.device("cpu"))


def test_a_variant_that_is_not_there_or_has_another_task_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    recipe = changed(bundle, first={"variant": "slow"})
    with pytest.raises(
        TrainingError, match="first: expected a variant of tiny: quick; found 'slow'"
    ):
        FirstRun.of(recipe).recipe(recipe, tmp_path)  # type: ignore[union-attr]
    with_variant(bundle, segments=["liver"])
    recipe = changed(bundle)
    with pytest.raises(TrainingError, match=r"first\.variant .quick.: expected the classes"):
        FirstRun.of(recipe).recipe(recipe, tmp_path)  # type: ignore[union-attr]


def test_a_part_that_is_not_there_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="initial_part: expected a module of the network"):
        run(changed(bundle, first={"part": "nowhere"}), tmp_path)
