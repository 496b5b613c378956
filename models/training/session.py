"""One process's part in a training, from the checkpoint it goes on from to the end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import TrainingError
from models.training.batches import Loader, jobs_from
from models.training.best import copy_to_cpu
from models.training.checkpoint import identity, read_checkpoint, write_checkpoint
from models.training.curves import Curves, make_row
from models.training.feed import Feed
from models.training.optimisation import Stepper
from models.training.pace import Pace, Progress
from models.training.parallel import Processes
from models.training.plan import Stage, TrainingPlan
from models.training.run_folder import RunFolder
from models.training.schedule import StageLength
from models.training.state import Position, RunState
from models.training.stop_request import StopRequest

log = logging.getLogger(__name__)

#: Measures a network (in evaluation mode, on the run's device). `dice` (the higher the better) or
#: else `loss` decides which weights are best; other names only go to TensorBoard.
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The best weights, on the CPU, and where they come from.

    Parameters
    ----------
    best_epoch
        From 1, counted over all stages.
    best_value
        The validation's `dice` or `loss`, or the training loss where there was no validation.
    epochs, steps
        Of the whole run.
    """

    state: dict[str, Tensor]
    best_epoch: int
    best_value: float
    epochs: int
    steps: int


@dataclass(kw_only=True)
class Session:
    """What `train` was called with, and where the run stands.

    Between two steps the state is whole and may be saved; `_halfway` it may not.
    """

    network: nn.Module
    feed: Feed
    plan: TrainingPlan
    run: RunFolder
    processes: Processes
    stop: StopRequest
    validate: Validate | None
    on_progress: Callable[[Progress], None] | None
    teachers: Mapping[str, nn.Module]

    def __post_init__(self) -> None:
        self._state = RunState(self.network, self.plan, self.processes, teachers=self.teachers)
        self._identity = identity(
            self.network, self.plan, self.run.settings, tuple(self.feed.cases), len(self.feed)
        )
        self._curves: Curves | None = None
        self._halfway = False
        self._saved_at = self._looked_at = 0.0

    def train(self) -> TrainingResult:
        """Train from where the run stands to its end."""
        self._go_on()
        if self.processes.first:
            self.run.describe(
                self.plan, tuple(self.feed.cases), self.processes.device, self.processes.count
            )
            self._curves = Curves(self.run.folder, self._state.rows)
        try:
            while not self._state.finished:
                self._run_stage()
        except KeyboardInterrupt:
            if not self._halfway:  # else the last checkpoint stands
                self._save()
            raise
        finally:
            if self._curves is not None:
                self._curves.close()
        return self._result()

    def _go_on(self) -> None:
        if self.run.checkpoint.exists():
            state = self._state
            state.restore(read_checkpoint(self.run.checkpoint, self._identity))
            log.info("going on after step %d, epoch %d", state.position.step, state.position.epoch)
        self.processes.agree(self._state.position.step, "the checkpoint to go on from")
        self._saved_at = time.monotonic()

    def _run_stage(self) -> None:
        state, position = self._state, self._state.position
        stage = self.plan.stages[position.stage]
        length = StageLength(stage=stage, samples=len(self.feed))
        stepper = state.stepper or state.start_stage()
        log.info("stage %s: %d steps an epoch", stage.name, length.steps_per_epoch)
        pace = Pace(length.done(position.stage_steps, position.trained_s))
        pinned = self.processes.device.type == "cuda"
        jobs = jobs_from(
            length,
            epoch=position.epoch,
            epoch_step=position.epoch_step,
            stage_step=position.stage_steps,
            rank=self.processes.rank,
            processes=self.processes.count,
        )
        with Loader(self.feed, jobs, self.plan.workers, pinned) as loader:
            self._looked_at = time.monotonic()
            while True:
                if _epoch_is_over(position, length) and self._end_epoch(stage, length):
                    break
                if length.done(position.stage_steps, position.trained_s) >= 1:
                    break
                loss = self._step(stepper, loader, length)
                self._between_steps(loss, length, pace)
        self._end_stage()

    def _step(self, stepper: Stepper, loader: Loader, length: StageLength) -> float:
        state, position = self._state, self._state.position
        rate = length.learning_rate(position.stage_steps, position.trained_s)
        begun = position.epoch_step * length.stage.group
        samples = min(length.stage.group, length.samples - begun)
        self._halfway = True
        loss, stops, elapsed_s = stepper.step(loader.next_step(), position.step, rate, self._news)
        position.stepped(loss, samples, rate, elapsed_s)
        if state.average is not None:
            state.average.update(state.network, position.stage_steps)
        self._halfway = False
        if stops:
            log.info("stopped by a signal after step %d", position.step)
            raise KeyboardInterrupt
        return loss

    def _news(self) -> tuple[float, float]:
        """Whether this process was told to stop, and the seconds of the step (the first's count).

        All processes have to stop after the same step, and to see the same time.
        """
        now = time.monotonic()
        elapsed_s, self._looked_at = now - self._looked_at, now
        return float(self.stop.made), elapsed_s if self.processes.first else 0.0

    def _between_steps(self, loss: float, length: StageLength, pace: Pace) -> None:
        position = self._state.position
        if self.on_progress is not None:
            share = length.done(position.stage_steps, position.trained_s)
            told = Progress(
                stage=length.stage.name,
                epoch=position.stage_epochs + 1,
                epochs=length.epochs,
                step=position.stage_steps,
                loss=loss,
                done_share=share,
                remaining_s=pace.remaining_s(share),
            )
            self.on_progress(told)
        if time.monotonic() - self._saved_at > self.plan.checkpoint_every_s:
            self._save()
            self._looked_at = time.monotonic()

    def _end_epoch(self, stage: Stage, length: StageLength) -> bool:
        """Validate, keep the best weights, add to the curves; returns whether to stop early."""
        state, position = self._state, self._state.position
        at_end = length.done(position.stage_steps, position.trained_s) >= 1
        due = at_end or (position.stage_epochs + 1) % stage.validate_every_epochs == 0
        measured = self._measure() if due else {}  # may be interrupted: nothing counted yet
        self._halfway = True
        rate = position.learning_rate
        loss = position.end_epoch()
        row = make_row(
            stage=stage.name,
            epoch=position.epoch,
            step=position.step,
            learning_rate=rate,
            loss=loss,
            validation=measured,
        )
        state.rows.append(row)
        stops = False
        if measured or self.validate is None:
            score = _score(measured, loss)
            newest = self.validate is None and state.average is not None
            state.best.judge(score, position.epoch, lambda: copy_to_cpu(state.result), newest)
            stops = state.best.patience_ends(score, position.epoch, stage.early_stop)
        if self._curves is not None:
            self._curves.add(state.rows)
        if stops:
            log.info("no gain since epoch %d: stage %s ends", state.best.mark_epoch, stage.name)
        self._looked_at = time.monotonic()
        self._halfway = False
        return stops

    def _measure(self) -> dict[str, float]:
        """What the validation finds, in all processes; empty where there is none.

        Raises
        ------
        TrainingError
            If it measures neither Dice nor a loss, or the deciding one is not finite.
        """
        if self.validate is None:
            return {}
        measured: dict[str, float] = {}
        if self.processes.first:
            network = self._state.result
            network.eval()
            with self.stop.at_once(), torch.no_grad():
                measured = {name: float(v) for name, v in self.validate(network).items()}
            self._state.network.train()
        measured = self.processes.of_first(measured)
        if not math.isfinite(_score(measured, math.nan)):
            raise TrainingError(
                f"expected the validation to give a finite dice or loss, found {measured}"
            )
        return measured

    def _end_stage(self) -> None:
        """Go on from the best weights; a finished run keeps its last checkpoint as a whole."""
        state = self._state
        assert state.best.weights is not None
        self._halfway = True
        state.network.load_state_dict(state.best.weights)
        state.best.start_stage(state.position.epoch, comparable=self.validate is not None)
        state.position.end_stage()
        state.stepper = state.average = None
        self._halfway = False
        self._save()

    def _save(self) -> None:
        if self.processes.first:
            content = {"identity": self._identity, **self._state.to_checkpoint()}
            write_checkpoint(self.run.checkpoint, content)
        self._saved_at = time.monotonic()

    def _result(self) -> TrainingResult:
        best, position = self._state.best, self._state.position
        assert best.weights is not None
        judged = next(row for row in self._state.rows if row["epoch"] == best.epoch)
        measured = judged["validation"]
        value = measured.get("dice", measured.get("loss", judged["loss"]))
        return TrainingResult(
            state=best.weights,
            best_epoch=best.epoch,
            best_value=value,
            epochs=position.epoch,
            steps=position.step,
        )


def _epoch_is_over(position: Position, length: StageLength) -> bool:
    if position.epoch_step == 0:
        return False
    whole = position.epoch_step == length.steps_per_epoch
    return whole or length.done(position.stage_steps, position.trained_s) >= 1


def _score(measured: Mapping[str, float], loss: float) -> float:
    """The higher the better: Dice, or the negative of the validation's or the training's loss."""
    return measured["dice"] if "dice" in measured else -measured.get("loss", loss)
