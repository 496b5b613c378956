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
from app.training import (
    CHECKPOINT,
    make_phantoms,
    make_plan,
    read_cases,
    read_config,
    read_dicom_folder,
)
from models.bundle import Bundle
from models.errors import TrainingError

#: Value of each organ in the label files.
LABELS = {"liver": 6, "spleen": 1}
SHAPE = (36, 40, 44)  # (k, j, i)


def write_case(folder: Path, name: str) -> None:
    """A bright liver and a spleen in water, with the axes of NIfTI: i, j, k and RAS."""
    hu = np.zeros(SHAPE, np.int16)
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
    "patch": [32, 32, 32],
    "batch": 1,
    "minutes": 60,
    "seed": 4,
    "augmentation": {"rotation_degrees": 5.0},
    "sources": [{"pairs": "pairs", "patient_pattern": "[a-z]+", "labels": LABELS}],
}


@pytest.fixture
def set_config(liver_bundle: Bundle) -> Callable[[Mapping[str, Any]], None]:
    path = liver_bundle.folder / "configs" / "training.json"

    def write(config: Mapping[str, Any]) -> None:
        path.write_text(json.dumps(config), "utf-8")

    write(CONFIG)
    return write


SetConfig = Callable[[Mapping[str, Any]], None]


# --- what a run is made of


def test_a_plan_follows_the_configuration(liver_bundle: Bundle) -> None:
    plan = make_plan(liver_bundle, CONFIG, None)
    assert (plan.patch, plan.batch, plan.minutes, plan.seed) == ((32, 32, 32), 1, 60, 4)
    assert plan.spacing_mm == 4.0
    assert (plan.window.low_hu, plan.window.high_hu) == (-200, 300)
    assert plan.augmentation.rotation_degrees == 5.0
    assert make_plan(liver_bundle, CONFIG, 0.5).minutes == 0.5
    without_patch = {name: value for name, value in CONFIG.items() if name != "patch"}
    assert make_plan(liver_bundle, without_patch, None).patch == liver_bundle.sliding_window.size


def test_cases_are_read_in_the_classes_of_the_network(liver_bundle: Bundle, data: Path) -> None:
    cases = read_cases(liver_bundle, CONFIG, data)
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
    config = {"phantoms": {"count": 1, "first_seed": 5, "labels": labels}}
    (case,) = make_phantoms(liver_bundle, config)
    assert (case.name, case.patient) == ("phantom-5", "phantom-5")
    present = {liver_bundle.class_of[organ] for organ in labels}
    assert set(np.unique(case.labels)) == {0, *present}
    assert case.unlabelled == set(liver_bundle.class_of.values()) - present
    assert make_phantoms(liver_bundle, {}) == []


@pytest.mark.parametrize("text", [None, "{"])
def test_a_configuration_that_cannot_be_read(
    liver_bundle: Bundle, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "training.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainingError, match=r"training\.json"):
        read_config(liver_bundle, path)


# --- the commands


def train(bundle: Bundle, data: Path, run: Path, *options: str) -> int:
    paths = ["-m", str(bundle.folder), "--data", str(data), "--run", str(run)]
    return main(["train", *paths, "--device", "cpu", "--minutes", "0.01", *options])


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
    assert (notes["cases"], notes["phantoms"], notes["minutes"]) == (["one-a", "one-b"], 0, 0.01)
    assert f"trained on 2 cases: {trained.folder}, sha256 {trained.sha256}" in (
        capsys.readouterr().out
    )


def test_training_goes_on_from_its_checkpoint(
    liver_bundle: Bundle, data: Path, tmp_path: Path, set_config: SetConfig
) -> None:
    run = tmp_path / "run"
    assert train(liver_bundle, data, run) == 0
    first = torch.load(run / CHECKPOINT, weights_only=True)
    assert first["step"] > 0
    assert first["trained_s"] >= 0.6
    # the time is used up, so a second call of the same length only writes the result again
    digest = Bundle.read(run / "all_liver").sha256
    shutil.rmtree(run / "all_liver")
    assert train(liver_bundle, data, run) == 0
    assert torch.load(run / CHECKPOINT, weights_only=True)["step"] == first["step"]
    assert Bundle.read(run / "all_liver").sha256 == digest
    assert train(liver_bundle, data, run, "--minutes", "0.02") == 0
    assert torch.load(run / CHECKPOINT, weights_only=True)["step"] > first["step"]


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
    assert len(table) == 5


def test_evaluation_by_folds_holds_each_patient_out_once(
    liver_bundle: Bundle,
    data: Path,
    tmp_path: Path,
    set_config: SetConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = ["-m", str(liver_bundle.folder), "--data", str(data), "--device", "cpu"]
    run = tmp_path / "folds"
    options = ["--folds", "2", "--minutes", "0.005", "--run", str(run)]
    assert main(["evaluate", *paths, *options]) == 0
    held_in = [
        set(Bundle.read(run / f"fold{n}" / "all_liver").metadata["trained_on"]["cases"])
        for n in range(2)
    ]
    assert held_in in ([{"two-a"}, {"one-a", "one-b"}], [{"one-a", "one-b"}, {"two-a"}])
    table = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == [
        "| one-a",
        "| one-b",
        "| two-a",
        "| **mean**",
    ]


# --- what cannot be done


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "--only", "nobody"], "at least one case to evaluate"),
        (["evaluate", "--folds", "2"], "--folds needs --run"),
        (["evaluate", "--folds", "9", "--run", "run"], "expected 2 to 2 folds, found 9"),
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
    assert main([command, *paths, *options, "--minutes", "0.001"]) == 20
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
