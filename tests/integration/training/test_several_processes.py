"""Training in two processes that torchrun starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.training.session import TrainingResult
from tests.training_runs import assert_same, network, plan, run

ROOT = Path(__file__).parents[3]
#: No dropout: its masks are each process's own. Statistics are gathered beside.
OPTIONS = ("--epochs", "3", "--dropout", "0", "--observe")


def torchrun(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "tests.training_runs", str(folder), *options),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def weights(folder: Path, rank: int) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(folder / f"rank{rank}.pt")
    return loaded


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(folder, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "of rank 1" not in done.stdout  # the first alone tells of it
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    folder = tmp_path_factory.mktemp("alone")
    return folder, run(folder, plan(), net=network(dropout=0))


def test_two_processes_come_to_the_weights_of_one(
    two: Path, alone: tuple[Path, TrainingResult]
) -> None:
    """Though the last step of an epoch has two samples for them, and the others four."""
    assert_same(weights(two, 0), weights(two, 1))
    learnt = [value for name, value in weights(two, 0).items() if "statistics" not in name]
    for value, expected in zip(learnt, alone[1].state.values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_the_curves_of_two_processes_are_those_of_one(
    two: Path, alone: tuple[Path, TrainingResult]
) -> None:
    found, expected = (
        [line.split(",") for line in (folder / "curves.csv").read_text().splitlines()]
        for folder in (two, alone[0])
    )
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    for mine, other in zip(found[1:], expected[1:], strict=True):
        assert list(map(float, mine[3:])) == pytest.approx(list(map(float, other[3:])), rel=1e-5)


def test_a_loss_that_is_no_number_in_one_process_ends_both_and_they_go_on_to_the_bit(
    two: Path, tmp_path: Path
) -> None:
    failed = torchrun(tmp_path, *OPTIONS, "--nan-at", "5")
    assert failed.returncode != 0
    assert failed.stderr.count("TrainingError: the loss is nan at step 4") >= 2
    resumed = torchrun(tmp_path, *OPTIONS)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith("step 5 ")
    assert_same(weights(two, 0), weights(tmp_path, 0))
    assert_same(weights(two, 0), weights(tmp_path, 1))
    assert (tmp_path / "curves.csv").read_text() == (two / "curves.csv").read_text()
