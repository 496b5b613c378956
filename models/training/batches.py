"""The samples of a stage, step by step, drawn ahead by threads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from models.training.feed import Feed, Sample
from models.training.plan import Stage
from models.training.schedule import StageLength


@dataclass(frozen=True, kw_only=True)
class Job:
    """What goes through the network at once in this process.

    Parameters
    ----------
    epoch, indices
        Samples of the feed.
    weight
        1, or 0 where this process has no sample in a step and only keeps the others company.
    group
        Samples of the whole step, over all processes.
    last
        Whether the optimiser's step follows.
    """

    epoch: int
    indices: tuple[int, ...]
    weight: float
    group: int
    last: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """The samples of a job: images `(N, C, ...)`, labels `(N, ...)`."""

    job: Job
    images: Tensor
    labels: Tensor
    unlabelled: tuple[frozenset[int], ...]


def jobs_of_step(
    stage: Stage, samples: int, epoch: int, step: int, rank: int = 0, processes: int = 1
) -> list[Job]:
    """What process `rank` does in a step (from 0) of an epoch of `samples` samples.

    The step's samples are dealt to the processes one by one; together they are the same whatever
    the number of processes.
    """
    group = range(step * stage.group, min((step + 1) * stage.group, samples))
    own = group[rank::processes]
    weight = 1.0 if own else 0.0
    own = own or group[:1]
    starts = range(0, len(own), stage.batch)
    return [
        Job(
            epoch=epoch,
            indices=tuple(own[start : start + stage.batch]),
            weight=weight,
            group=len(group),
            last=start == starts[-1],
        )
        for start in starts
    ]


def jobs_from(
    length: StageLength,
    *,
    epoch: int,
    epoch_step: int,
    stage_step: int,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Job]:
    """What process `rank` does to the end of a stage, or without end where time decides."""
    if epoch_step == length.steps_per_epoch:  # the epoch only waits for its validation
        epoch, epoch_step = epoch + 1, 0
    left = itertools.count() if length.steps is None else range(length.steps - stage_step)
    for _ in left:
        yield from jobs_of_step(length.stage, length.samples, epoch, epoch_step, rank, processes)
        epoch_step += 1
        if epoch_step == length.steps_per_epoch:
            epoch, epoch_step = epoch + 1, 0


class Loader:
    """Draws the batches of jobs in order, `workers` at a time and one more ahead.

    Drawing runs in threads: reading and resampling leave Python's lock, and nothing is copied
    between processes.
    """

    def __init__(self, feed: Feed, jobs: Iterator[Job], workers: int, pinned: bool):
        self._feed = feed
        self._jobs = jobs
        self._pinned = pinned
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="samples")
        self._ahead: deque[Future[Batch]] = deque()
        self._submit(workers + 1)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next_step(self) -> Iterator[Batch]:
        """The batches of one optimiser step."""
        while True:
            future = self._ahead.popleft()
            batch = future.result()
            self._submit(1)
            yield batch
            if batch.job.last:
                return

    def _submit(self, count: int) -> None:
        for job in itertools.islice(self._jobs, count):
            self._ahead.append(self._pool.submit(self._draw, job))

    def _draw(self, job: Job) -> Batch:
        drawn = [self._feed.draw(job.epoch, index) for index in job.indices]
        images, labels = _stack([s.image for s in drawn]), _stack([s.labels for s in drawn])
        if self._pinned:
            images, labels = images.pin_memory(), labels.pin_memory()
        return Batch(job=job, images=images, labels=labels, unlabelled=_unlabelled(drawn))


def _stack(tensors: list[Tensor]) -> Tensor:
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def _unlabelled(samples: list[Sample]) -> tuple[frozenset[int], ...]:
    return tuple(sample.unlabelled for sample in samples)
