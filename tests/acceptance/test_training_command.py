"""The installed command trains: in several processes, and on after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.bundle import Bundle
from models.training.run_folder import CHECKPOINT
from tests.small_recipes import RECIPE, with_recipe, write_pairs

VISCERA = Path(sys.executable).with_name("viscera")
#: Without the optimiser's division by the gradient's own size, which would blow up the rounding of
#: gradients that are 0 but for it.
PLAIN = {
    **RECIPE,
    "data": {**RECIPE["data"], "validation_share": 0.5},
    "optimiser": {"name": "SGD", "learning_rate": 0.01},
    "batch": 2,
    "accumulate": 2,
    "epochs": 3,
    "workers": 2,
}
#: Long enough to be interrupted; no checkpoint is due before the end.
LONG = {
    **RECIPE,
    "ema_decay": 0.9,
    "schedule": {"name": "cosine"},
    "epochs": 20,
    "checkpoint_every_s": 9999,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), "one", "two")


def arguments(bundle: Bundle, data: Path, run: Path, *more: str) -> list[str]:
    paths = ["-m", str(bundle.folder), "--data", str(data), "-o", str(run)]
    return ["train", *paths, "--device", "cpu", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run_command(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def best(run: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(run / CHECKPOINT, weights_only=True)["best"]["weights"]
    return weights


def test_two_processes_come_to_the_weights_of_one(
    tiny_bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    """Both prepare the same data and make the variant; one writes the run and tells of it."""
    with_recipe(tiny_bundle, PLAIN)
    variants = tiny_bundle.folder / "configs" / "variants"
    variants.mkdir()
    (variants / "two.json").write_text(json.dumps({"segments": ["liver", "kidney_left"]}))
    alone, together = tmp_path / "alone", tmp_path / "together"
    one = run_command(VISCERA, *arguments(tiny_bundle, data, alone, "--variant", "two"))
    assert one.returncode == 0, one.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    two = run_command(
        *torchrun, "--nproc-per-node", "2", "--no-python", VISCERA,
        *arguments(tiny_bundle, data, together, "--variant", "two"),
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("trained on 1 case: ") == 1
    assert two.stderr.count("100.0 %") == 1
    assert json.loads((together / "environment.json").read_text())["processes"] == 2
    expected = best(alone)
    for name, value in best(together).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5, msg=name)
    for run in (alone, together):
        bundle = Bundle.read(run / "tiny_two")
        assert bundle.load_network() is not None
        assert list(bundle.class_of) == ["liver", "kidney_left"]
        assert bundle.metadata["trained_on"]["steps"] == 3
    assert not list((together / "cache").glob(".*"))  # nothing half done is left


def test_two_processes_start_from_one_first_run(
    tiny_bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    with_recipe(tiny_bundle, {**RECIPE, "batch": 2, "first": {"variant": "quick"}})
    variants = tiny_bundle.folder / "configs" / "variants"
    variants.mkdir()
    (variants / "quick.json").write_text(json.dumps({"train": {"epochs": 1}}))
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = run_command(
        *torchrun, "--nproc-per-node", "2", "--no-python", VISCERA,
        *arguments(tiny_bundle, data, run),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first = Bundle.read(run / "first" / "tiny_quick")
    told = Bundle.read(run / "tiny").metadata["trained_on"]["initial_weights"]
    assert told == {"name": "tiny_quick", "weights_sha256": first.sha256}


def test_an_interrupted_training_goes_on_to_the_very_same_weights(
    tiny_bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    with_recipe(tiny_bundle, LONG)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    done = run_command(VISCERA, *arguments(tiny_bundle, data, straight))
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        [VISCERA, *arguments(tiny_bundle, data, broken)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "step 25" in line:
                break
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=300)
    assert process.returncode == 130, "".join(said) + rest
    assert out == ""
    assert f"saved in {broken}; the same command goes on" in rest.splitlines()
    assert rest.splitlines()[-1] == "viscera: interrupted"
    assert (broken / CHECKPOINT).is_file()
    assert not (broken / "tiny").exists()  # no result that looks like one
    resumed = run_command(VISCERA, *arguments(tiny_bundle, data, broken))
    assert resumed.returncode == 0, resumed.stderr
    assert "step 25 " not in resumed.stderr
    first, second = (
        (run / "tiny" / "models" / "model.safetensors").read_bytes() for run in (straight, broken)
    )
    assert first == second
    assert (straight / "curves.csv").read_text() == (broken / "curves.csv").read_text()
