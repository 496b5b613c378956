"""What is told of a training while it runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Told after every step.

    Parameters
    ----------
    epoch, epochs, step
        Of the stage, from 1; epochs is None where time decides.
    done_share, remaining_s
        Of the stage; the time left is guessed from this session's speed.
    """

    stage: str
    epoch: int
    epochs: int | None
    step: int
    loss: float
    done_share: float
    remaining_s: float


class Pace:
    """How long the rest takes at the pace since the stage began or went on."""

    def __init__(self, share: float):
        self._share = share
        self._begun_at = time.perf_counter()

    def remaining_s(self, share: float) -> float:
        gained = share - self._share
        passed_s = time.perf_counter() - self._begun_at
        return passed_s * (1 - share) / gained if gained > 0 else math.inf
