"""The U-Nets of nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z), version 2.

Names of parameters and arithmetic are those of the package dynamic-network-architectures, so that
its state dicts load strictly. It registers some modules under two names (a block's layers also in
`all_modules`, the encoder also in the decoder), and so do these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]
_ONE: Triple = (1, 1, 1)


@dataclass(frozen=True)
class Style:
    """What all blocks of a network share.

    Parameters
    ----------
    bias
        Whether convolutions have one.
    eps
        Of the instance normalisation.
    slope
        Of the leaky ReLU below zero.
    """

    bias: bool = True
    eps: float = 1e-5
    slope: float = 0.01


@dataclass(frozen=True)
class Stage:
    """One resolution: the blocks there, and how it is reached from the one above."""

    blocks: int
    channels: int
    kernel: Triple
    stride: Triple = _ONE


class ConvBlock(nn.Module):
    """Convolution, instance normalisation and, unless told otherwise, leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: Triple,
        stride: Triple,
        style: Style,
        activate: bool = True,
    ):
        super().__init__()
        k, j, i = kernel
        padding = (k - 1) // 2, (j - 1) // 2, (i - 1) // 2
        self.conv = nn.Conv3d(in_channels, channels, kernel, stride, padding, bias=style.bias)
        self.norm = nn.InstanceNorm3d(channels, eps=style.eps, affine=True)
        layers: list[nn.Module] = [self.conv, self.norm]
        if activate:
            self.nonlin = nn.LeakyReLU(style.slope)
            layers.append(self.nonlin)
        self.all_modules = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.all_modules(x)
        return out


class StackedConvBlocks(nn.Module):
    """Convolution blocks at one resolution; the first may lower it."""

    def __init__(self, in_channels: int, stage: Stage, style: Style):
        super().__init__()
        first = ConvBlock(in_channels, stage.channels, stage.kernel, stage.stride, style)
        others = (
            ConvBlock(stage.channels, stage.channels, stage.kernel, _ONE, style)
            for _ in range(stage.blocks - 1)
        )
        self.convs = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.convs(x)
        return out


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut that pools by the mean (ResNet-D, arXiv:1812.01187)."""

    def __init__(
        self, in_channels: int, channels: int, kernel: Triple, stride: Triple, style: Style
    ):
        super().__init__()
        self.conv1 = ConvBlock(in_channels, channels, kernel, stride, style)
        self.conv2 = ConvBlock(channels, channels, kernel, _ONE, style, activate=False)
        self.nonlin2 = nn.LeakyReLU(style.slope)
        shortcut: list[nn.Module] = []
        if stride != _ONE:
            shortcut.append(nn.AvgPool3d(stride, stride))
        if in_channels != channels:
            unbiased = Style(bias=False, eps=style.eps, slope=style.slope)
            shortcut.append(ConvBlock(in_channels, channels, _ONE, _ONE, unbiased, activate=False))
        self.skip = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return out


class StackedResidualBlocks(nn.Module):
    """Residual blocks at one resolution; the first may lower it."""

    def __init__(self, in_channels: int, stage: Stage, style: Style):
        super().__init__()
        first = ResidualBlock(in_channels, stage.channels, stage.kernel, stage.stride, style)
        others = (
            ResidualBlock(stage.channels, stage.channels, stage.kernel, _ONE, style)
            for _ in range(stage.blocks - 1)
        )
        self.blocks = nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


class Encoder(nn.Module):
    """The features of every stage, from the input's resolution down."""

    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None = None):
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = x if self.stem is None else self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the lowest resolution up, joining the encoder's features."""

    def __init__(
        self,
        encoder: Encoder,
        stages: Sequence[Stage],
        convolutions: Sequence[int],
        out_channels: int,
        style: Style,
    ):
        super().__init__()
        self.encoder = encoder  # only so that its parameters have their second name
        self.stages, self.transpconvs, self.seg_layers = (nn.ModuleList() for _ in range(3))
        pairs = zip(stages[:0:-1], stages[-2::-1], convolutions, strict=True)
        for below, here, count in pairs:
            self.transpconvs.append(
                nn.ConvTranspose3d(
                    below.channels, here.channels, below.stride, below.stride, bias=style.bias
                )
            )
            self.stages.append(
                StackedConvBlocks(
                    2 * here.channels, Stage(count, here.channels, here.kernel), style
                )
            )
            # all but the last serve the training alone
            self.seg_layers.append(nn.Conv3d(here.channels, out_channels, 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for enlarge, stage, skip in zip(
            self.transpconvs, self.stages, features[-2::-1], strict=True
        ):
            x = stage(torch.cat([enlarge(x), skip], dim=1))
        logits: Tensor = self.seg_layers[-1](x)
        return logits


class PlainConvUNet(nn.Module):
    """nnU-Net's standard U-Net, without deep supervision's outputs.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits.
    features
        Channels of each stage, from the input's resolution down.
    kernel_sizes, strides
        Three numbers a stage, in array order; the first stage's stride is 1.
    convolutions
        Blocks of each stage of the encoder.
    decoder_convolutions
        Blocks of each stage of the decoder, from the lowest resolution up; one stage fewer.
    bias, eps, slope
        See `Style`.

    Raises
    ------
    ValueError
        If the lists do not fit one another.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        kernel_sizes: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        convolutions: Sequence[int],
        decoder_convolutions: Sequence[int],
        bias: bool = True,
        eps: float = 1e-5,
        slope: float = 0.01,
    ):
        super().__init__()
        style = Style(bias, eps, slope)
        stages = [
            Stage(count, channels, _triple(kernel), _triple(stride))
            for count, channels, kernel, stride in zip(
                convolutions, features, kernel_sizes, strides, strict=True
            )
        ]
        self.encoder = self._encoder(in_channels, stages, style)
        self.decoder = Decoder(self.encoder, stages, decoder_convolutions, out_channels, style)

    def _encoder(self, in_channels: int, stages: Sequence[Stage], style: Style) -> Encoder:
        before = (in_channels, *(stage.channels for stage in stages[:-1]))
        return Encoder(
            [
                nn.Sequential(StackedConvBlocks(channels, stage, style))
                for channels, stage in zip(before, stages, strict=True)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map an image (N, C, D, H, W) to logits (N, classes, D, H, W)."""
        logits: Tensor = self.decoder(self.encoder(x))
        return logits


class ResidualEncoderUNet(PlainConvUNet):
    """nnU-Net's U-Net with a residual encoder (Isensee et al. 2024, arXiv:2404.09556).

    Takes what `PlainConvUNet` takes; `convolutions` counts the residual blocks of each stage.
    """

    def _encoder(self, in_channels: int, stages: Sequence[Stage], style: Style) -> Encoder:
        channels = stages[0].channels
        stem = StackedConvBlocks(in_channels, Stage(1, channels, stages[0].kernel), style)
        before = (channels, *(stage.channels for stage in stages[:-1]))
        return Encoder(
            [
                StackedResidualBlocks(channels, stage, style)
                for channels, stage in zip(before, stages, strict=True)
            ],
            stem,
        )


def _triple(values: Sequence[int]) -> Triple:
    depth, height, width = (int(n) for n in values)
    return depth, height, width
