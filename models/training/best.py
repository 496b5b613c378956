"""The best weights of a run so far, and whether waiting for better ones is worth it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.training.plan import EarlyStop


@dataclass
class Best:
    """What is kept of the epochs that were judged; a score is better the higher it is.

    Parameters
    ----------
    score, epoch, weights
        Of the best epoch (counted from 1 over the run); weights on the CPU.
    mark, mark_epoch
        The score that has to be beaten by `minimum_gain`, and where the waiting began.
    """

    score: float | None = None
    epoch: int = 0
    weights: dict[str, Tensor] | None = None
    mark: float | None = None
    mark_epoch: int = 0

    def start_stage(self, epoch: int, comparable: bool) -> None:
        """Begin to wait anew after `epoch`; forget a score that the new stage's is not alike."""
        self.mark, self.mark_epoch = None, epoch
        if not comparable:
            self.score = None

    def judge(
        self, score: float, epoch: int, weights: Callable[[], dict[str, Tensor]], newest: bool
    ) -> None:
        """Keep an epoch's weights if they are better, or in any case where the `newest` count."""
        if newest or self.score is None or score > self.score:
            self.score, self.epoch, self.weights = score, epoch, weights()

    def patience_ends(self, score: float, epoch: int, rule: EarlyStop | None) -> bool:
        """Whether the stage ends here by its rule."""
        if rule is None:
            return False
        if self.mark is None or score > self.mark + rule.minimum_gain:
            self.mark, self.mark_epoch = score, epoch
        return epoch - self.mark_epoch >= rule.patience_epochs

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Best:
        return cls(**content)


def copy_to_cpu(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
