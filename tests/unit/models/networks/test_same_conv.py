"""Convolutions whose gradients are right where oneDNN's are not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from models.networks.same_conv import SameConv3d, mend_gradients

#: Slices fewer than, and as many as, kernels of 3 and of 5 have.
DEPTHS = [(3, 3), (3, 2), (3, 1), (5, 5), (5, 4), (5, 2), (5, 1)]


SHAPES = [(kernel_size, (depth, 6, 6)) for kernel_size, depth in DEPTHS]
SHAPES += [(5, shape) for shape in ((1, 1, 3), (2, 1, 1), (4, 1, 5), (8, 1, 6), (6, 2, 1))]


@pytest.mark.parametrize(("kernel_size", "shape"), SHAPES, ids=str)
def test_gradients_are_right_however_small_the_input_is(
    kernel_size: int, shape: tuple[int, int, int]
) -> None:
    """oneDNN's bfloat16 gradient is garbage where 1 < depth < kernel_size, and for one row.

    Seen with torch 2.13.0 (oneDNN 3.12.0) on a processor with AVX512-BF16.
    """
    torch.manual_seed(0)
    convolution = SameConv3d(16, 16, kernel_size)
    x, direction = torch.randn(2, 2, 16, *shape)
    gradients = []
    for half in (False, True):
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = convolution(x)
        (out.float() * direction).sum().backward()
        gradient = convolution.weight.grad
        assert gradient is not None
        gradients.append(gradient)
    single, half_precision = gradients
    assert torch.isfinite(half_precision).all()
    assert (single - half_precision).norm() < 0.05 * single.norm()


@pytest.mark.parametrize(("kernel_size", "depth"), DEPTHS, ids=str)
def test_the_output_is_a_plain_convolutions(kernel_size: int, depth: int) -> None:
    torch.manual_seed(0)
    mended = SameConv3d(2, 3, kernel_size)
    plain = nn.Conv3d(2, 3, kernel_size, padding=kernel_size // 2, bias=False)
    plain.load_state_dict(mended.state_dict())
    x = torch.randn(1, 2, depth, 6, 6)
    assert torch.equal(mended(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mended(x), plain(x))


def test_only_plain_convolutions_that_keep_the_size_change_and_keep_weights_and_biases() -> None:
    network = nn.Sequential(
        nn.Conv3d(2, 2, 3, padding=1),
        nn.Conv3d(2, 2, (1, 3, 3), padding=(0, 1, 1)),
        nn.Conv3d(2, 2, 3, padding=1, stride=2),
        nn.Conv3d(2, 2, 3),
        nn.Conv3d(2, 2, 3, padding=2, dilation=2),
        nn.Conv3d(2, 2, 3, padding=1, groups=2),
        nn.Conv3d(2, 2, 3, padding="same"),
        nn.Conv3d(2, 2, 3, padding=1, padding_mode="replicate"),
        nn.Conv2d(2, 2, 3, padding=1),
    )
    before = copy.deepcopy(network)
    assert mend_gradients(network) is network
    assert [type(m) is SameConv3d for m in network] == [True, True] + [False] * 7
    assert list(network.state_dict()) == list(before.state_dict())
    x = torch.randn(1, 2, 2, 6, 6)
    assert torch.equal(network[0](x), before[0](x))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(network[0](x), before[0](x))


def test_it_becomes_torchscript() -> None:
    convolution, x = SameConv3d(2, 2, 3), torch.randn(1, 2, 2, 4, 4)
    assert torch.equal(torch.jit.script(convolution)(x), convolution(x))
