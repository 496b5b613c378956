"""The encoder's table and its padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.networks.mobilenetv3 import (
    FEATURE_CHANNELS,
    HalvingConv2d,
    MobileNetV3Encoder,
    squeezed_channels,
)


def test_features_have_their_channels_and_resolutions() -> None:
    features = MobileNetV3Encoder(in_channels=1).eval()(torch.randn(1, 1, 64, 96))
    assert [f.shape[1] for f in features] == list(FEATURE_CHANNELS)
    assert [tuple(f.shape[2:]) for f in features] == [(64 // n, 96 // n) for n in (2, 4, 8, 16, 32)]


def test_odd_sizes_are_rounded_up_at_each_resolution() -> None:
    features = MobileNetV3Encoder().eval()(torch.randn(1, 3, 33, 50))
    assert [tuple(f.shape[2:]) for f in features] == [(17, 25), (9, 13), (5, 7), (3, 4), (2, 2)]


@pytest.mark.parametrize(
    ("channels", "squeezed"),
    [(16, 8), (72, 24), (120, 32), (480, 120), (672, 168), (960, 240)],
)
def test_a_quarter_is_rounded_to_eights_but_never_loses_a_tenth(
    channels: int, squeezed: int
) -> None:
    assert squeezed_channels(channels) == squeezed


@pytest.mark.parametrize(
    ("kernel_size", "size", "before", "behind"),
    [(3, 8, 0, 1), (3, 7, 1, 1), (5, 8, 1, 2), (5, 7, 2, 2)],
    ids=str,
)
def test_the_odd_pixel_of_padding_goes_behind(
    kernel_size: int, size: int, before: int, behind: int
) -> None:
    convolution, image = HalvingConv2d(2, 3, kernel_size), torch.randn(1, 2, size, size)
    padded = F.pad(image, (before, behind, before, behind))
    torch.testing.assert_close(convolution(image), F.conv2d(padded, convolution.weight, stride=2))


def test_weights_begin_with_the_variance_of_their_fan_out() -> None:
    torch.manual_seed(0)
    encoder = MobileNetV3Encoder()
    pointwise = encoder.get_parameter("blocks.6.0.conv.weight")  # 960 outputs
    depthwise = encoder.get_parameter("blocks.5.1.conv_dw.weight")  # 5 x 5 within each channel
    assert float(pointwise.detach().std()) == pytest.approx((2 / 960) ** 0.5, rel=0.02)
    assert float(depthwise.detach().std()) == pytest.approx((2 / 25) ** 0.5, rel=0.02)
    assert not encoder.get_parameter("blocks.5.1.se.conv_reduce.bias").any()
