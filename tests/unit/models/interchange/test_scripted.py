from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import BundleError
from models.interchange.reading import is_foreign, read_foreign
from models.interchange.scripted import DESCRIPTION, read_scripted
from tests.unit.models.interchange.foreign_folders import write_nnunet, write_zoo_bundle


def write_program(path: Path, description: Any) -> None:
    program = torch.jit.trace(torch.nn.Conv3d(1, 3, 1), torch.zeros(1, 1, 4, 4, 4))
    extra = {} if description is None else {DESCRIPTION: json.dumps(description)}
    torch.jit.save(program, str(path), _extra_files=extra)


def description() -> dict[str, Any]:
    code = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
    liver = {"class": 1, "number": 4, "name": "liver", "label": "Liver", "category": code}
    return {
        "name": "two_organs",
        "metadata": {"version": "2.1"},
        "inference": {
            "preprocessing": {"spacing_mm": 3.0, "low_hu": -200, "high_hu": 300},
            "sliding_window": {"size": [32, 32, 32], "overlap": 0.5, "batch": 2},
        },
        "labels": {
            "segments": [
                {**liver, "type": code, "modifier": None, "rgb": [221, 130, 101]},
                {"class": 2, "number": None, "name": "pancreas"},
            ]
        },
    }


def test_a_program_carries_its_whole_bundle(tmp_path: Path) -> None:
    write_program(tmp_path / "model.ts", description())
    assert is_foreign(tmp_path / "model.ts")
    bundle = read_foreign(tmp_path / "model.ts")
    assert (bundle.name, bundle.version) == ("two_organs", "2.1")
    assert bundle.label_numbers.tolist() == [0, 4, 0]
    assert bundle.sliding_window.batch == 2
    assert bundle.load_network()(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


@pytest.mark.parametrize("content", [None, [], {"name": "x"}])
def test_a_program_without_its_description_is_refused(tmp_path: Path, content: Any) -> None:
    write_program(tmp_path / "model.ts", content)
    with pytest.raises(BundleError, match="description"):
        read_scripted(tmp_path / "model.ts")


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ts").write_text("export const model = 1;")
    with pytest.raises(BundleError, match="cannot read TorchScript"):
        read_scripted(tmp_path / "model.ts")


def test_each_kind_of_model_is_told_apart(tmp_path: Path) -> None:
    write_zoo_bundle(tmp_path / "zoo")
    write_nnunet(tmp_path / "nnunet")
    (tmp_path / "empty").mkdir()
    assert read_foreign(tmp_path / "zoo").class_of == {"spleen": 1}
    assert read_foreign(tmp_path / "nnunet").class_of == {"spleen": 1, "kidney_right": 2}
    assert not is_foreign(tmp_path / "empty")
    with pytest.raises(BundleError, match="expected a MONAI bundle, nnU-Net's plans"):
        read_foreign(tmp_path / "empty")
