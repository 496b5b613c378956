"""How a network's weights lie in memory while it is trained.

Channels-last weights make convolutions choose that order for all that flows between them. It is
faster for some networks and slower for others: measure. Results differ by rounding alone.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

MemoryFormat = Literal["contiguous", "channels_last"]
NAMES = get_args(MemoryFormat)
#: What PyTorch calls channels last, by the dimensions of a convolution's weight.
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def arrange(network: nn.Module, memory_format: MemoryFormat) -> None:
    """Lay out the weights of all convolutions, 2D and 3D, in place; all else stays as it is."""
    for parameter in network.parameters():
        if memory_format == "channels_last" and parameter.dim() in _CHANNELS_LAST:
            wanted = _CHANNELS_LAST[parameter.dim()]
            parameter.data = parameter.data.contiguous(memory_format=wanted)
