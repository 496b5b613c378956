"""MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244) as the encoder of a U-Net.

Its modules are named as in timm's `tf_mobilenetv3_large_100`, whose arithmetic is TensorFlow's:
strided convolutions pad behind rather than in front where the padding is odd, and batch norms
have an epsilon of 1e-3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

#: Epsilon of every batch norm in the encoder.
EPSILON = 1e-3
#: Channels of the stem, and of the last convolution.
STEM_CHANNELS, LAST_CHANNELS = 16, 960
#: Channels of the features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution.
FEATURE_CHANNELS = (16, 24, 40, 112, 960)
#: Stages (of those in `ROWS`, then the last convolution) after which these features are taken.
FEATURE_STAGES = (0, 1, 2, 4, 6)


class Row(NamedTuple):
    """A row of table 1: kernel, expanded channels, channels, squeeze, hard swish, stride."""

    kernel_size: int
    expanded: int
    channels: int
    squeeze: bool
    hard_swish: bool
    stride: int


#: Table 1 of the paper, rows 2 to 16, as stages of one resolution and number of channels.
ROWS: tuple[tuple[Row, ...], ...] = (
    (Row(3, 16, 16, False, False, 1),),
    (Row(3, 64, 24, False, False, 2), Row(3, 72, 24, False, False, 1)),
    (
        Row(5, 72, 40, True, False, 2),
        Row(5, 120, 40, True, False, 1),
        Row(5, 120, 40, True, False, 1),
    ),
    (
        Row(3, 240, 80, False, True, 2),
        Row(3, 200, 80, False, True, 1),
        Row(3, 184, 80, False, True, 1),
        Row(3, 184, 80, False, True, 1),
    ),
    (Row(3, 480, 112, True, True, 1), Row(3, 672, 112, True, True, 1)),
    (
        Row(5, 672, 160, True, True, 2),
        Row(5, 960, 160, True, True, 1),
        Row(5, 960, 160, True, True, 1),
    ),
)


class HalvingConv2d(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's padding: n pixels become ceil(n / 2)."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, groups: int = 1):
        super().__init__(in_channels, channels, kernel_size, stride=2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # an odd size needs one pixel more than an even one, and the odd pixel goes behind
        down = self.kernel_size[0] - 2 + x.shape[2] % 2
        across = self.kernel_size[1] - 2 + x.shape[3] % 2
        margins = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(F.pad(x, margins))


def _pointwise(in_channels: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 1, bias=False)


def _depthwise(channels: int, row: Row) -> nn.Conv2d:
    size = row.kernel_size
    if row.stride == 2:
        return HalvingConv2d(channels, channels, size, groups=channels)
    return nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


def _activation(hard_swish: bool) -> nn.Module:
    return nn.Hardswish(inplace=True) if hard_swish else nn.ReLU(inplace=True)


def squeezed_channels(channels: int) -> int:
    """About a quarter of `channels`: the nearest multiple of 8 that is not 10 % too small."""
    quarter = channels / 4
    nearest = max(8, math.floor(quarter / 8 + 0.5) * 8)
    return nearest if nearest >= 0.9 * quarter else nearest + 8


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the whole image holds (section 5.3 of the paper)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed_channels(channels), 1)
        self.conv_expand = nn.Conv2d(squeezed_channels(channels), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * F.hardsigmoid(self.conv_expand(F.relu(self.conv_reduce(mean))))


class Separable(nn.Module):
    """The first block, which does not expand: depthwise, then pointwise."""

    def __init__(self, in_channels: int, row: Row):
        super().__init__()
        self.conv_dw = _depthwise(in_channels, row)
        self.bn1 = _norm(in_channels)
        self.activate = _activation(row.hard_swish)
        self.conv_pw = _pointwise(in_channels, row.channels)
        self.bn2 = _norm(row.channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activate(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return y + x


class InvertedResidual(nn.Module):
    """Expand, filter each channel, weigh the channels, project (figure 4 of the paper)."""

    def __init__(self, in_channels: int, row: Row):
        super().__init__()
        self.has_identity = row.stride == 1 and in_channels == row.channels
        self.conv_pw = _pointwise(in_channels, row.expanded)
        self.bn1 = _norm(row.expanded)
        self.conv_dw = _depthwise(row.expanded, row)
        self.bn2 = _norm(row.expanded)
        self.activate = _activation(row.hard_swish)
        self.se = SqueezeExcite(row.expanded) if row.squeeze else nn.Identity()
        self.conv_pwl = _pointwise(row.expanded, row.channels)
        self.bn3 = _norm(row.channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activate(self.bn1(self.conv_pw(x)))
        y = self.activate(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        return y + x if self.has_identity else y


class LastConvolution(nn.Module):
    """Row 17 of table 1: to 960 channels, at 1/32 of the resolution."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.conv = _pointwise(in_channels, LAST_CHANNELS)
        self.bn1 = _norm(LAST_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return F.hardswish(self.bn1(self.conv(x)))


class MobileNetV3Encoder(nn.Module):
    """MobileNetV3-Large without its classifier.

    Parameters
    ----------
    in_channels
        Channels of the image.

    Notes
    -----
    Weights begin as in the authors' TensorFlow code: normal, variance 2 / fan-out, the fan-out of
    a grouped convolution counted within its group.
    """

    def __init__(self, in_channels: int = 3):
        super().__init__()
        self.conv_stem = HalvingConv2d(in_channels, STEM_CHANNELS, 3)
        self.bn1 = _norm(STEM_CHANNELS)
        stages: list[nn.Module] = []
        channels = STEM_CHANNELS
        for rows in ROWS:
            blocks: list[nn.Module] = []
            for row in rows:
                expands = row.expanded != channels
                blocks.append((InvertedResidual if expands else Separable)(channels, row))
                channels = row.channels
            stages.append(nn.Sequential(*blocks))
        stages.append(nn.Sequential(LastConvolution(channels)))
        self.blocks = nn.Sequential(*stages)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of an image (N, C, H, W): `FEATURE_CHANNELS` at 1/2 to 1/32, rounded up."""
        x = F.hardswish(self.bn1(self.conv_stem(x)))
        features = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in FEATURE_STAGES:
                features.append(x)
        return features


def _initialise(module: nn.Module) -> None:
    if not isinstance(module, nn.Conv2d):
        return
    fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
    nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))
    if module.bias is not None:
        nn.init.zeros_(module.bias)
