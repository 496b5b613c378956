"""The transformer of a UNETR with a head of its own."""

from __future__ import annotations

import pytest
import torch

from models.errors import BundleError
from models.networks.unetr_transformer import UNETRTransformer
from models.registry import build_network

SIZES = {
    "in_channels": 1,
    "out_channels": 3,
    "img_size": [16, 32, 48],
    "feature_size": 4,
    "hidden_size": 12,
    "mlp_dim": 16,
    "num_heads": 2,
    "proj_type": "conv",
    "norm_name": "instance",
    "res_block": True,
}
ALONE = {"_target_": "models.networks.unetr_transformer.UNETRTransformer", **SIZES}


def test_its_weights_fit_the_unetr_of_the_same_arguments() -> None:
    whole = build_network({"_target_": "monai.networks.nets.UNETR", **SIZES}).state_dict()
    alone = build_network(ALONE).state_dict()
    ours = {name: value.shape for name, value in alone.items() if name.startswith("vit.")}
    assert ours == {name: v.shape for name, v in whole.items() if name.startswith("vit.")}
    assert {name for name in alone if not name.startswith("vit.")} == {"head.weight", "head.bias"}


def test_a_cell_of_the_head_lies_where_its_patch_does() -> None:
    """With a head that copies a token's first entries, each cell has its own place."""
    torch.manual_seed(0)
    network = build_network(ALONE).eval()
    assert isinstance(network, UNETRTransformer)
    cell = (1, 2, 2)  # of each patch: its voxels from 4, 8 and 8 on
    row = cell[0] * 16 + cell[1] * 4 + cell[2]
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[64 + row] = 1.0  # class 1, in every patch
        scores = network(torch.randn(2, 1, 16, 32, 48))
    assert scores.shape == (2, 3, 16, 32, 48)
    assert (scores[:, (0, 2)] == 0).all()
    peaks = (scores[0, 1] > 0.6).nonzero()
    assert set(peaks[:, 0].tolist()) == {5, 6}
    assert set(peaks[:, 1].tolist()) == {9, 10, 25, 26}
    assert set(peaks[:, 2].tolist()) == {9, 10, 25, 26, 41, 42}


def test_sizes_that_are_no_patches_are_refused() -> None:
    with pytest.raises(BundleError, match="does not take these arguments"):
        build_network({**ALONE, "img_size": [16, 32, 40]})
