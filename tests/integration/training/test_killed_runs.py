"""A training process that is killed or interrupted, and goes on in another."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.training.session import TrainingResult
from tests.training_runs import STAGE, assert_same, plan, run

ROOT = Path(__file__).parents[3]
PLAN = plan(replace(STAGE, epochs=6))


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training_runs", str(folder), *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def curves(folder: Path) -> str:
    return (folder / "curves.csv").read_text()


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """Six epochs of three steps in one go."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, run(folder, PLAN)


def test_a_run_killed_in_the_middle_of_an_epoch_ends_with_the_very_same_weights(
    straight: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    with start(tmp_path, "--kill-at", "8") as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert curves(tmp_path).count("\n") == 1 + 2
    with start(tmp_path) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith("step 8 ")  # saved after step 7: step 8 was told before it was saved
    assert_same(straight[1].state, torch.load(tmp_path / "rank0.pt"))
    assert curves(tmp_path) == curves(straight[0])


def test_a_terminated_run_is_saved_after_the_step_under_way(
    straight: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    """No checkpoint is due for hours."""
    with start(tmp_path, "--every-s", "9999") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step 4"):
                break
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode not in (0, -signal.SIGTERM)
    assert err.rstrip().endswith("KeyboardInterrupt")
    steps: list[int] = []
    resumed = run(tmp_path, PLAN, on_progress=lambda progress: steps.append(progress.step))
    assert steps[0] > 4
    assert_same(straight[1].state, resumed.state)
    assert curves(tmp_path) == curves(straight[0])
