"""From a recipe to a trained bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.data.nifti import open_nifti, write_nifti
from models.errors import TrainingError
from models.training.data_access import DataAccess
from models.training.pace import Progress
from models.training.recipe import Recipe
from models.training.recipe_data import read_data
from models.training.recipe_run import run_recipe
from tests.small_recipes import RECIPE, of_slices, with_recipe, write_pairs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), "one", "two")


@pytest.fixture
def train(folder: Path, tmp_path: Path) -> Any:
    def run(bundle: Bundle, **changes: Any) -> Bundle:
        recipe = Recipe.read(with_recipe(bundle), changes=[changes])
        access = DataAccess(root=folder, cache=tmp_path / "cache")
        return run_recipe(recipe, access, tmp_path / "run", device=CPU)

    return run


def test_the_copy_holds_weights_recipe_and_where_they_come_from(
    train: Any, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    with_recipe(tiny_bundle)
    before = {p: p.read_bytes() for p in tiny_bundle.folder.rglob("*") if p.is_file()}
    trained = train(tiny_bundle, data={"validation_share": 0.5})
    assert trained.folder == tmp_path / "run" / "tiny"
    assert trained.load_network() is not None
    notes = trained.metadata["trained_on"]
    assert (len(notes["cases"]), notes["phantoms"]) == (1, 0)
    assert (notes["epochs"], notes["steps"], notes["best_by"]) == (2, 4, "validation Dice")
    assert 1 <= notes["best_epoch"] <= 2
    # what it is evaluated with is what it was trained with
    assert Recipe.read(trained).content["data"]["validation_share"] == 0.5
    assert {path: path.read_bytes() for path in before} == before


def test_without_validation_the_loss_decides(train: Any, tiny_bundle: Bundle) -> None:
    notes = train(tiny_bundle).metadata["trained_on"]
    assert notes["cases"] == ["one", "two"]
    assert notes["best_by"] == "training loss"
    rows = (tiny_bundle.folder.parent / "run" / "curves.csv").read_text().splitlines()[1:]
    assert notes["best_value"] == pytest.approx(min(float(r.split(",")[4]) for r in rows), 1e-6)


def test_weights_of_slices_have_the_names_of_the_bundles_own_network(
    folder: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """The trainer's network hands slices on, and its names begin with another word."""
    bundle = of_slices(tiny_bundle)
    recipe = {**RECIPE, "samples": {"kind": "slices"}, "batch": 8, "epochs": 1}
    recipe["data"] = {**recipe["data"], "validation_share": 0.5}
    trained = run_recipe(
        Recipe.read(with_recipe(bundle, recipe)),
        DataAccess(root=folder, cache=tmp_path / "cache"),
        tmp_path / "run",
        device=CPU,
    )
    assert trained.dimensions == 2
    network = trained.load_network()
    assert network(torch.zeros(1, 1, 3, 32, 32)).shape == (1, 4, 3, 32, 32)


def test_what_fails_leaves_an_earlier_result_as_it_is(
    train: Any, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    trained = train(tiny_bundle)
    with pytest.raises(TrainingError, match=r"batch was 1, is now 2.*name another folder"):
        train(tiny_bundle, batch=2)
    again = Bundle.read(tmp_path / "run" / "tiny")
    assert again.sha256 == trained.sha256
    assert again.load_network() is not None


def test_a_bundle_trains_in_the_folder_that_it_lies_in(
    folder: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    recipe = Recipe.read(with_recipe(tiny_bundle))
    access = DataAccess(root=folder, cache=tmp_path / "cache")
    trained = run_recipe(recipe, access, tiny_bundle.folder.parent, device=CPU)
    assert trained.folder == tiny_bundle.folder
    assert trained.sha256 != tiny_bundle.sha256


def test_a_fault_of_the_plan_is_told_before_the_data_are_looked_for(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    recipe = Recipe.read(with_recipe(tiny_bundle), changes=[{"batches": 2}])
    access = DataAccess(root=tmp_path / "nowhere", cache=tmp_path)
    with pytest.raises(TrainingError, match="unknown key 'batches'"):
        run_recipe(recipe, access, tmp_path / "run", device=CPU)
    assert not (tmp_path / "run").exists()


def test_the_settings_of_the_run_are_on_record(train: Any, tiny_bundle: Bundle) -> None:
    train(tiny_bundle, amp="bf16")
    config = json.loads((tiny_bundle.folder.parent / "run" / "config.json").read_text())
    assert config["settings"]["model"] == "tiny"
    assert config["settings"]["train"] == {**RECIPE, "amp": "bf16"}
    assert config["cases"] == ["one", "two"]


def test_a_run_is_not_taken_up_with_other_labels_or_another_validation_set(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    names = ("a", "b", "c", "d")
    bundle, pairs = with_recipe(tiny_bundle), write_pairs(tmp_path, *names)
    half = [{"data": {"validation_share": 0.5}}]

    def run(**options: Any) -> Bundle:
        access = DataAccess(root=pairs, cache=tmp_path / "cache", **options)
        return run_recipe(Recipe.read(bundle, changes=half), access, tmp_path / "run", device=CPU)

    trained = run()
    held_out = sorted(set(names) - set(trained.metadata["trained_on"]["cases"]))
    assert len(held_out) == 2
    first, second = held_out
    told = rf"validation cases was {first}, {second}, is now {second}; name another folder"
    with pytest.raises(TrainingError, match=told):
        run(exclude=[first])
    assert run().sha256 == trained.sha256
    exchanged = {6: 1, 3: 3, 2: 2, 1: 6}
    write_pairs(tmp_path, *names, values=exchanged)
    told = "another run: image or labels are not as they were in [abcd], [abcd], [abcd], [abcd];"
    with pytest.raises(TrainingError, match=told):
        run()
    write_pairs(tmp_path, *names)
    assert run().sha256 == trained.sha256


def test_faults_of_validation_cases_are_told_before_the_first_step(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    pairs = write_pairs(tmp_path, "a", "b")
    changes = [{"data": {"validation_share": 0.5}, "validate_every_epochs": 2}]
    recipe = Recipe.read(with_recipe(tiny_bundle), changes=changes)
    access = DataAccess(root=pairs, cache=tmp_path / "cache")
    (case,) = read_data(recipe, access, on_own_grid=True).validation
    file = open_nifti(pairs / f"{case.name}_label.nii.gz")
    labels = np.array(file.read())
    labels[0, 0, 0] = 77
    write_nifti(labels, file.geometry, pairs / f"{case.name}_label.nii.gz")
    steps: list[Progress] = []
    with pytest.raises(TrainingError, match="77"):
        run_recipe(recipe, access, tmp_path / "run", device=CPU, on_progress=steps.append)
    assert steps == []
