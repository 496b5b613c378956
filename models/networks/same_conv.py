"""3D convolutions that keep the size, with gradients that are right on the CPU too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SameConv3d(nn.Conv3d):
    """A convolution of stride 1, padded by half its odd kernel, without bias.

    oneDNN 3.12 (torch 2.13) computes wrong bfloat16 weight gradients of such convolutions where the
    input has more than one slice but fewer than the kernel, and of a kernel of five where it has
    one row: random numbers, infinities among them. With the padding added beforehand it does not.
    (So it does of a stride of two where an edge has one voxel; no window of ours is that small.)
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int):
        super().__init__(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            pass  # TorchScript cannot ask whether one device has autocast, and does not train
        elif needs_padding(x, self.kernel_size[0]):
            depth, height, width = (size // 2 for size in self.kernel_size)
            padded = F.pad(x, (0, 0, height, height, depth, depth))
            return F.conv3d(padded, self.weight, self.bias, self.stride, (0, 0, width))
        out: Tensor = self._conv_forward(x, self.weight, self.bias)
        return out


def needs_padding(x: Tensor, kernel_depth: int) -> bool:
    """Whether oneDNN's gradient of a kernel would be wrong for the input `x`."""
    few = 1 < x.shape[2] < kernel_depth or x.shape[3] == 1
    return bool(few and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"))


def mend_gradients(network: nn.Module) -> nn.Module:
    """Make each plain "same" convolution in `network` a `SameConv3d`, in place; return it.

    The class alone changes, so names, weights and output stay.
    """
    for module in network.modules():
        if type(module) is nn.Conv3d and _is_same(module):
            module.__class__ = SameConv3d
    return network


def _is_same(convolution: nn.Conv3d) -> bool:
    margins = tuple(size // 2 for size in convolution.kernel_size)
    return (
        all(size % 2 for size in convolution.kernel_size)
        and convolution.padding == margins
        and convolution.stride == convolution.dilation == (1, 1, 1)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
    )
