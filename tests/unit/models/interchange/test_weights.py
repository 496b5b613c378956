from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.errors import BundleError
from models.interchange.weights import read_state

STATE = {"layer.weight": torch.ones(2, 3).half(), "steps": torch.tensor(7)}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 1},
        {"model": STATE},
        {"network_weights": STATE, "logging": [np.float64(0.5), np.float32(1), np.int64(3)]},
        {f"module.{name}": value for name, value in STATE.items()},
        {"model": {f"_orig_mod.{name}": value for name, value in STATE.items()}},
    ],
    ids=["bare", "state_dict", "model", "nnunet", "parallel", "compiled"],
)
def test_a_state_is_found_where_trainers_put_it(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")
    state = read_state(tmp_path / "model.pt")
    assert set(state) == set(STATE)
    assert state["layer.weight"].dtype == torch.float32
    assert state["steps"].item() == 7


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    assert torch.equal(read_state(tmp_path / "model.safetensors")["layer.weight"], torch.ones(2, 3))


class Trap:
    """Runs a command where it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.witness),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "trap": Trap(tmp_path / "run")}, tmp_path / "model.pt")
    with pytest.raises(BundleError, match="cannot read the weights"):
        read_state(tmp_path / "model.pt")
    assert not (tmp_path / "run").exists()


def test_objects_that_would_run_code_are_told_in_our_words(tmp_path: Path) -> None:
    torch.save({"trap": Trap(tmp_path / "run")}, tmp_path / "trap.pth")
    with pytest.raises(BundleError, match=r"found objects of \w+\.mkdir; other") as failure:
        read_state(tmp_path / "trap.pth")
    assert "weights_only" not in str(failure.value)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "UnpicklingError"),
        (b"no pickle", "UnpicklingError"),
        (b"e garbage", "IndexError: pop from empty list"),
        (b"\x80\x02h\xdf.", "KeyError: 223"),
        (bytes(1000), "RuntimeError"),  # PyTorch takes it for its first format, a tar
        (b"", "EOFError"),
        (b"PK\x03\x04", "RuntimeError: PytorchStreamReader failed"),
    ],
)
def test_what_is_damaged_or_no_checkpoint_is_told_as_that(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(BundleError) as failure:
        read_state(path)
    told = str(failure.value)
    start = f"cannot read the weights {path}: the file is damaged or none of PyTorch's ({kind}"
    assert told.startswith(start)
    for wrong in ("run code", "weights_only", "EOFError: EOFError"):
        assert wrong not in told


def test_a_program_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    program = torch.jit.trace(torch.nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 2))
    torch.jit.save(program, str(tmp_path / "model.pt"))
    with pytest.raises(BundleError, match=r"numbers and text, found a TorchScript program$"):
        read_state(tmp_path / "model.pt")


def test_a_file_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        read_state(tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"no pickle", b"PK\x03\x04"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="cannot read the weights"):
        read_state(path)


@pytest.mark.parametrize(
    ("content", "told"), [([1, 2], "found list"), ({}, "state dict"), ({"a": 3}, "found others")]
)
def test_what_is_no_state_is_refused(tmp_path: Path, content: Any, told: str) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(BundleError, match=told):
        read_state(tmp_path / "model.pt")
