"""What many tests need: real data where it is present, and a model small enough to run at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from models.bundle import Bundle
from operators.holoscan_runtime import prepare

prepare()  # as the program does at its start: MONAI imports Holoscan
torch.set_num_threads(1)  # several test runs share a machine, and sums keep one order

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

ANATOMY = {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"}
KIDNEY = {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"}
SEGMENTS = [
    {
        "class": 1,
        "number": 1,
        "name": "liver",
        "label": "Liver",
        "category": ANATOMY,
        "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
        "modifier": None,
        "rgb": [221, 130, 101],
    },
    {
        "class": 2,
        "number": 2,
        "name": "kidney_left",
        "label": "Left kidney",
        "category": ANATOMY,
        "type": KIDNEY,
        "modifier": {"value": "7771000", "scheme": "SCT", "meaning": "Left"},
        "rgb": [212, 126, 151],
    },
    {
        "class": 3,
        "number": 3,
        "name": "kidney_right",
        "label": "Right kidney",
        "category": ANATOMY,
        "type": KIDNEY,
        "modifier": {"value": "24028007", "scheme": "SCT", "meaning": "Right"},
        "rgb": [185, 102, 83],
    },
]
VNET = {
    "_target_": "models.networks.vnet.VNet",
    "in_channels": 1,
    "out_channels": len(SEGMENTS) + 1,
    "width": 2,
    "kernel_size": 3,
}


class MakeBundle(Protocol):
    """Write a bundle of three organs with random weights; always the same ones."""

    def __call__(self, name: str = ..., network: Mapping[str, Any] = ...) -> Bundle: ...


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    def make(name: str = "tiny", network: Mapping[str, Any] = VNET) -> Bundle:
        configs = tmp_path / name / "configs"
        configs.mkdir(parents=True)
        contents: dict[str, object] = {
            "metadata.json": {"version": "0.0.1", "name": name},
            "labels.json": {"segments": SEGMENTS},
            "inference.json": {
                "network_def": network,
                "preprocessing": {"spacing_mm": 3.0, "low_hu": -200, "high_hu": 300},
                "sliding_window": {"size": [32, 32, 32], "overlap": 0.25, "batch": 1},
                "postprocessing": {"largest_component": False},
            },
        }
        for file, content in contents.items():
            (configs / file).write_text(json.dumps(content), encoding="utf-8")
        bundle = Bundle.read(configs.parent)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            state = bundle.build_network().state_dict()
        return bundle.save_weights(state, {})

    return make


@pytest.fixture
def tiny_bundle(make_bundle: MakeBundle) -> Bundle:
    """A bundle `tiny` in a folder of its own: a V-Net of width 2, windows of 32 voxels a side."""
    return make_bundle()


@pytest.fixture
def shared_data() -> Path:
    """Real CT beside the checkout; they are too large and too restricted to be part of it."""
    if not DATA.is_dir():
        pytest.skip("real CT data are absent: expected them in ../shared/data")
    return DATA
