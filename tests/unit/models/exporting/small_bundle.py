"""A bundle of ours with a small network of random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.phantom import make_phantom
from models.segmenter import Segmenter

VNET = {
    "_target_": "models.networks.vnet.VNet",
    "in_channels": 1,
    "out_channels": 3,
    "width": 2,
    "kernel_size": 3,
}
UNETR = {
    "_target_": "monai.networks.nets.UNETR",
    "in_channels": 1,
    "out_channels": 3,
    "img_size": [32, 32, 32],
    "feature_size": 4,
    "hidden_size": 24,
    "mlp_dim": 48,
    "num_heads": 4,
    "proj_type": "conv",
    "norm_name": "instance",
}
UNET = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "num_res_units": 2,
    "norm": "batch",
}
MOBILE = {
    "_target_": "models.networks.mobilenetv3_unet.MobileNetV3UNet",
    "in_channels": 3,
    "out_channels": 3,
}
SLICES = {
    "shape": [None, 64, 96],
    "low_hu": -150,
    "high_hu": 250,
    "range": [0, 1],
    "channels": 3,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
KINDS = ("vnet", "unetr", "unet", "mobilenetv3")
GRID = {"spacing_mm": [6.0, 5.0, 5.0], "low_hu": -200, "high_hu": 300, "range": [0, 1]}


def write_bundle(
    folder: Path,
    network: Mapping[str, Any] = VNET,
    *,
    dimensions: int = 3,
    preprocessing: Mapping[str, Any] = GRID,
    size: tuple[int, int, int] = (32, 32, 48),
    pieces: Sequence[str] = ("liver",),
) -> Bundle:
    """Two organs, of which the second is no output."""
    for name in ("configs", "docs"):
        (folder / name).mkdir(parents=True)
    contents: dict[str, Any] = {
        "metadata": {"version": "0.3.0", "name": "Two organs", "body_region": "abdomen"},
        "inference": {
            "network_def": dict(network),
            "dimensions": dimensions,
            "preprocessing": dict(preprocessing),
            "sliding_window": {"size": size, "overlap": 0.5 if dimensions == 3 else 0, "batch": 2},
            "postprocessing": {"largest_component": list(pieces)},
        },
        "labels": {
            "segments": [
                {
                    "class": 1,
                    "number": 5,
                    "name": "liver",
                    "label": "Liver",
                    "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical"},
                    "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"},
                    "modifier": None,
                    "rgb": [221, 130, 101],
                },
                {"class": 2, "number": None, "name": "pancreas"},
            ]
        },
    }
    for name, content in contents.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "docs" / "README.md").write_text("# Two organs\n", encoding="utf-8")
    bundle = Bundle.read(folder)
    torch.manual_seed(0)
    return bundle.save_weights(bundle.build_network().state_dict(), {})


def write_kind(kind: str, folder: Path) -> Bundle:
    """A bundle with the network named, of `KINDS`."""
    if kind == "mobilenetv3":
        return write_bundle(folder, MOBILE, dimensions=2, preprocessing=SLICES, size=(1, 64, 96))
    if kind == "vnet":
        return write_bundle(folder)
    return write_bundle(folder, UNETR if kind == "unetr" else UNET, size=(32, 32, 32))


def labels_of(bundle: Bundle) -> NDArray[np.uint8]:
    """What a bundle makes of a coarse phantom."""
    volume = make_phantom(3, (8.0, 6.0, 6.0), (10, 28, 36), phase="portal").volume
    return Segmenter(bundle, "cpu").segment(volume).labels
