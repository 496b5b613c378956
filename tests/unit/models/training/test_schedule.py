"""Learning rates and lengths."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from models.errors import TrainingError
from models.training.plan import Optimiser, Schedule, Stage
from models.training.schedule import StageLength, rate_factor

STAGE = Stage(epochs=5, batch=2, accumulate=2, optimiser=Optimiser(learning_rate=0.1))


def test_an_uneven_last_group_is_a_step_of_its_own() -> None:
    assert StageLength(stage=STAGE, samples=10).steps_per_epoch == 3
    assert StageLength(stage=STAGE, samples=8).steps_per_epoch == 2
    assert StageLength(stage=STAGE, samples=1).steps_per_epoch == 1


def test_lengths_by_epochs_steps_and_minutes() -> None:
    by_epochs = StageLength(stage=STAGE, samples=10)
    assert (by_epochs.steps, by_epochs.epochs) == (15, 5)
    assert by_epochs.done(3, 99.0) == pytest.approx(0.2)
    by_steps = StageLength(stage=replace(STAGE, epochs=None, steps=7), samples=10)
    assert (by_steps.steps, by_steps.epochs) == (7, 3)
    assert by_steps.done(7, 0.0) == 1
    by_time = StageLength(stage=replace(STAGE, epochs=None, minutes=2.0), samples=10)
    assert (by_time.steps, by_time.epochs) == (None, None)
    assert by_time.done(10**6, 30.0) == pytest.approx(0.25)
    assert by_time.done(0, 500.0) == 1


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("constant", {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
        ("cosine", {0.0: 1.0, 0.5: 0.5, 0.25: (1 + math.sqrt(0.5)) / 2, 1.0: 0.0}),
        ("polynomial", {0.0: 1.0, 0.5: 0.5**0.9, 1.0: 0.0}),
        ("warmup_cosine", {0.0: 0.01, 0.1: 0.505, 0.2: 1.0, 0.6: 0.5, 1.0: 0.0}),
    ],
)
def test_factors_by_hand(name: str, at: dict[float, float]) -> None:
    schedule = Schedule(name=name)  # type: ignore[arg-type]
    for done, factor in at.items():
        assert rate_factor(schedule, done, warmup=0.2) == pytest.approx(factor, abs=1e-12)


def test_a_warm_up_in_epochs_ends_with_them() -> None:
    stage = replace(STAGE, schedule=Schedule(name="warmup_cosine", warmup_epochs=2))
    length = StageLength(stage=stage, samples=10)
    rates = [length.learning_rate(step, 0.0) for step in range(15)]
    assert rates[0] == pytest.approx(0.001)
    assert max(rates) == rates[6] == pytest.approx(0.1)
    assert rates[:7] == sorted(rates[:7])
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert 0 < rates[-1] < 0.005


@pytest.mark.parametrize("warmup_epochs", [5, 5.5, 50])
def test_a_warm_up_that_leaves_no_time_is_refused(warmup_epochs: float) -> None:
    """The rate would rise for as long as the stage lasts, and never fall."""
    schedule = Schedule(name="warmup_cosine", warmup_epochs=warmup_epochs)
    length = StageLength(stage=replace(STAGE, schedule=schedule), samples=10)
    with pytest.raises(TrainingError, match=r"a warm-up shorter than the stage's 15 steps, found"):
        length.check()


def test_where_time_decides_the_rate_follows_it() -> None:
    stage = replace(STAGE, epochs=None, minutes=1.0, schedule=Schedule(name="cosine"))
    assert StageLength(stage=stage, samples=10).learning_rate(3, 30.0) == pytest.approx(0.05)
