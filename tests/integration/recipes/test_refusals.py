"""What cannot be trained, evaluated or checked: a sentence and a code, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from models.bundle import Bundle
from models.data.miniature import make_flare22
from models.data.nifti import open_nifti, write_nifti
from models.geometry import VolumeGeometry
from tests.small_recipes import RECIPE, SHAPE, with_recipe, write_pairs

ROOT = Path(__file__).parents[3]
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (3.0,) * 3)

#: Runs the command in a Python that lacks one package.
WITHOUT = """
import importlib.metadata, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from app.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "data", "one", "two")


@pytest.fixture
def small(tiny_bundle: Bundle) -> Bundle:
    """Two steps of the optimiser train it."""
    return with_recipe(tiny_bundle, {**RECIPE, "epochs": 1})


def told(code: int, line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error."""
    assert main(line) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("viscera: ")
    return lines[0]


def train(bundle: Bundle, data: Path, *more: str) -> list[str]:
    run = ["--run", str(bundle.folder.parent / "run"), "--device", "cpu", "-q"]
    return ["train", "-m", str(bundle.folder), "--data", str(data), *run, *more]


def test_an_unknown_model_is_named_with_those_there_are(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--model", "unetr_btvc", "--data", str(data)]
    found = told(14, ["train", *line, "--run", str(tmp_path / "run")], capsys)
    assert "'unetr_btvc'" in found
    assert "unetr_btcv" in found
    assert "'unetr_btvc'" in told(14, ["evaluate", *line], capsys)
    assert not (tmp_path / "run").exists()


def test_an_unknown_variant_leaves_no_folder_behind(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    line = ["train", "--model", "unetr_btcv", "--variant", "tiny", "--data", str(data)]
    found = told(14, [*line, "--run", str(run)], capsys)
    assert "expected a variant of unetr_btcv: miniature, ten_organs; found 'tiny'" in found
    assert not run.exists()


def test_data_of_another_layout(
    small: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flare = make_flare22(tmp_path / "flare", 1, spacing_mm=8.0)
    assert "in the layout pairs" in told(20, train(small, flare), capsys)
    assert "in the layout msd" in told(20, train(small, flare, "--layout", "msd"), capsys)
    assert "expected a layout of btcv" in told(20, train(small, flare, "--layout", "x"), capsys)
    (tmp_path / "empty").mkdir()
    assert "in the layout pairs" in told(20, train(small, tmp_path / "empty"), capsys)
    assert "expected a folder" in told(20, train(small, tmp_path / "nowhere"), capsys)


def damage(data: Path, how: str) -> None:
    path = data / "two_label.nii.gz"
    labels = open_nifti(path).read().astype(np.uint8)
    if how == "value":
        labels[3, 3, 3] = 77
        write_nifti(labels, GEOMETRY, path)
    elif how == "shape":
        shorter = VolumeGeometry.from_spacing((19, *SHAPE[1:]), (3.0,) * 3)
        write_nifti(np.ascontiguousarray(labels[:-1]), shorter, path)
    elif how == "grid":
        write_nifti(labels, VolumeGeometry.from_spacing(SHAPE, (3.0,) * 3, (9.0, 0, 0)), path)
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:200])
    elif how == "no HU":
        hu = open_nifti(data / "two_ct.nii.gz").read()
        grey = np.clip((hu + 200) / 2, 0, 255).astype(np.int16)
        write_nifti(grey, GEOMETRY, data / "two_ct.nii.gz")
    elif how == "fractions":
        write_nifti(labels.astype(np.float32) / 2, GEOMETRY, path)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("value", "two_label.nii.gz: expected"),
        ("shape", "two_label.nii.gz: expected"),
        ("grid", "two_label.nii.gz: expected"),
        ("cut short", "two_label.nii.gz"),
        ("no HU", "two_ct.nii.gz: expected"),
        ("fractions", "two_label.nii.gz"),
    ],
)
def test_a_damaged_file_is_named_by_training_evaluation_and_check(
    how: str, expected: str, small: Bundle, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(data, how)
    assert expected in told(20, train(small, data), capsys)
    evaluate = ["evaluate", "-m", str(small.folder), "--data", str(data), "--device", "cpu"]
    assert expected in told(20, evaluate, capsys)
    code = main(["data", "check", str(data)])
    checked = capsys.readouterr()
    # a data set alone does not tell which values are right
    assert code == (0 if how == "value" else 20)
    assert how == "value" or "two_" in checked.out + checked.err


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("optimizer.learning_rate=1", "did you mean 'optimiser'"),
        ("learning_rate=1", "did you mean optimiser.learning_rate?"),
        ("optimiser.learning_rate=fast", "optimiser.learning_rate: expected a number"),
        ("optimiser.name=Adamw", "expected one of AdamW, Adam, SGD"),
        ("data.label.liver=6", "data: unknown key 'label'; did you mean labels"),
        ("data.labels.spleen=1", "expected organs of the network, found spleen"),
        ("samples.size=16", "samples.size: expected [D, H, W]"),
        ("samples.kind=cubes", "expected a kind of patches"),
        ("augmentation.rotate=1", "rotate"),
        ("seed=x", "seed: expected a whole number"),
        ("batch=0", "batch of 1 or more"),
        ("loss.dice=-1", "weights of the loss from 0 up"),
        ("data=3", "data: expected an object"),
        ("noise", "expected --set KEY=VALUE"),
    ],
)
def test_a_setting_that_is_unknown_or_wrong(
    change: str, expected: str, small: Bundle, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in told(20, train(small, data, "--set", change), capsys)


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--epochs", "0"], 20, "a length over 0"),
        (["--exclude", "three"], 20, "found three"),
        (["--exclude", "one", "--exclude", "two"], 20, "at least one case"),
        (["--device", "gpu:77"], 14, "expected gpu:77"),
        (["--device", "tpu"], 14, "expected a device auto, cpu or gpu:N, found 'tpu'"),
        (["--config", "nowhere.json"], 20, "nowhere.json: expected a JSON object, found"),
    ],
)
def test_an_option_that_cannot_be_followed(
    options: list[str],
    code: int,
    expected: str,
    small: Bundle,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert expected in told(code, train(small, data, *options), capsys)


def test_a_run_folder_that_cannot_be_used(
    small: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    line = [*train(small, data), "--run", str(tmp_path / "file")]
    assert str(tmp_path / "file") in told(20, line, capsys)
    line += ["--cache", str(tmp_path / "cache")]
    assert "cannot use the folder" in told(20, line, capsys)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_that_was_never_trained(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flare = make_flare22(tmp_path / "flare", 1, spacing_mm=8.0)
    line = ["--model", "vnet_flare22"]
    evaluate = ["evaluate", *line, "--data", str(flare), "--set", "data.validation_share=0"]
    assert "no weights" in told(14, evaluate, capsys)
    export = ["export", *line, "--format", "torchscript", "-o", str(tmp_path / "x.ts")]
    assert "no weights" in told(14, export, capsys)
    segment = ["segment", str(data), "-o", str(tmp_path / "out"), *line, "-q"]
    assert "no weights" in told(14, segment, capsys)


@pytest.mark.parametrize(
    ("package", "command", "code"),
    [
        ("nibabel", "train", 20),
        ("nibabel", "evaluate", 20),
        ("nibabel", "check", 20),
        ("onnx", "export", 14),
        ("vtkmodules", "scene", 0),
    ],
)
def test_a_package_that_is_absent_is_named_with_how_to_get_it(
    package: str, command: str, code: int, small: Bundle, data: Path, tmp_path: Path
) -> None:
    model = ["-m", str(small.folder)]
    report = ["-o", str(tmp_path / "report"), "--scenes", "1"]
    lines = {
        "train": train(small, data),
        "evaluate": ["evaluate", *model, "--data", str(data), "--device", "cpu"],
        "scene": ["evaluate", *model, "--data", str(data), "--device", "cpu", *report],
        "check": ["data", "check", str(data)],
        "export": ["export", *model, "--format", "onnx", "-o", str(tmp_path / "x.onnx")],
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *lines[command]],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert 'File "' not in done.stderr
    said = done.stderr if package != "nibabel" or command != "check" else done.stderr + done.stdout
    extra = "export" if package == "onnx" else "train"
    assert f"pip install '.[{extra}]'" in said
