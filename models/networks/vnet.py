"""V-Net (Milletari, Navab and Ahmadi 2016, arXiv:1606.04797), the paper's or MONAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.same_conv import SameConv3d
from models.networks.vnet_monai import from_monai, is_monai

#: Builds a layer for a number of channels.
Layer = Callable[[int], nn.Module]

ACTIVATIONS: Mapping[str, Layer] = {
    "prelu": lambda channels: nn.PReLU(channels),
    "elu": lambda channels: nn.ELU(inplace=True),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a V-Net leaves open: the paper has no norm, MONAI has fewer convolutions.

    Parameters
    ----------
    down, up
        Convolutions of each stage below the first, in the order they are run.
    norm
        After each convolution.
    activate_last
        Whether a stage's last convolution is activated before the identity is added, too.
    deep_head
        Whether a whole convolution to the classes comes before the last, pointwise one.
    activation
        After each norm and each sum.
    dropout
        Share of the channels zeroed while training, in the skips and ahead of the deep stages.
    """

    down: tuple[int, int, int, int]
    up: tuple[int, int, int, int]
    norm: Layer
    activate_last: bool
    deep_head: bool
    activation: Layer = field(default=ACTIVATIONS["prelu"])
    dropout: float = 0.0

    def drop(self) -> nn.Module:
        """A layer that zeroes channels while training."""
        return nn.Dropout3d(self.dropout) if self.dropout else nn.Identity()


LAYOUTS: Mapping[str, Layout] = {
    # figure 2 of the paper; instance norms keep small batches stable
    "paper": Layout(
        down=(2, 3, 3, 3),
        up=(3, 3, 2, 1),
        norm=lambda channels: nn.InstanceNorm3d(channels, affine=True),
        activate_last=False,
        deep_head=False,
    ),
    "monai": Layout(
        down=(1, 2, 3, 2),
        up=(2, 2, 1, 1),
        norm=lambda channels: nn.BatchNorm3d(channels),
        activate_last=True,
        deep_head=True,
    ),
}


class ResidualStage(nn.Module):
    """`convolutions` convolutions at one resolution, plus the identity (figure 2)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        convolutions: int,
        kernel_size: int,
        layout: Layout = LAYOUTS["paper"],
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convolutions):
            entering = in_channels if index == 0 else channels
            layers += [SameConv3d(entering, channels, kernel_size), layout.norm(channels)]
            if layout.activate_last or index + 1 < convolutions:
                layers.append(layout.activation(channels))
        self.convolve = nn.Sequential(*layers)
        self.activate = layout.activation(channels)

    def forward(self, features: Tensor, identity: Tensor) -> Tensor:
        """Return `activate(convolve(features) + identity)`; `identity` may broadcast."""
        activated: Tensor = self.activate(self.convolve(features) + identity)
        return activated


class Down(nn.Module):
    """Halve the resolution by a strided convolution, double the channels, then one stage."""

    def __init__(
        self, in_channels: int, convolutions: int, kernel_size: int, layout: Layout, deep: bool
    ):
        super().__init__()
        channels = 2 * in_channels
        self.downsample = nn.Sequential(
            nn.Conv3d(in_channels, channels, 2, stride=2, bias=False),
            layout.norm(channels),
            layout.activation(channels),
        )
        self.drop = layout.drop() if deep else nn.Identity()
        self.stage = ResidualStage(channels, channels, convolutions, kernel_size, layout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)  # (N, C, D, H, W) -> (N, 2C, D/2, H/2, W/2)
        out: Tensor = self.stage(self.drop(x), x)
        return out


class Up(nn.Module):
    """Double the resolution by a transposed convolution, join the skip, then one stage."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        convolutions: int,
        kernel_size: int,
        layout: Layout,
        deep: bool,
    ):
        super().__init__()
        channels = 2 * skip_channels
        self.drop = layout.drop() if deep else nn.Identity()
        self.drop_skip = layout.drop()
        self.upsample = nn.Sequential(
            nn.ConvTranspose3d(in_channels, skip_channels, 2, stride=2, bias=False),
            layout.norm(skip_channels),
            layout.activation(skip_channels),
        )
        self.stage = ResidualStage(channels, channels, convolutions, kernel_size, layout)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.drop(x)
        skip = self.drop_skip(skip)
        x = torch.cat([self.upsample(x), skip], dim=1)  # (N, 2S, D, H, W), S skip channels
        out: Tensor = self.stage(x, x)
        return out


def _head(in_channels: int, out_channels: int, kernel_size: int, layout: Layout) -> nn.Module:
    if not layout.deep_head:
        return nn.Conv3d(in_channels, out_channels, 1)
    return nn.Sequential(
        SameConv3d(in_channels, out_channels, kernel_size),
        layout.norm(out_channels),
        layout.activation(out_channels),
        nn.Conv3d(out_channels, out_channels, 1),
    )


class VNet(nn.Module):
    """V-Net with instance norms, or MONAI's with batch norms.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the image and of the logits; `in_channels` divides `width`.
    width
        Channels of the first stage; each further stage doubles them. The paper has 16.
    kernel_size
        Edge of the cubic kernels, odd. The paper has 5; 3 costs about a fifth.
    layout
        `paper` (figure 2, instance norms) or `monai`: `monai.networks.nets.VNet` layer by layer.
        With width 16 and kernels of 5, its state dict loads into ours and gives the same output.
    activation
        `prelu`, as in the paper, or `elu`, MONAI's default.
    dropout
        Share of the channels zeroed while training; MONAI's default is 0.5.

    Raises
    ------
    ValueError
        If the arguments do not fit each other.

    Notes
    -----
    Each edge of the input must be a multiple of 16. While training, the norms need more than one
    voxel at 1/16 of the resolution.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 16,
        kernel_size: int = 5,
        layout: str = "paper",
        activation: str = "prelu",
        dropout: float = 0.0,
    ):
        super().__init__()
        _check(in_channels, width, kernel_size, layout, activation)
        chosen = replace(LAYOUTS[layout], activation=ACTIVATIONS[activation], dropout=dropout)
        shared: dict[str, Any] = {"kernel_size": kernel_size, "layout": chosen}
        down, up = chosen.down, chosen.up
        self.width = width
        # one convolution, which no layout activates before the identity is added
        self.enter = ResidualStage(
            in_channels, width, 1, kernel_size, replace(chosen, activate_last=False)
        )
        self.down2 = Down(width, down[0], deep=False, **shared)
        self.down4 = Down(2 * width, down[1], deep=False, **shared)
        self.down8 = Down(4 * width, down[2], deep=True, **shared)
        self.down16 = Down(8 * width, down[3], deep=True, **shared)
        self.up8 = Up(16 * width, 8 * width, up[0], deep=True, **shared)
        self.up4 = Up(16 * width, 4 * width, up[1], deep=True, **shared)
        self.up2 = Up(8 * width, 2 * width, up[2], deep=False, **shared)
        self.up1 = Up(4 * width, width, up[3], deep=False, **shared)
        self.classify = _head(2 * width, out_channels, kernel_size, chosen)
        if layout == "monai":
            self.register_load_state_dict_pre_hook(_rename_monai)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Map an image (N, C, D, H, W) to logits (N, classes, D, H, W)."""
        copies = 1 if x.shape[1] == 1 else self.width // x.shape[1]  # one channel broadcasts
        full = self.enter(x, x.repeat(1, copies, 1, 1, 1))
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


def _check(in_channels: int, width: int, kernel_size: int, layout: str, activation: str) -> None:
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, found {kernel_size}")
    if in_channels < 1 or width < 1 or width % in_channels:
        raise ValueError(
            f"the first identity needs input channels that divide width = {width}, "
            f"found {in_channels}"
        )
    for name, value, known in (
        ("layout", layout, LAYOUTS),
        ("activation", activation, ACTIVATIONS),
    ):
        if value not in known:
            raise ValueError(f"expected {name} to be one of {', '.join(known)}, found {value!r}")


def _rename_monai(module: nn.Module, state: dict[str, Any], prefix: str, *_loading: object) -> None:
    """Give MONAI's names ours before they are loaded."""
    if not is_monai(state, prefix):
        return
    theirs = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
    ours = from_monai({name.removeprefix(prefix): value for name, value in theirs.items()})
    state.update({prefix + name: value for name, value in ours.items()})
