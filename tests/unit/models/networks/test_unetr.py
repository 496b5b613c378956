"""UNETR as MONAI has it."""

from __future__ import annotations

import torch
from monai.networks.nets.unetr import UNETR

from models.networks.unetr import build_unetr


def test_the_arguments_reach_monais_network() -> None:
    network = build_unetr(
        in_channels=1,
        out_channels=4,
        img_size=[32, 32, 32],
        feature_size=4,
        hidden_size=24,
        mlp_dim=48,
        num_heads=3,
    )
    assert isinstance(network, UNETR)
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 4, 32, 32, 32)
