"""Which samples a process draws, and drawing them ahead."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from models.training.batches import Loader, jobs_from, jobs_of_step
from models.training.feed import Sample
from models.training.plan import Stage
from models.training.schedule import StageLength
from tests.training_runs import BrightFeed

STAGE = Stage(epochs=2, batch=2, accumulate=3)


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("samples", [12, 13, 15, 17])
def test_processes_share_each_step_of_one(processes: int, samples: int) -> None:
    length = StageLength(stage=STAGE, samples=samples)
    for step in range(length.steps_per_epoch):
        jobs = [jobs_of_step(STAGE, samples, 0, step, rank, processes) for rank in range(processes)]
        drawn = [i for own in jobs for job in own for i in job.indices if job.weight]
        expected = list(range(6 * step, min(6 * step + 6, samples)))
        assert sorted(drawn) == expected
        assert {job.group for own in jobs for job in own} == {len(expected)}
        for own in jobs:  # every process takes part, with one exchange at its end
            assert [job.last for job in own] == [False] * (len(own) - 1) + [True]
            assert all(1 <= len(job.indices) <= 2 for job in own)


def test_a_stage_goes_on_where_it_was() -> None:
    length = StageLength(stage=STAGE, samples=10)
    whole = list(jobs_from(length, epoch=3, epoch_step=0, stage_step=0))
    assert [(job.epoch, *job.indices) for job in whole[:5]] == [
        (3, 0, 1),
        (3, 2, 3),
        (3, 4, 5),
        (3, 6, 7),
        (3, 8, 9),
    ]
    assert [job.group for job in whole] == [6, 6, 6, 4, 4] * 2
    assert list(jobs_from(length, epoch=3, epoch_step=1, stage_step=1)) == whole[3:]
    # an epoch that only waits for its validation
    assert list(jobs_from(length, epoch=3, epoch_step=2, stage_step=2)) == whole[5:]


def test_where_time_decides_there_is_no_end() -> None:
    length = StageLength(stage=replace(STAGE, epochs=None, minutes=1.0), samples=2)
    jobs = jobs_from(length, epoch=0, epoch_step=0, stage_step=0)
    assert [job.epoch for job in islice(jobs, 100)] == list(range(100))


def test_batches_come_in_order_whatever_the_number_of_threads() -> None:
    feed = BrightFeed(samples=10)
    length = StageLength(stage=STAGE, samples=10)
    drawn = []
    for workers in (1, 4):
        jobs = jobs_from(length, epoch=0, epoch_step=0, stage_step=0)
        with Loader(feed, jobs, workers, pinned=False) as loader:
            drawn.append([batch for _ in range(4) for batch in loader.next_step()])
    assert [batch.job for batch in drawn[0]] == [batch.job for batch in drawn[1]]
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert drawn[0][0].images.shape == (2, 1, 4, 6, 6)
    assert drawn[0][0].labels.shape == (2, 4, 6, 6)


def test_no_more_is_drawn_ahead_than_a_batch_a_thread_and_one() -> None:
    drawn: list[int] = []

    class Noting(BrightFeed):
        def draw(self, epoch: int, index: int) -> Sample:
            drawn.append(index)
            return super().draw(epoch, index)

    endless = StageLength(stage=Stage(minutes=1.0), samples=1000)
    jobs = jobs_from(endless, epoch=0, epoch_step=0, stage_step=0)
    with Loader(Noting(), jobs, 3, pinned=False) as loader:
        for _ in range(2):
            list(loader.next_step())
    assert sorted(drawn) == list(range(len(drawn)))
    assert 2 <= len(drawn) <= 2 + 3 + 1


def test_what_drawing_raises_comes_out_where_the_sample_is_due() -> None:
    class Broken(BrightFeed):
        def draw(self, epoch: int, index: int) -> Sample:
            if epoch == 1:
                raise OSError("the disk is gone")
            return super().draw(epoch, index)

    length = StageLength(stage=STAGE, samples=6)
    jobs = jobs_from(length, epoch=0, epoch_step=0, stage_step=0)
    with Loader(Broken(samples=6), jobs, 2, pinned=False) as loader:
        assert len(list(loader.next_step())) == 3
        with pytest.raises(OSError, match="the disk is gone"):
            list(loader.next_step())
