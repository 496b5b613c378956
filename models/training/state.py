"""Where a run stands: all that its checkpoint holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from models.training.averaging import WeightAverage
from models.training.best import Best
from models.training.curves import Row
from models.training.optimisation import Stepper
from models.training.parallel import Processes
from models.training.plan import TrainingPlan


@dataclass
class Position:
    """How far a run has come.

    Parameters
    ----------
    stage, stage_steps, stage_epochs, trained_s
        The stage (from 0), and its optimiser steps, whole epochs and seconds of training so far.
    step, epoch
        Optimiser steps and whole epochs of all stages.
    epoch_step, loss_sum
        Steps within the epoch under way, and the sum of their losses times their samples.
    samples
        Seen within the epoch under way.
    learning_rate
        Of the last step.
    """

    stage: int = 0
    stage_steps: int = 0
    stage_epochs: int = 0
    trained_s: float = 0.0
    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    loss_sum: float = 0.0
    samples: int = 0
    learning_rate: float = 0.0

    def stepped(self, loss: float, samples: int, rate: float, elapsed_s: float) -> None:
        """Count a step of the optimiser."""
        self.step += 1
        self.stage_steps += 1
        self.epoch_step += 1
        self.loss_sum += loss * samples
        self.samples += samples
        self.learning_rate = rate
        self.trained_s += elapsed_s

    def end_epoch(self) -> float:
        """Count an epoch; returns its mean loss over samples."""
        loss = self.loss_sum / self.samples
        self.epoch += 1
        self.stage_epochs += 1
        self.epoch_step, self.loss_sum, self.samples = 0, 0.0, 0
        return loss

    def end_stage(self) -> None:
        """Count a stage."""
        self.stage += 1
        self.stage_steps, self.stage_epochs, self.trained_s = 0, 0, 0.0


@dataclass
class RunState:
    """A network in training, with the optimiser and the average of the stage under way."""

    network: nn.Module
    plan: TrainingPlan
    processes: Processes
    wrapped: nn.Module = field(init=False)
    position: Position = field(default_factory=Position)
    best: Best = field(default_factory=Best)
    rows: list[Row] = field(default_factory=list)
    stepper: Stepper | None = None
    average: WeightAverage | None = None
    teachers: Mapping[str, nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wrapped = self.processes.wrap(self.network)

    @property
    def finished(self) -> bool:
        return self.position.stage >= len(self.plan.stages)

    @property
    def result(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average.average

    def start_stage(self) -> Stepper:
        """Make a fresh optimiser and average for the stage the run has come to."""
        stage = self.plan.stages[self.position.stage]
        settings = stage.distillation
        self.stepper = Stepper(
            self.network,
            self.wrapped,
            stage,
            self.processes,
            self.plan.seed,
            self.teachers[settings.teacher] if settings and settings.weight else None,
        )
        self.average = WeightAverage(self.network, stage.ema_decay) if stage.ema_decay else None
        return self.stepper

    def to_checkpoint(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        content: dict[str, Any] = {
            "network": self.network.state_dict(),
            "position": dataclasses.asdict(self.position),
            "best": self.best.to_json(),
            "rows": self.rows,
        }
        if not self.finished and self.stepper is not None:
            content["optimiser"] = self.stepper.optimiser.state_dict()
            content["scaler"] = self.stepper.scaler.state_dict()
            content["average"] = None if self.average is None else self.average.state_dict()
        return content

    def restore(self, content: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.network.load_state_dict(content["network"])
        self.position = Position(**content["position"])
        self.best = Best.from_json(content["best"])
        self.rows = list(content["rows"])
        if "optimiser" not in content:
            return
        stepper = self.start_stage()
        stepper.optimiser.load_state_dict(content["optimiser"])
        if content["scaler"]:
            stepper.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
