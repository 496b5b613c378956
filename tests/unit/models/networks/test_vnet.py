"""V-Net: shapes, size and what its normalisation promises."""

from __future__ import annotations

import monai.networks.nets as monai_nets
import pytest
import torch
from torch import nn

from models.networks.vnet import ResidualStage, VNet


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
        VNet(in_channels=2, width=4)
    assert VNet(in_channels=4, width=4, kernel_size=1)(torch.randn(1, 4, 32, 32, 32)).shape[1] == 2


def test_every_weight_learns() -> None:
    network = tiny()
    network(torch.randn(1, 1, 32, 32, 32)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_windows_result_does_not_depend_on_its_batch() -> None:
    network, images = tiny().eval(), torch.randn(3, 1, 32, 32, 32)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel_size", "depth"), [(3, 3), (3, 2), (3, 1), (5, 5), (5, 4), (5, 2), (5, 1)], ids=str
)
def test_gradients_are_right_however_few_slices_a_stage_has(kernel_size: int, depth: int) -> None:
    """oneDNN's bfloat16 gradient of a kernel is garbage where 1 < depth < kernel_size.

    Seen with torch 2.13.0 (oneDNN 3.12.0) on a processor with AVX512-BF16.
    """
    torch.manual_seed(0)
    stage = ResidualStage(16, 16, 1, kernel_size)
    x, direction = torch.randn(2, 1, 16, depth, 6, 6)
    gradients = []
    for half in (False, True):
        stage.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = stage(x, x)
        (out.float() * direction).sum().backward()
        gradient = stage.convolve[0].weight.grad
        assert gradient is not None
        gradients.append(gradient.flatten())
    single, half_precision = gradients
    assert torch.isfinite(half_precision).all()
    assert (single - half_precision).norm() < 0.05 * single.norm()
