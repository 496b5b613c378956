"""`viscera train` and `viscera evaluate` on pairs of NIfTI, with a model that is quickly run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from app.cli import main
from app.learning.access import change_of, read_dicom_folder
from models.bundle import Bundle
from models.bundle_folders import find_bundle
from models.errors import TrainingError
from models.training.data_access import DataAccess
from models.training.recipe import Recipe
from models.training.recipe_data import make_phantoms, read_data
from models.training.run_folder import CHECKPOINT

#: Value of each organ in the label files.
LABELS = {"liver": 6, "spleen": 1}
SHAPE = (36, 40, 44)  # (k, j, i)


def write_case(folder: Path, name: str) -> None:
    """A bright liver and a spleen in water, with the axes of NIfTI: i, j, k and RAS."""
    hu = np.zeros(SHAPE, np.int16)
    hu[:, :2] = -1000
    labels = np.zeros(SHAPE, np.uint8)
    hu[8:28, 10:30, 4:20], labels[8:28, 10:30, 4:20] = 150, LABELS["liver"]
    hu[10:26, 12:28, 26:38], labels[10:26, 12:28, 26:38] = 250, LABELS["spleen"]
    affine = np.diag((-4.0, -4.0, 4.0, 1.0))
    for array, kind in ((hu, "ct"), (labels, "label")):
        image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
        nibabel.save(image, folder / f"{name}_{kind}.nii.gz")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two patients, one of them twice."""
    folder = tmp_path / "data"
    (folder / "pairs").mkdir(parents=True)
    for name in ("one-a", "one-b", "two-a"):
        write_case(folder / "pairs", name)
    return folder


CONFIG = {
    "samples": {"kind": "patients", "size": [32, 32, 32], "per_epoch": 2},
    "augmentation": {"rotation_degrees": 5.0},
    "optimiser": {"name": "AdamW", "learning_rate": 0.002},
    "schedule": {"name": "warmup_cosine", "warmup": 0.02},
    "epochs": 100,
    "batch": 1,
    "ema_decay": 0.99,
    "seed": 4,
    "sources": [{"pairs": "pairs", "patient_pattern": "[a-z]+", "labels": LABELS}],
}


@pytest.fixture
def set_config(liver_bundle: Bundle) -> Callable[[Mapping[str, Any]], None]:
    path = liver_bundle.folder / "configs" / "train.json"

    def write(config: Mapping[str, Any]) -> None:
        path.write_text(json.dumps(config), "utf-8")

    write(CONFIG)
    return write


SetConfig = Callable[[Mapping[str, Any]], None]


# --- what a run is made of


def test_cases_are_read_in_the_classes_of_the_network(
    liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    access = DataAccess(root=data, cache=tmp_path / "cache", read_folder=read_dicom_folder)
    cases = read_data(Recipe.read(liver_bundle), access).training
    assert [(case.name, case.patient) for case in cases] == [
        ("one-a", "one"),
        ("one-b", "one"),
        ("two-a", "two"),
    ]
    case = cases[0]
    assert case.hu.shape == SHAPE
    assert case.spacing_mm == pytest.approx((4.0, 4.0, 4.0))
    liver, spleen = (liver_bundle.class_of[organ] for organ in LABELS)
    assert set(np.unique(case.labels)) == {0, liver, spleen}
    assert set(np.unique(case.hu[case.labels == spleen])) == {250}
    assert case.unlabelled == set(liver_bundle.class_of.values()) - {liver, spleen}


def test_a_folder_of_dicom_is_read_as_the_product_reads_it(ct_folder: Path) -> None:
    volume = read_dicom_folder(ct_folder)
    assert volume.geometry.shape == (8, 12, 10)
    assert volume.geometry.spacing_mm == pytest.approx((5.0, 3.0, 4.0))


def test_phantoms_are_persons_of_their_own(liver_bundle: Bundle) -> None:
    labels = {"liver": 6, "stomach": 7}
    content = {"phantoms": {"count": 1, "first_seed": 5, "labels": labels}}
    (case,) = make_phantoms(Recipe(bundle=liver_bundle, content=content))
    assert (case.name, case.patient) == ("phantom-5", "phantom-5")
    present = {liver_bundle.class_of[organ] for organ in labels}
    assert set(np.unique(case.labels)) == {0, *present}
    assert case.unlabelled == set(liver_bundle.class_of.values()) - present
    assert make_phantoms(Recipe(bundle=liver_bundle, content={})) == []


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_configuration_that_cannot_be_read(
    liver_bundle: Bundle, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "train.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=r"train\.json"):
        Recipe.read(liver_bundle, path)


def test_settings_change_by_their_path(liver_bundle: Bundle, set_config: SetConfig) -> None:
    changes = [change_of(text) for text in ("optimiser.learning_rate=0.5", "amp=bf16")]
    stage = Recipe.read(liver_bundle, changes=changes).plan.stages[0]
    assert (stage.optimiser.learning_rate, stage.optimiser.name) == (0.5, "AdamW")
    assert stage.amp == "bf16"
    for text in ("amp", "=1", "a..b=1"):
        with pytest.raises(TrainingError, match="expected --set KEY=VALUE"):
            change_of(text)


def test_a_setting_of_one_stage_is_changed_by_its_number() -> None:
    def stages(*texts: str) -> list[tuple[int | None, int]]:
        recipe = Recipe.read(
            find_bundle("mobilenetv3_rsna"), changes=[change_of(text) for text in texts]
        )
        return [(stage.epochs, stage.batch) for stage in recipe.plan.stages]

    assert stages() == [(30, 32), (10, 64)]
    assert stages("stages.0.epochs=3", "stages.1.batch=8") == [(3, 32), (10, 8)]
    with pytest.raises(TrainingError, match=r"stages\.2: expected one of 2 entries, counted from"):
        stages("stages.2.epochs=3")
    with pytest.raises(TrainingError, match="stages: expected a list"):
        stages("stages.last.epochs=3")
    with pytest.raises(TrainingError, match=r"change stages\.0\.epochs and so on"):
        stages("epochs=3")


def test_another_length_holds_for_every_stage(liver_bundle: Bundle, set_config: SetConfig) -> None:
    set_config({**CONFIG, "stages": [{"name": "a"}, {"name": "b", "epochs": 3}]})
    recipe = Recipe.read(liver_bundle)
    assert [stage.epochs for stage in recipe.plan.stages] == [100, 3]
    assert [stage.steps for stage in recipe.lasting("steps", 7).plan.stages] == [7, 7]
    assert [stage.epochs for stage in recipe.lasting("steps", 7).plan.stages] == [None, None]


# --- the commands


def train(bundle: Bundle, data: Path, run: Path, *options: str) -> int:
    paths = ["-m", str(bundle.folder), "--data", str(data), "--run", str(run)]
    return main(["train", *paths, "--device", "cpu", "--epochs", "2", *options])


def test_training_makes_a_bundle_that_can_be_used(
    liver_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    set_config: SetConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = liver_bundle.sha256
    assert train(liver_bundle, data, tmp_path / "run", "--exclude", "two") == 0
    trained = Bundle.read(tmp_path / "run" / "all_liver")
    assert trained.load_network() is not None
    assert trained.sha256 != before
    assert Bundle.read(liver_bundle.folder).sha256 == before  # the original stays
    notes = trained.metadata["trained_on"]
    assert (notes["cases"], notes["phantoms"]) == (["one-a", "one-b"], 0)
    assert (notes["epochs"], notes["steps"]) == (2, 4)
    assert f"trained on 2 cases: {trained.folder}, sha256 {trained.sha256}" in (
        capsys.readouterr().out
    )


def test_a_run_that_is_over_only_writes_its_result_again(
    liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    run = tmp_path / "run"
    assert train(liver_bundle, data, run) == 0
    trained = Bundle.read(run / "all_liver")
    before = (run / CHECKPOINT).stat().st_mtime_ns
    trained.weights.unlink()
    assert train(liver_bundle, data, run) == 0
    assert Bundle.read(run / "all_liver").load_network() is not None
    assert trained.sha256 == Bundle.read(run / "all_liver").sha256
    assert (run / CHECKPOINT).stat().st_mtime_ns >= before
    assert len((run / "curves.csv").read_text().splitlines()) == 3


def test_training_starts_from_the_weights_that_it_is_given(
    liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    known = {"trained_on": {"cases": ["three-a"]}}
    state = liver_bundle.load_network().state_dict()
    start = liver_bundle.save_weights(state, known)
    options = ["--set", f"initial_weights={start.folder}", "--set", "ema_decay=0"]
    still = ["--set", "optimiser.learning_rate=1e-12", "--set", "optimiser.weight_decay=0"]
    assert train(liver_bundle, data, tmp_path / "run", *options, *still) == 0
    trained = Bundle.read(tmp_path / "run" / "all_liver")
    torch.testing.assert_close(
        trained.load_network().state_dict(), start.load_network().state_dict()
    )
    notes = trained.metadata["trained_on"]
    assert notes["initial_weights"]["weights_sha256"] == start.sha256
    assert notes["teacher_cases"] == ["three-a"]


def test_weights_that_know_who_is_held_out_are_refused(
    liver_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    set_config: SetConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = liver_bundle.load_network().state_dict()
    start = liver_bundle.save_weights(state, {"trained_on": {"cases": ["two-a"]}})
    options = ["--set", f"initial_weights={start.folder}", "--exclude", "two"]
    assert train(liver_bundle, data, tmp_path / "run", *options) == 20
    assert "two-a" in capsys.readouterr().err


def test_a_variant_finds_teachers_beside_its_model(
    liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    """The variant itself is written to another place."""
    shutil.copytree(liver_bundle.folder, liver_bundle.folder.parent / "teacher")
    variants = liver_bundle.folder / "configs" / "variants"
    variants.mkdir()
    (variants / "calm.json").write_text(json.dumps({"train": {"seed": 5}}))
    named = ["--set", "distillation.teacher=teacher", "--set", "initial_weights=teacher"]
    assert train(liver_bundle, data, tmp_path / "run", "--variant", "calm", *named) == 0
    notes = Bundle.read(tmp_path / "run" / "all_liver_calm").metadata["trained_on"]
    assert notes["teachers"] == [{"name": "teacher", "weights_sha256": liver_bundle.sha256}]
    assert notes["initial_weights"]["weights_sha256"] == liver_bundle.sha256


def test_a_run_folder_is_not_taken_for_another_run(
    liver_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    set_config: SetConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(liver_bundle, data, tmp_path / "run") == 0
    assert train(liver_bundle, data, tmp_path / "run", "--set", "batch=2") == 20
    assert "batch" in capsys.readouterr().err.splitlines()[-1]


def test_evaluation_prints_a_table_of_the_cases(
    liver_bundle: Bundle, data: Path, set_config: SetConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model takes everything for liver: its Dice is 2 v / (v + all), of the spleen 0."""
    paths = ["-m", str(liver_bundle.folder), "--data", str(data), "--device", "cpu"]
    assert main(["evaluate", *paths, "--only", "one"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("| case | Liver | Spleen | Left kidney |")
    liver = 20 * 20 * 16
    score = f"{2 * liver / (liver + np.prod(SHAPE)):.3f}"
    rows = [f"| {name} | {score} | 0.000 |" + " - |" * 4 for name in ("one-a", "one-b")]
    assert table[2:4] == rows
    assert table[4].startswith(f"| **mean** | {score} | 0.000 | - |")
    assert table[6].startswith("| organ | cases | Dice | IoU | HD95 mm |")


def test_evaluation_by_folds_holds_each_patient_out_once(
    liver_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    set_config: SetConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = ["-m", str(liver_bundle.folder), "--data", str(data), "--device", "cpu"]
    run = tmp_path / "folds"
    options = ["--folds", "2", "--epochs", "1", "--run", str(run)]
    assert main(["evaluate", *paths, *options]) == 0
    held_in = [
        set(Bundle.read(run / f"fold{n}" / "all_liver").metadata["trained_on"]["cases"])
        for n in range(2)
    ]
    assert held_in in ([{"two-a"}, {"one-a", "one-b"}], [{"one-a", "one-b"}, {"two-a"}])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "all_liver: 2 networks, each without its patients"
    assert [line.split(" | ")[0] for line in told[4:8]] == [
        "| one-a",
        "| one-b",
        "| two-a",
        "| **mean**",
    ]


def test_each_fold_learns_from_the_teacher_of_its_own_fold(
    liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    paths = ["-m", str(liver_bundle.folder), "--data", str(data), "--device", "cpu"]
    options = ["evaluate", *paths, "--folds", "2", "--epochs", "1"]
    teachers, run = tmp_path / "teachers", tmp_path / "folds"
    assert main([*options, "--run", str(teachers)]) == 0
    taught = ["--set", "distillation.teacher=all_liver", "--teachers", str(teachers)]
    assert main([*options, "--run", str(run), *taught]) == 0
    digests = set()
    for number in range(2):
        teacher = Bundle.read(teachers / f"fold{number}" / "all_liver")
        notes = Bundle.read(run / f"fold{number}" / "all_liver").metadata["trained_on"]
        assert notes["teachers"] == [{"name": "all_liver", "weights_sha256": teacher.sha256}]
        assert notes["teacher_cases"] == notes["cases"]
        digests.add(teacher.sha256)
    assert len(digests) == 2


# --- what cannot be done


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "--only", "nobody"], "of the data, found nobody"),
        (["evaluate", "--folds", "2"], "--folds needs --run"),
        (["evaluate", "--folds", "9", "--run", "run"], "expected 2 to 2 folds, found 9"),
        (
            ["evaluate", "--folds", "2", "--run", "run", "--teachers", "run"],
            "all_liver: expected a teacher in its recipe, found none",
        ),
        (["train", "--run", "run", "--exclude", "one", "--exclude", "two"], "at least one case"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    arguments: list[str],
    told: str,
    liver_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    set_config: SetConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *options = arguments
    paths = ["-m", str(liver_bundle.folder), "--data", str(data), "--device", "cpu"]
    assert main([command, *paths, *options, "--epochs", "1"]) == 20
    assert told in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "fault",
    [
        {"sources": None},
        {"sources": [{"pairs": "pairs"}]},
        {"sources": [{"labels": LABELS}]},
        {"sources": [{"pairs": "nowhere", "labels": LABELS}]},
        {"sources": [{"image": "no.nii.gz", "label": "no.nii.gz", "name": "a", "labels": LABELS}]},
        {"augmentation": {"rotation": 5}},
    ],
    ids=["no sources", "no labels", "no files", "no such folder", "no such file", "misspelt"],
)
def test_a_faulty_configuration_is_told_as_one(
    fault: dict[str, Any], liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    config = {name: v for name, v in {**CONFIG, **fault}.items() if v is not None}
    set_config(config)
    assert train(liver_bundle, data, tmp_path / "run") == 20
