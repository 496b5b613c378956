"""MONAI's own networks as a bundle builds them, and their gradients on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import nn

from models.networks.monai_nets import MONAI_NETWORKS, monai_builder

#: Small networks, with the smallest input whose deepest stage has two slices.
SMALL: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "UNETR": (
        {
            "in_channels": 1,
            "out_channels": 4,
            "img_size": [32, 48, 48],
            "feature_size": 8,
            "hidden_size": 48,
            "mlp_dim": 96,
            "num_heads": 3,
        },
        (1, 1, 32, 48, 48),
    ),
    "UNet": (
        {
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 3,
            "channels": [16, 32, 64],
            "strides": [2, 2],
            "num_res_units": 2,
        },
        (1, 1, 8, 32, 32),
    ),
    "SegResNet": ({"init_filters": 16, "in_channels": 1, "out_channels": 4}, (1, 1, 16, 32, 32)),
    "SwinUNETR": (
        {"in_channels": 1, "out_channels": 4, "feature_size": 12, "window_size": 4},
        (1, 1, 64, 32, 64),
    ),
}


def gradients_of(network: nn.Module, image: torch.Tensor, half: bool) -> torch.Tensor:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = network(image)
    target = (image[:, 0] > 0).long()
    nn.functional.cross_entropy(logits.float(), target).backward()
    # UNETR's transformer has layers for cross attention, which nothing calls
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", MONAI_NETWORKS)
def test_the_arguments_reach_monais_network(name: str) -> None:
    arguments, _ = SMALL[name]
    torch.manual_seed(0)
    ours = monai_builder(name)(**arguments)
    torch.manual_seed(0)
    theirs = getattr(nets, name)(**arguments)
    assert type(ours) is type(theirs)
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("name", MONAI_NETWORKS)
def test_half_precision_gradients_on_the_cpu_point_where_the_single_ones_do(name: str) -> None:
    """Where the deepest stage has two slices, oneDNN's are random for MONAI's networks as such."""
    arguments, shape = SMALL[name]
    torch.manual_seed(0)
    network = monai_builder(name)(**arguments)
    image = nn.functional.avg_pool3d(torch.randn(shape), 3, stride=1, padding=1)
    single, half = (gradients_of(network, image, half) for half in (False, True))
    assert torch.isfinite(half).all()
    assert nn.functional.cosine_similarity(single, half, dim=0) > 0.98


@pytest.mark.parametrize("name", ["UNet", "SegResNet"])
def test_it_becomes_torchscript(name: str) -> None:
    arguments, shape = SMALL[name]
    network, image = monai_builder(name)(**arguments).eval(), torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(image), network(image))
