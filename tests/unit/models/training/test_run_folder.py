"""The folder of a run."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
import torch

from models.errors import TrainingError
from models.training.run_folder import RunFolder
from tests.training_runs import plan


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with (
        RunFolder.open(folder, {}),
        pytest.raises(TrainingError, match="another training writes to"),
        RunFolder.open(folder, {}),
    ):
        raise AssertionError("it was opened twice")
    with RunFolder.open(folder, {}):
        assert folder.is_dir()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(TrainingError, match="cannot use the folder"),
        RunFolder.open(tmp_path / "file", {}),
    ):
        raise AssertionError("it was opened")


def test_processes_beside_the_first_leave_the_folder_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunFolder.open(tmp_path, {}):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        with RunFolder.open(tmp_path, {"a": 1}) as second:
            assert second.settings == {"a": 1}


def test_configuration_and_environment_are_written(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, {"patch": [1, 2, 3]}) as run:
        run.describe(plan(), ("a", "b"), torch.device("cpu"), 2)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["settings"] == {"patch": [1, 2, 3]}
    assert config["cases"] == ["a", "b"]
    assert config["plan"]["stages"][0]["optimiser"]["learning_rate"] == 0.02
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["versions"]["python"] == platform.python_version()
    assert (environment["device"], environment["processes"]) == ("cpu", 2)
    assert platform.node() not in (tmp_path / "environment.json").read_text()
