"""Which cases `viscera evaluate` measures, and what it says."""

from __future__ import annotations

import csv
import gc
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from app.learning.evaluation import cases_of, part_to_measure
from models.bundle import Bundle
from models.errors import TrainingError
from models.training.cases import Case
from models.training.data_access import DataAccess
from models.training.recipe import Recipe
from models.training.recipe_data import RecipeData, read_data
from tests.small_recipes import LIVER_VOXELS, RECIPE, SPACING_MM, with_recipe, write_pairs


class Reading(Sequence[Case]):
    """Makes a case whenever it is asked for, and knows how many there are at a time."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.alive: weakref.WeakSet[Case] = weakref.WeakSet()
        self.most = 0

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        case = Case(
            name=self.names[index],
            patient=self.names[index],
            hu=np.zeros((1, 1, 1), np.int16),
            labels=np.zeros((1, 1, 1), np.uint8),
            spacing_mm=(1.0, 1.0, 1.0),
            unlabelled=frozenset(),
        )
        self.alive.add(case)
        gc.collect()
        self.most = max(self.most, len(self.alive))
        return case


@pytest.mark.parametrize(
    ("part", "validation", "expected"),
    [
        ("training", ("v",), ["a", "b", "c"]),
        ("validation", ("v",), ["v"]),
        ("all", ("v",), ["a", "b", "c", "v"]),
    ],
)
def test_the_part_decides_who_is_measured(
    part: str, validation: tuple[str, ...], expected: list[str]
) -> None:
    training = Reading("a", "b", "c")
    data = RecipeData(training=training, validation=Reading(*validation))
    assert [case.name for case in cases_of(data, part)] == expected
    assert training.most <= 2  # the one at hand, and the one that comes


def test_a_part_without_cases_is_named() -> None:
    with pytest.raises(TrainingError, match="one case to evaluate for validation, found none"):
        cases_of(RecipeData(training=Reading("a")), "validation")
    with pytest.raises(TrainingError, match="one case to evaluate, found none"):
        cases_of(RecipeData(training=[]), "all")


def test_what_training_left_out_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    data = RecipeData(training=Reading("a", "b", "c"), validation=Reading("v"))
    assert part_to_measure(data, {"a", "b"}) == "validation"
    told = capsys.readouterr().out
    assert told.startswith("1 of 4 cases, those that training leaves out (--part all takes all)")
    assert part_to_measure(RecipeData(training=Reading("a")), {"a"}) == "training"
    assert capsys.readouterr().out == ""


def test_all_cases_of_a_data_set_that_was_never_learnt_are_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = RecipeData(training=Reading("a", "b", "c"), validation=Reading("v"))
    assert part_to_measure(data, {"others-1", "others-2"}) == "all"
    assert capsys.readouterr().out == ""


def test_weights_that_do_not_say_what_they_learnt_are_measured_on_all_and_that_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = RecipeData(training=Reading("a", "b", "c"), validation=Reading("v"))
    assert part_to_measure(data, set()) == "all"
    assert "All 4 cases; what these weights learnt from is not known" in capsys.readouterr().out


# --- the command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "data", "one", "two")


def evaluate(bundle: Bundle, data: Path, *options: str) -> int:
    paths = ["-m", str(bundle.folder), "--data", str(data), "--device", "cpu"]
    return main(["evaluate", *paths, "--scenes", "0", *options])


def test_the_report_is_four_files_with_the_same_figures(
    tiny_bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_recipe(tiny_bundle)
    out = tmp_path / "out"
    assert evaluate(tiny_bundle, data, "-o", str(out)) == 0
    told = capsys.readouterr()
    assert told.out.rstrip().endswith(f"report: {out / 'report.html'}")
    assert {p.name for p in out.iterdir()} == {
        "report.html",
        "evaluation.json",
        "cases.csv",
        "summary.csv",
    }
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert [case["name"] for case in evaluation["cases"]] == ["one", "two"]
    truth_ml = [case["organs"]["liver"]["truth_ml"] for case in evaluation["cases"]]
    assert truth_ml == pytest.approx([LIVER_VOXELS * SPACING_MM**3 / 1000] * 2)
    with (out / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["organ"]) for row in rows[:4]] == [
        ("one", "liver"),
        ("one", "kidney_left"),
        ("one", "kidney_right"),
        ("two", "liver"),
    ]
    for row in rows:
        (case,) = (c for c in evaluation["cases"] if c["name"] == row["case"])
        assert float(row["dice"]) == pytest.approx(case["organs"][row["organ"]]["dice"])
    page = (out / "report.html").read_text()
    assert "one" in page
    assert tiny_bundle.sha256[:8] in page


def test_cases_that_a_model_has_learnt_from_are_told(
    tiny_bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_recipe(tiny_bundle)
    path = tiny_bundle.folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "trained_on": {"cases": ["two", "other"]}}))
    out = tmp_path / "out"
    assert evaluate(tiny_bundle, data, "-o", str(out)) == 0
    told = capsys.readouterr().out
    assert "Learnt from 1 of these cases" in told
    assert "| two (learnt from) |" in told
    assert "| one |" in told
    assert json.loads((out / "evaluation.json").read_text())["learnt_cases"] == ["two"]
    assert "Learnt from 1 of these 2 cases" in (out / "report.html").read_text()
    assert evaluate(tiny_bundle, data, "--only", "one") == 0
    assert "earnt" not in capsys.readouterr().out


def test_what_is_not_measured_is_not_read(tiny_bundle: Bundle, data: Path) -> None:
    share = {"data": {**RECIPE["data"], "validation_share": 0.5}}
    with_recipe(tiny_bundle, {**RECIPE, **share})
    path = tiny_bundle.folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    recipe = Recipe.read(tiny_bundle)
    (learnt,) = read_data(recipe, DataAccess(root=data, cache=data), on_own_grid=True).training
    path.write_text(json.dumps({**metadata, "trained_on": {"cases": [learnt.name]}}))
    (data / f"{learnt.name}_ct.nii.gz").write_bytes(b"no longer an image")
    assert evaluate(tiny_bundle, data) == 0


def test_folds_keep_their_cases_in_the_folder_of_the_run(
    tiny_bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    with_recipe(tiny_bundle)
    assert evaluate(tiny_bundle, data, "--folds", "2", "--run", str(tmp_path / "run")) == 0
    assert len(list((tmp_path / "run" / "cache").iterdir())) == 2


def test_figures_of_folds_do_not_name_the_weights_of_the_bundle(
    tiny_bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_recipe(tiny_bundle)
    path = tiny_bundle.folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "trained_on": {"cases": ["one", "two"]}}))
    curves = "stage,epoch,step,learning_rate,loss,validation_loss,validation_dice\n"
    # of the run that the bundle lies in
    (tiny_bundle.folder.parent / "curves.csv").write_text(curves + "train,1,3,0.001,0.9,,0.2\n")
    out = tmp_path / "out"
    folds = ("--folds", "2", "--run", str(tmp_path / "run"))
    assert evaluate(tiny_bundle, data, *folds, "-o", str(out)) == 0
    found = json.loads((out / "evaluation.json").read_text())
    note = "2 networks, each without its patients"
    named = [found[key] for key in ("model", "version", "sha256", "note")]
    assert named == ["tiny", "", "", note]
    assert sorted(case["name"] for case in found["cases"]) == ["one", "two"]
    assert found["learnt_cases"] == []  # by the bundle, but not by the networks of the folds
    page = (out / "report.html").read_text()
    assert note in page
    assert tiny_bundle.sha256 not in page
    assert '<section id="training">' not in page
    told = capsys.readouterr().out
    assert note in told
    assert "learnt from" not in told


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--part", "validation"], 20, "one case to evaluate for validation, found none"),
        (["--only", "three"], 20, "expected names of cases or patients of the data, found three"),
        (["--folds", "0", "--run", "run"], 20, "expected 2 to 2 folds, found 0"),
        (["--nsd-tolerance-mm", "-1"], 20, "expected a tolerance of 0 mm or more, found -1"),
        (["-o", "data/one_ct.nii.gz/out"], 16, "Not a directory"),
        (["--device", "gpu:99"], 14, "expected gpu:99"),
        (["--set", "data.labels=1"], 20, "data.labels: expected the value of each organ, found 1"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    options: list[str],
    code: int,
    told: str,
    tiny_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_recipe(tiny_bundle, RECIPE)
    monkeypatch.chdir(tmp_path)
    assert evaluate(tiny_bundle, data, *options) == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert told in error[0]
