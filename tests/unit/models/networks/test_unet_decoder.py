"""The decoder brings the coarsest feature back to the image's size."""

from __future__ import annotations

import pytest
import torch

from models.networks.unet_decoder import UNetDecoder


def test_each_resolution_is_enlarged_to_its_skip() -> None:
    decoder = UNetDecoder((2, 3, 5), (8, 6, 4)).eval()
    sizes = [(17, 25), (9, 13), (5, 7)]
    features = [torch.randn(2, n, *size) for n, size in zip((2, 3, 5), sizes, strict=True)]
    assert decoder(features, (33, 50)).shape == (2, 4, 33, 50)


def test_as_many_blocks_as_features_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        UNetDecoder((2, 3, 5), (8, 6))


def test_every_skip_reaches_the_output() -> None:
    torch.manual_seed(0)
    decoder = UNetDecoder((2, 3, 5), (8, 6, 4)).eval()
    features = [
        torch.randn(1, n, size, size, requires_grad=True) for n, size in ((2, 8), (3, 4), (5, 2))
    ]
    decoder(features, (16, 16)).square().sum().backward()
    assert all(f.grad is not None and f.grad.any() for f in features)
