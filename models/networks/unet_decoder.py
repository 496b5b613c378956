"""The expanding path of a U-Net (Ronneberger et al. 2015, arXiv:1505.04597) for any 2D encoder.

Nearest-neighbour enlargement in place of the paper's transposed convolutions, "same" padding and
batch norms, with the module names of segmentation_models_pytorch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _convolve(in_channels: int, channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class UpBlock(nn.Module):
    """Enlarge to the skip's size, join it, and convolve twice."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int):
        super().__init__()
        self.conv1 = _convolve(in_channels + skip_channels, channels)
        self.conv2 = _convolve(channels, channels)

    def forward(self, x: Tensor, size: Sequence[int], skip: Tensor | None) -> Tensor:
        x = F.interpolate(x, size=list(size), mode="nearest")
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        out: Tensor = self.conv2(self.conv1(x))
        return out


class UNetDecoder(nn.Module):
    """One block for each of the encoder's resolutions; the image itself is no skip.

    Parameters
    ----------
    feature_channels
        Channels of the encoder's features, finest first.
    channels
        Channels of each block, coarsest first, as many as there are features.
    """

    def __init__(self, feature_channels: Sequence[int], channels: Sequence[int]):
        super().__init__()
        coarsest, *skips = reversed(feature_channels)
        self.blocks = nn.ModuleList(
            UpBlock(entering, skip, leaving)
            for entering, skip, leaving in zip(
                [coarsest, *channels[:-1]], [*skips, 0], channels, strict=True
            )
        )

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Map features (finest first) of an image of `size` (H, W) to (N, channels[-1], H, W)."""
        x, *skips = reversed(features)
        *joining, last = self.blocks
        for block, skip in zip(joining, skips, strict=True):
            x = block(x, skip.shape[2:], skip)
        out: Tensor = last(x, size, None)
        return out
