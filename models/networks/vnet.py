"""V-Net (Milletari, Navab and Ahmadi 2016, arXiv:1606.04797), with the width as a parameter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Convolutions of each stage, from the input's resolution down (figure 2 of the paper).
STAGE_CONVOLUTIONS = (1, 2, 3, 3, 3)


def _activation(channels: int) -> nn.Module:
    return nn.PReLU(channels)


class _StageConv3d(nn.Conv3d):
    """A "same" convolution whose gradients are right on the CPU too.

    oneDNN 3.12 (torch 2.13) computes wrong bfloat16 weight gradients where the input has more than
    one slice but fewer than the kernel; with the slices' padding added beforehand it does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        few = 1 < x.shape[2] < self.kernel_size[0]
        if not (few and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        margin, *others = (size // 2 for size in self.kernel_size)
        padded = F.pad(x, (0, 0, 0, 0, margin, margin))
        return F.conv3d(padded, self.weight, self.bias, self.stride, (0, *others))


class ResidualStage(nn.Module):
    """`convolutions` convolutions at one resolution, plus the identity (figure 2)."""

    def __init__(self, in_channels: int, channels: int, convolutions: int, kernel_size: int):
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convolutions):
            layers += [
                _StageConv3d(
                    in_channels if index == 0 else channels,
                    channels,
                    kernel_size,
                    padding=kernel_size // 2,
                    bias=False,
                ),
                nn.InstanceNorm3d(channels, affine=True),
            ]
            if index + 1 < convolutions:
                layers.append(_activation(channels))
        self.convolve = nn.Sequential(*layers)
        self.activate = _activation(channels)

    def forward(self, features: Tensor, identity: Tensor) -> Tensor:
        """Return `activate(convolve(features) + identity)`; `identity` may broadcast."""
        activated: Tensor = self.activate(self.convolve(features) + identity)
        return activated


class Down(nn.Module):
    """Halve the resolution by a strided convolution, double the channels, then one stage."""

    def __init__(self, in_channels: int, convolutions: int, kernel_size: int):
        super().__init__()
        channels = 2 * in_channels
        self.downsample = nn.Sequential(
            nn.Conv3d(in_channels, channels, 2, stride=2, bias=False),
            nn.InstanceNorm3d(channels, affine=True),
            _activation(channels),
        )
        self.stage = ResidualStage(channels, channels, convolutions, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)  # (N, C, D, H, W) -> (N, 2C, D/2, H/2, W/2)
        out: Tensor = self.stage(x, x)
        return out


class Up(nn.Module):
    """Double the resolution by a transposed convolution, join the skip, then one stage."""

    def __init__(self, in_channels: int, skip_channels: int, convolutions: int, kernel_size: int):
        super().__init__()
        channels = 2 * skip_channels
        self.upsample = nn.Sequential(
            nn.ConvTranspose3d(in_channels, skip_channels, 2, stride=2, bias=False),
            nn.InstanceNorm3d(skip_channels, affine=True),
            _activation(skip_channels),
        )
        self.stage = ResidualStage(channels, channels, convolutions, kernel_size)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = torch.cat([self.upsample(x), skip], dim=1)  # (N, 2S, D, H, W), S skip channels
        out: Tensor = self.stage(x, x)
        return out


class VNet(nn.Module):
    """V-Net with instance normalisation.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits.
    width
        Channels of the first stage; each further stage doubles them. The paper has 16.
    kernel_size
        Edge of the cubic kernels, odd. The paper has 5; 3 costs about a fifth.

    Notes
    -----
    Each edge of the input must be a multiple of 16. The paper trains one volume at a time without
    normalisation; instance normalisation keeps small batches stable.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 2, width: int = 16, kernel_size: int = 5
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, found {kernel_size}")
        if in_channels != 1 and in_channels != width:
            raise ValueError(
                f"the first identity needs 1 or width = {width} input channels, found {in_channels}"
            )
        one, two, three, four, five = STAGE_CONVOLUTIONS
        self.enter = ResidualStage(in_channels, width, one, kernel_size)
        self.down2 = Down(width, two, kernel_size)
        self.down4 = Down(2 * width, three, kernel_size)
        self.down8 = Down(4 * width, four, kernel_size)
        self.down16 = Down(8 * width, five, kernel_size)
        self.up8 = Up(16 * width, 8 * width, four, kernel_size)
        self.up4 = Up(16 * width, 4 * width, three, kernel_size)
        self.up2 = Up(8 * width, 2 * width, two, kernel_size)
        self.up1 = Up(4 * width, width, one, kernel_size)
        self.classify = nn.Conv3d(2 * width, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image (N, C, D, H, W) to logits (N, classes, D, H, W)."""
        full = self.enter(x, x)  # the single input channel is added to each of `width`
        half = self.down2(full)
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        y = self.down16(eighth)
        y = self.up8(y, eighth)
        y = self.up4(y, quarter)
        y = self.up2(y, half)
        y = self.up1(y, full)
        logits: Tensor = self.classify(y)
        return logits
