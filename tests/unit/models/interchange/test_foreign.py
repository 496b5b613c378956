from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.errors import BundleError, OutOfMemoryError
from models.interchange.foreign import ScriptedNetwork
from models.interchange.monai_bundle import read_monai_bundle
from models.segmenter import Segmenter
from tests.unit.models.interchange.foreign_folders import (
    NETWORK,
    write_zoo_bundle,
    zoo_inference,
    zoo_metadata,
)


class Program(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, twice: bool = False) -> None:
        super().__init__()
        self.layer = nn.Conv3d(inputs, outputs, 1)
        self.twice = twice

    def forward(self, windows: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits: Tensor = self.layer(windows)
        return (logits, logits) if self.twice else logits


@pytest.mark.parametrize(
    ("inputs", "outputs", "twice", "names", "told"),
    [
        (1, 5, False, ("background", "liver"), r"background and 1 classes, size\), found \(1, 5, "),
        (1, 2, False, ("background", "liver", "spleen", "aorta"), r"found \(1, 2, 80, 64, 48\)"),
        (3, 2, False, ("background", "liver"), r"found that it fails: .*channels"),
        (1, 2, True, ("background", "liver"), r"gives one tensor of .*, found tuple"),
    ],
    ids=["more classes", "fewer classes", "three inputs", "two results"],
)
def test_a_program_with_other_outputs_than_the_metadata_is_refused(
    tmp_path: Path, inputs: int, outputs: int, twice: bool, names: tuple[str, ...], told: str
) -> None:
    definition = {**NETWORK, "_target_": "scripts.networks.Secret"}
    inference = zoo_inference(network_def=definition)
    write_zoo_bundle(tmp_path / "zoo", inference, zoo_metadata(names), scripted=True)
    program = torch.jit.trace(
        Program(inputs, outputs, twice=twice), torch.zeros(1, inputs, 4, 4, 4)
    )
    torch.jit.save(program, str(tmp_path / "zoo" / "models" / "model.ts"))
    bundle = read_monai_bundle(tmp_path / "zoo")
    with pytest.raises(BundleError, match=f"zoo: expected a program that .*{told}"):
        Segmenter(bundle, "cpu")


class Failing(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, windows: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), OutOfMemoryError),
        (RuntimeError("in the interpreter\nRuntimeError: CUDA out of memory."), OutOfMemoryError),
        (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemoryError),
        (RuntimeError("CUDA error: an illegal memory access"), RuntimeError),
        (RuntimeError("Traceback of TorchScript\nRuntimeError: sizes differ"), BundleError),
    ],
)
def test_a_lack_of_memory_is_not_the_programs_fault(
    error: Exception, expected: type[Exception]
) -> None:
    network = ScriptedNetwork(Failing(error), 2, "zoo")
    with pytest.raises(expected) as failure:
        network(torch.zeros(1, 1, 4, 4, 4))
    assert type(failure.value) is expected
