"""The trainer: from a network, a feed and a plan to the best weights.

It is deterministic: samples depend on epoch and index, and what is random in the network on the
step, so a run that was interrupted and goes on from its checkpoint ends with the very weights of
one in one go (on a GPU as far as its kernels add in the same order). Only a stage whose length is
given in minutes follows the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from models.errors import TrainingError
from models.training.feed import Feed
from models.training.memory_format import arrange
from models.training.pace import Progress
from models.training.parallel import joined
from models.training.plan import TrainingPlan
from models.training.run_folder import RunFolder
from models.training.schedule import StageLength
from models.training.session import Session, TrainingResult, Validate
from models.training.stop_request import StopRequest


def train(
    network: nn.Module,
    feed: Feed,
    plan: TrainingPlan,
    run: RunFolder,
    *,
    validate: Validate | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    teachers: Mapping[str, nn.Module] | None = None,
) -> TrainingResult:
    """Train a network by a plan, going on from the run's checkpoint where there is one.

    The best weights are those of the epoch with the best validation. Without a validation they
    are those with the lowest training loss, or, where weights are averaged, the last average (an
    average has no training loss). A later stage goes on from the best weights of the one before.

    Started by `torchrun`, every process calls this alike. Their number is no part of the plan:
    the samples of a step are dealt to them. The first one validates, writes the files and tells
    the progress; all return the same weights.

    Parameters
    ----------
    teachers
        Network of each teacher that the plan names. They are no part of a checkpoint: the run's
        settings have to say which weights they have.

    Raises
    ------
    TrainingError
        If the feed is empty, the checkpoint is of another run, the loss or its gradient is no
        longer finite, a teacher is missing, a warm-up is as long as its stage, or there are more
        processes than samples in a step.
    OutOfMemoryError
        If the device cannot hold a batch.
    KeyboardInterrupt
        After SIGINT or SIGTERM: once the step under way is over and a checkpoint is written.
    """
    if not len(feed):
        raise TrainingError("expected at least one sample to train on, found none")
    teachers = teachers or {}
    for name in plan.teachers:
        if name not in teachers:
            raise TrainingError(f"expected the network of the teacher {name!r}, found none")
    with joined(device or torch.device("cpu")) as processes, StopRequest() as stop:
        for stage in plan.stages:
            StageLength(stage=stage, samples=len(feed)).check()
            if stage.group < processes.count:
                raise TrainingError(
                    f"stage {stage.name}: {stage.group} samples a step (batch x accumulate) are "
                    f"too few for {processes.count} processes"
                )
        network.to(processes.device).train()
        arrange(network, plan.memory_format)
        for teacher in teachers.values():
            teacher.to(processes.device).eval().requires_grad_(False)
        session = Session(
            network=network,
            feed=feed,
            plan=plan,
            run=run,
            processes=processes,
            stop=stop,
            validate=validate,
            on_progress=on_progress if processes.first else None,
            teachers=teachers,
        )
        return session.train()
