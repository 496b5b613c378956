"""A recipe that takes a second: labelled boxes as pairs of NIfTI, for the network of `tiny_bundle`.

Each case is 20 x 24 x 28 voxels of 3 mm. The liver has label 6 and 8 x 10 x 6 voxels, the left
kidney 3 and the right one 2; label 1 is an organ that the network does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Bundle
from models.data.nifti import write_nifti
from models.geometry import VolumeGeometry

LABELS = {"liver": 6, "kidney_left": 3, "kidney_right": 2}
SHAPE = (20, 24, 28)
SPACING_MM = 3.0
LIVER_VOXELS = 8 * 10 * 6
#: First voxel, size and HU of the box of each label.
BOXES = {
    6: ((6, 6, 4), (8, 10, 6), 150),
    3: ((4, 14, 20), (6, 4, 4), 200),
    2: ((4, 14, 12), (6, 4, 4), 250),
    1: ((12, 4, 20), (6, 6, 6), 100),
}
RECIPE: Mapping[str, Any] = {
    "data": {"layout": "pairs", "labels": LABELS, "other_labels": [1]},
    "samples": {"kind": "patches", "size": [16, 32, 32], "per_case": 2},
    "optimiser": {"learning_rate": 0.01},
    "epochs": 2,
    "seed": 3,
}
#: A network that sees a slice three times, as grey pictures have it.
SLICE_NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 4,
    "channels": [4, 8],
    "strides": [2],
}
SLICE_SETTINGS = {
    "network_def": SLICE_NETWORK,
    "dimensions": 2,
    "preprocessing": {"shape": [None, 32, 32], "low_hu": -200, "high_hu": 300, "channels": 3},
    "sliding_window": {"size": [1, 32, 32], "overlap": 0.0, "batch": 4},
}


def write_pairs(
    folder: Path, *names: str, values: Mapping[int, int] = {number: number for number in BOXES}
) -> Path:
    """Cases of these names; `values` gives the label value that each box has in the files."""
    geometry = VolumeGeometry.from_spacing(SHAPE, (SPACING_MM,) * 3)
    for number, name in enumerate(names):
        hu, labels = np.full(SHAPE, -100, np.int16), np.zeros(SHAPE, np.uint8)
        hu[:, :2] = -1000
        for value, (first, size, brightness) in BOXES.items():
            box = tuple(slice(at, at + n) for at, n in zip(first, size, strict=True))
            hu[box], labels[box] = brightness + number, values[value]
        write_nifti(hu, geometry, folder / f"{name}_ct.nii.gz")
        write_nifti(labels, geometry, folder / f"{name}_label.nii.gz")
    return folder


def with_recipe(bundle: Bundle, content: Mapping[str, Any] = RECIPE) -> Bundle:
    """The bundle with another `train.json`."""
    path = bundle.folder / "configs" / "train.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return bundle


def of_slices(bundle: Bundle) -> Bundle:
    """The bundle with a network of two dimensions, untrained."""
    path = bundle.folder / "configs" / "inference.json"
    path.write_text(json.dumps(SLICE_SETTINGS), encoding="utf-8")
    return Bundle.read(bundle.folder)
