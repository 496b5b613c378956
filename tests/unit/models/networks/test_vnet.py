"""V-Net: shapes, size and what its normalisation promises."""

from __future__ import annotations

import hashlib
from typing import Any

import monai.networks.nets as monai_nets
import pytest
import torch
from torch import nn

from models.networks.vnet import VNet
from tests.unit.models.networks.formula import state_by_formula

#: sha256 of the lines "name [shape]" of the state dict; logits' means; logits of a voxel.
TENSORS_0_1_0 = "f0b8d11593044e03af7005c28e0faeb9d3dee962f095d5ba479b23c38554f689"
MEANS_0_1_0 = [
    -0.3159837,
    -0.1990262,
    -0.4780712,
    0.0698898,
    -0.05051139,
    -0.4250766,
    -0.1346586,
    -0.2695197,
]
VOXEL_0_1_0 = [
    -0.8060929,
    0.1286196,
    -0.1154623,
    -0.1154496,
    -0.2805697,
    -0.01744498,
    -0.2375247,
    -0.3960684,
]


def tiny(**changes: int) -> VNet:
    torch.manual_seed(3)
    return VNet(**{"out_channels": 5, "width": 2, "kernel_size": 3, **changes})


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_logits_have_the_images_shape(kernel_size: int) -> None:
    image = torch.randn(2, 1, 32, 16, 48)
    assert tiny(kernel_size=kernel_size)(image).shape == (2, 5, 32, 16, 48)


def test_the_papers_size_is_monais_plus_the_convolutions_that_monai_leaves_out() -> None:
    with torch.device("meta"):
        ours = parameters(VNet(in_channels=1, out_channels=2, width=16, kernel_size=5))
        theirs = parameters(monai_nets.VNet(in_channels=1, out_channels=2))
    # Figure 2 of the paper has 2, 3, 3, 3 convolutions going down and 3, 3, 2, 1 going up; MONAI
    # has 1, 2, 3, 2 and 2, 2, 1, 1. Each one left out at C channels is C * C * 5^3 weights.
    left_out = sum(channels**2 * 125 for channels in (32, 64, 256, 256, 128, 64))
    assert ours == pytest.approx(65.18e6, rel=1e-3)
    assert ours - left_out == pytest.approx(theirs, rel=1e-3)


def test_kernels_of_three_need_about_a_fifth_of_the_weights() -> None:
    with torch.device("meta"):
        share = parameters(VNet(width=16, kernel_size=3)) / parameters(VNet(width=16))
    assert 0.2 < share < 0.25


@pytest.mark.parametrize("kernel_size", [2, 4])
def test_even_kernels_are_refused(kernel_size: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        VNet(kernel_size=kernel_size)


def test_an_input_that_the_first_identity_cannot_add_is_refused() -> None:
    with pytest.raises(ValueError, match="input channels"):
        VNet(in_channels=3, width=4)
    for channels in (2, 4):
        network = VNet(in_channels=channels, width=4, kernel_size=1)
        assert network(torch.randn(1, channels, 32, 32, 32)).shape[1] == 2


def test_every_weight_learns() -> None:
    network = tiny()
    network(torch.randn(1, 1, 32, 32, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_windows_result_does_not_depend_on_its_batch() -> None:
    network, images = tiny().eval(), torch.randn(3, 1, 32, 32, 32)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", ["paper", "monai"])
def test_half_precision_gradients_on_the_cpu_point_where_the_single_ones_do(layout: str) -> None:
    """At 1/16 of the resolution there are two slices, fewer than the kernel has."""
    torch.manual_seed(0)
    network = VNet(out_channels=3, width=4, kernel_size=3, layout=layout)
    image, target = torch.randn(1, 1, 32, 48, 48), torch.randint(3, (1, 32, 48, 48))
    gradients = []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(image)
        nn.functional.cross_entropy(logits.float(), target).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert nn.functional.cosine_similarity(*gradients, dim=0) > 0.98


def test_monais_layout_has_monais_size_less_the_biases_that_norms_take_off() -> None:
    with torch.device("meta"):
        ours = parameters(VNet(out_channels=14, layout="monai", activation="elu"))
        theirs = parameters(monai_nets.VNet(in_channels=1, out_channels=14))
    assert theirs - ours == 128 + 64 + 32 + 16  # of the transposed convolutions


def test_dropout_zeroes_channels_while_training_and_nothing_after() -> None:
    torch.manual_seed(0)
    network = VNet(width=2, kernel_size=1, dropout=0.5)
    image = torch.randn(1, 1, 32, 32, 32)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"layout": "caffe"}, "expected layout to be one of paper, monai, found 'caffe'"),
        ({"activation": "relu"}, "expected activation to be one of prelu, elu, found 'relu'"),
        ({"dropout": 1.5}, "between 0 and 1"),
    ],
    ids=str,
)
def test_a_layout_that_there_is_not_is_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        VNet(**change)


def test_the_first_identity_repeats_the_channels_in_turn() -> None:
    torch.manual_seed(0)
    network = VNet(in_channels=2, width=4, kernel_size=1)
    nn.init.zeros_(network.enter.convolve[0].weight)
    entered = network.enter(image := torch.rand(1, 2, 2, 2, 2), image.repeat(1, 2, 1, 1, 1))
    assert torch.equal(entered, torch.cat([image, image], dim=1))


def test_weights_of_before_there_were_layouts_load_and_give_what_they_gave() -> None:
    """Figures of version 0.1.0's V-Net, with weights that follow a formula of their names."""
    network = VNet(out_channels=8, width=8, kernel_size=3)
    names = "\n".join(f"{name} {list(v.shape)}" for name, v in network.state_dict().items())
    assert hashlib.sha256(names.encode()).hexdigest() == TENSORS_0_1_0
    network.load_state_dict(state_by_formula(network))
    z, y, x = (torch.linspace(-1, 1, n) for n in (32, 48, 48))
    image = (3 * z[:, None, None] - 2 * y[:, None] + (5 * x).sin())[None, None]
    with torch.no_grad():
        logits = network.eval()(image)
    assert logits.mean((0, 2, 3, 4)).tolist() == pytest.approx(MEANS_0_1_0, rel=1e-4, abs=1e-4)
    assert logits[0, :, 9, 20, 30].tolist() == pytest.approx(VOXEL_0_1_0, rel=1e-3, abs=1e-3)
