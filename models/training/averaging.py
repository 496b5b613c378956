"""Weights averaged over the steps of a stage: steadier than those of any one step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

#: Steps over which the average follows faster, so that the first weights do not stay in it.
SETTLING_STEPS = 10


class WeightAverage:
    """An exponential moving average of a network's weights and buffers.

    Parameters
    ----------
    network
        Copied as it is; the copy, `average`, is in evaluation mode.
    decay
        A step, once settled.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.average = copy.deepcopy(network).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, steps: int) -> None:
        """Follow the network after its step number `steps`, counted from 1."""
        share = 1 - min(self._decay, steps / (steps + SETTLING_STEPS))
        mean, now = (list(one.state_dict().values()) for one in (self.average, network))
        pairs = list(zip(mean, now, strict=True))
        floats = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], share)
        for a, b in pairs:
            if not a.is_floating_point():  # counters of batch normalisation
                a.copy_(b)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.average.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.average.load_state_dict(state)
