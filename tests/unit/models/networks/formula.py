"""Weights that follow a formula of their names, to compare figures with another program's."""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor, nn


def noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1) that depend on nothing but `name` and `shape`."""
    phase = zlib.crc32(name.encode()) / 2**32
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    digits = ((index * 12.9898 + 78.233 * phase).sin() * 43758.5453).frac().abs()
    return (2 * digits - 1).view(shape)


def state_by_formula(network: nn.Module) -> dict[str, Tensor]:
    """A state dict for `network` in which each norm and each bias does something."""
    state = {}
    for name, value in network.state_dict().items():
        numbers = noise(name, tuple(value.shape))
        if value.ndim >= 4:
            numbers *= math.sqrt(4 / math.prod(value.shape[1:]))
        elif name.endswith("running_var"):
            numbers = 1 + 0.5 * numbers
        elif name.endswith(".weight"):
            numbers = 1 + 0.3 * numbers
        else:
            numbers *= 0.2
        state[name] = numbers.to(value.dtype)
    return state
