"""The list of models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main
from models.bundle import Bundle

RECIPES = {"unetr_btcv", "vnet_flare22", "vnet_four_organs", "unet_liver_msd", "mobilenetv3_rsna"}


def test_every_recipe_is_listed_with_its_organs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries.keys() >= RECIPES | {"abdomen_vnet_3mm"}
    assert [name for name, entry in entries.items() if entry["default"]] == ["abdomen_vnet_3mm"]
    assert len(entries["unetr_btcv"]["organs"]) == len(entries["vnet_flare22"]["organs"]) == 13
    assert entries["mobilenetv3_rsna"]["organs"][-1] == "bowel"
    assert "ten_organs" in entries["unetr_btcv"]["variants"]


def test_a_model_without_weights_says_so(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "-m", str(tiny_bundle.folder)]) == 0
    assert "VNet, 0.5 MB" in capsys.readouterr().out
    tiny_bundle.weights.unlink()
    assert main(["models", "-m", str(tiny_bundle.folder)]) == 0
    told = capsys.readouterr().out
    assert "VNet, to be trained" in told
    assert "liver, kidney_left, kidney_right" in told


def test_a_folder_without_models_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "-m", str(tmp_path)]) != 0
    assert "expected models in" in capsys.readouterr().err
