"""Length of a stage and its learning rate as a function of the share that is done."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import TrainingError
from models.training.plan import WARMUP, Schedule, Stage

#: Share of the full rate with which a warm-up begins.
FIRST_RATE = 0.01
#: Exponent of the polynomial schedule (Isensee 2021).
POWER = 0.9


@dataclass(frozen=True, kw_only=True)
class StageLength:
    """What a stage comes to for a feed of `samples` an epoch."""

    stage: Stage
    samples: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps; the last may have fewer samples than the others."""
        return math.ceil(self.samples / self.stage.group)

    @property
    def steps(self) -> int | None:
        """Of the whole stage; None where time decides."""
        if self.stage.epochs is not None:
            return self.stage.epochs * self.steps_per_epoch
        return self.stage.steps

    @property
    def epochs(self) -> int | None:
        """Of the whole stage, the last perhaps cut short; None where time decides."""
        return None if self.steps is None else math.ceil(self.steps / self.steps_per_epoch)

    def done(self, steps: int, trained_s: float) -> float:
        """The share that is done after so many steps and seconds, 0 to 1."""
        if self.stage.minutes is not None:
            return min(1.0, trained_s / (60 * self.stage.minutes))
        assert self.steps is not None
        return min(1.0, steps / self.steps)

    def check(self) -> None:
        """Raise TrainingError where the warm-up leaves no time for the rest."""
        self._warmup()

    def learning_rate(self, steps: int, trained_s: float) -> float:
        """The rate of the step that comes next."""
        share = self.done(steps, trained_s)
        factor = rate_factor(self.stage.schedule, share, self._warmup())
        return self.stage.optimiser.learning_rate * factor

    def _warmup(self) -> float:
        schedule = self.stage.schedule
        if schedule.warmup_epochs is not None and self.steps is not None:
            rise = schedule.warmup_epochs * self.steps_per_epoch
            if rise >= self.steps:  # the rate would never fall
                raise TrainingError(
                    f"{self.stage.name}: expected a warm-up shorter than the stage's "
                    f"{self.steps} steps, found {rise:g}"
                )
            return rise / self.steps
        return WARMUP if schedule.warmup is None else schedule.warmup


def rate_factor(schedule: Schedule, done: float, warmup: float = WARMUP) -> float:
    """What the full rate is multiplied by where the share `done` (0 to 1) of a stage is over."""
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "polynomial":
        return float((1 - done) ** POWER)
    if schedule.name == "warmup_cosine":
        if done < warmup:
            return FIRST_RATE + (1 - FIRST_RATE) * done / warmup
        done = (done - warmup) / (1 - warmup) if warmup < 1 else 1.0
    return 0.5 * (1 + math.cos(math.pi * done))
