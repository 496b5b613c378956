"""The trainer: it learns, goes on to the bit, keeps the best, and stops when told to."""

from __future__ import annotations

import copy
import itertools
import math
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from models.errors import TrainingError
from models.training import session
from models.training.pace import Progress
from models.training.plan import EarlyStop, Optimiser, Schedule, Stage
from models.training.session import TrainingResult
from tests.training_runs import (
    STAGE,
    STEPS_PER_EPOCH,
    BrightFeed,
    assert_same,
    network,
    plan,
    run,
)


class Interrupted(Exception):  # noqa: N818 - it is no error of the program's
    """The machine goes away."""


class Stop:
    """Raise at one step."""

    def __init__(self, step: int, error: type[BaseException] = Interrupted):
        self.step = step
        self.error = error
        self.told: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.told.append(progress)
        if len(self.told) == self.step:
            raise self.error


def steps_of(told: list[Progress]) -> list[int]:
    return [progress.step for progress in told]


def table(folder: Path) -> list[list[str]]:
    return [line.split(",") for line in (folder / "curves.csv").read_text().splitlines()]


def test_a_network_learns(tmp_path: Path) -> None:
    stage = replace(STAGE, epochs=8, optimiser=Optimiser(learning_rate=0.05))
    result = run(tmp_path, plan(stage), net=network(dropout=0))
    assert result.best_value > 0.95
    assert (result.epochs, result.steps) == (8, 24)
    first, *_, last = (float(row[4]) for row in table(tmp_path)[1:])
    assert last < 0.5 * first
    assert all(value.device.type == "cpu" for value in result.state.values())


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"ema_decay": 0.0, "optimiser": Optimiser(name="SGD", learning_rate=0.1)},
        {"amp": "bf16"},
        {"amp": "fp16", "ema_decay": 0.0},
        {"epochs": None, "steps": 8},
    ],
    ids=["average", "SGD", "bf16", "fp16", "steps"],
)
@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_resumed_run_ends_with_the_very_weights_of_one_in_one_go(
    at: int, change: dict[str, object], tmp_path: Path
) -> None:
    """Dropout too goes on where it was, and the best weights of earlier epochs stay known."""
    the_plan = plan(replace(STAGE, **change), checkpoint_every_s=0)  # type: ignore[arg-type]
    straight = run(tmp_path / "a", the_plan)
    with pytest.raises(Interrupted):
        run(tmp_path / "b", the_plan, on_progress=Stop(at + 1))
    steps: list[Progress] = []
    resumed = run(tmp_path / "b", the_plan, net=network(seed=9), on_progress=steps.append)
    assert steps_of(steps)[0] == at + 1  # was told, but not saved
    assert_same(straight.state, resumed.state)
    assert replace(resumed, state={}) == replace(straight, state={})
    assert table(tmp_path / "b") == table(tmp_path / "a")


def test_a_run_stopped_in_its_second_stage_goes_on_there(tmp_path: Path) -> None:
    second = replace(STAGE, name="finetune", epochs=2, batch=5, accumulate=1, ema_decay=0.5)
    the_plan = plan(STAGE, second, checkpoint_every_s=0)
    straight = run(tmp_path / "a", the_plan)
    with pytest.raises(Interrupted):
        run(tmp_path / "b", the_plan, on_progress=Stop(3 * STEPS_PER_EPOCH + 2))
    resumed = run(tmp_path / "b", the_plan)
    assert_same(straight.state, resumed.state)
    rows = table(tmp_path / "b")
    assert rows == table(tmp_path / "a")
    assert [row[:3] for row in rows[1:]] == [
        ["train", "1", "3"],
        ["train", "2", "6"],
        ["train", "3", "9"],
        ["finetune", "4", "11"],
        ["finetune", "5", "13"],
    ]


def test_channels_last_alters_rounding_alone_and_resumes_to_the_bit(tmp_path: Path) -> None:
    def wide(seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        middle = nn.Conv3d(4, 4, 3, padding=1)
        return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), middle, nn.ReLU(), nn.Conv3d(4, 2, 1))

    usual = run(tmp_path / "usual", plan(), net=wide())
    the_plan = plan(checkpoint_every_s=0, memory_format="channels_last")
    net = wide()
    straight = run(tmp_path / "a", the_plan, net=net)
    assert not net.get_parameter("1.weight").is_contiguous()
    for name, value in usual.state.items():
        torch.testing.assert_close(straight.state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    with pytest.raises(Interrupted):
        run(tmp_path / "b", the_plan, net=wide(), on_progress=Stop(5))
    resumed = run(tmp_path / "b", the_plan, net=wide(seed=9))
    assert_same(straight.state, resumed.state)


def test_a_finished_run_gives_its_weights_again_without_a_step(tmp_path: Path) -> None:
    first = run(tmp_path, plan())
    told: list[Progress] = []
    again = run(tmp_path, plan(), net=network(seed=4), on_progress=told.append)
    assert told == []
    assert_same(first.state, again.state)
    assert replace(again, state={}) == replace(first, state={})


def test_an_interrupt_between_steps_is_saved(tmp_path: Path) -> None:
    """No checkpoint is due for long."""
    straight = run(tmp_path / "a", plan())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", plan(), on_progress=Stop(4, KeyboardInterrupt))
    told: list[Progress] = []
    resumed = run(tmp_path / "b", plan(), on_progress=told.append)
    assert steps_of(told) == [5, 6, 7, 8, 9]
    assert_same(straight.state, resumed.state)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_under_way(
    number: signal.Signals, tmp_path: Path
) -> None:
    class Signalling(BrightFeed):
        def draw(self, epoch: int, index: int):  # type: ignore[no-untyped-def]
            if (epoch, index) == (1, 5):
                os.kill(os.getpid(), number)
            return super().draw(epoch, index)

    straight = run(tmp_path / "a", plan())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", plan(), feed=Signalling())
    told: list[Progress] = []
    resumed = run(tmp_path / "b", plan(), on_progress=told.append)
    assert 4 <= steps_of(told)[0] <= 6
    assert_same(straight.state, resumed.state)


def test_a_signal_during_a_validation_does_not_wait_for_its_end(tmp_path: Path) -> None:
    def signalled(trained: nn.Module) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the validation went on")

    straight = run(tmp_path / "a", plan())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", plan(), validate=signalled)
    assert len(table(tmp_path / "b")) == 1
    told: list[Progress] = []
    resumed = run(tmp_path / "b", plan(), on_progress=told.append)
    assert steps_of(told)[0] == STEPS_PER_EPOCH + 1  # first comes the validation
    assert_same(straight.state, resumed.state)
    assert table(tmp_path / "b") == table(tmp_path / "a")


def scripted(values: list[float], name: str = "dice") -> tuple[list[nn.Module], object]:
    """A validation that finds these values, and copies of what it was given."""
    seen: list[nn.Module] = []
    rest: Iterator[float] = iter(values)

    def validate(trained: nn.Module) -> dict[str, float]:
        assert not trained.training
        assert not torch.is_grad_enabled()
        seen.append(copy.deepcopy(trained))
        return {name: next(rest)}

    return seen, validate


@pytest.mark.parametrize(
    ("name", "values", "best"),
    [("dice", [0.3, 0.8, 0.5, 0.8], 2), ("loss", [0.9, 0.4, 0.2, 0.3], 3)],
)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_best_validated_weights_are_the_result(
    name: str, values: list[float], best: int, ema_decay: float, tmp_path: Path
) -> None:
    seen, validate = scripted(values, name)
    stage = replace(STAGE, epochs=4, ema_decay=ema_decay)
    result = run(tmp_path, plan(stage), validate=validate)  # type: ignore[arg-type]
    assert (result.best_epoch, result.best_value) == (best, values[best - 1])
    assert_same(result.state, seen[best - 1].state_dict())


def test_the_average_differs_from_the_last_step(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", plan(replace(STAGE, ema_decay=0.0)), validate=None)
    mean = run(tmp_path / "b", plan(STAGE), validate=None)
    start = network().state_dict()
    name = "4.weight"
    assert 0 < (mean.state[name] - start[name]).norm() < (plain.state[name] - start[name]).norm()
    assert mean.best_epoch == 3  # an average has no training loss: the last one counts


def test_without_validation_the_training_loss_decides(tmp_path: Path) -> None:
    rates = Optimiser(learning_rate=10.0)  # it soon gets worse
    stage = replace(STAGE, ema_decay=0.0, optimiser=rates, schedule=Schedule())
    result = run(tmp_path, plan(stage), validate=None)
    losses = [float(row[4]) for row in table(tmp_path)[1:]]
    assert result.best_epoch == 1 + losses.index(min(losses)) < 3
    assert result.best_value == pytest.approx(min(losses), rel=1e-6)


def test_a_stage_ends_early_and_the_next_begins_with_the_best(tmp_path: Path) -> None:
    first = replace(STAGE, epochs=20, early_stop=EarlyStop(patience_epochs=2))
    second = Stage(name="finetune", steps=1, batch=10, optimiser=Optimiser(learning_rate=1e-9))
    seen, validate = scripted([0.1, 0.6, 0.5, 0.6, 0.55])
    result = run(tmp_path, plan(first, second), validate=validate)  # type: ignore[arg-type]
    assert [row[:2] for row in table(tmp_path)[1:]] == [
        *(["train", str(n)] for n in (1, 2, 3, 4)),
        ["finetune", "5"],
    ]
    for name, value in seen[1].state_dict().items():
        torch.testing.assert_close(seen[4].state_dict()[name], value, atol=1e-6, rtol=0)
    assert (result.best_epoch, result.best_value) == (2, 0.6)


def test_validations_are_as_far_apart_as_the_plan_says_and_one_at_the_end(tmp_path: Path) -> None:
    _, validate = scripted([0.1, 0.2, 0.3])
    stage = replace(STAGE, epochs=5, validate_every_epochs=2)
    run(tmp_path, plan(stage), validate=validate)  # type: ignore[arg-type]
    assert [row[6] for row in table(tmp_path)[1:]] == ["", "0.1", "", "0.2", "0.3"]


@pytest.mark.parametrize("found", [{}, {"accuracy": 1.0}, {"dice": math.nan}])
def test_a_validation_that_decides_nothing_is_told(found: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a finite dice or loss"):
        run(tmp_path, plan(), validate=lambda trained: found)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by two seconds a look."""
    ticks = itertools.count(0.0, 2.0)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


def test_minutes_are_those_of_training_over_all_sessions(tmp_path: Path, clock: None) -> None:
    the_plan = plan(replace(STAGE, epochs=None, minutes=1.0, schedule=Schedule(name="cosine")))
    stop = Stop(6, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, the_plan, on_progress=stop)
    rest: list[Progress] = []
    result = run(tmp_path, the_plan, on_progress=rest.append)
    shares = [progress.done_share for progress in (*stop.told, *rest)]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert [p.step for p in (*stop.told, *rest)] == list(range(1, result.steps + 1))
    assert rest[0].epochs is None
    rates = [float(row[3]) for row in table(tmp_path)[1:]]
    assert rates == sorted(rates, reverse=True)


def test_progress_is_told_after_each_step(tmp_path: Path) -> None:
    told: list[Progress] = []
    run(tmp_path, plan(), on_progress=told.append)
    assert [(p.stage, p.epoch, p.epochs) for p in told] == [
        ("train", epoch, 3) for epoch in (1, 2, 3) for _ in range(STEPS_PER_EPOCH)
    ]
    assert [p.done_share for p in told] == pytest.approx([n / 9 for n in range(1, 10)])
    assert told[-1].remaining_s == 0
    assert all(math.isfinite(p.loss) and p.remaining_s >= 0 for p in told)


def test_samples_of_a_later_stage_are_new(tmp_path: Path) -> None:
    drawn: list[tuple[int, int]] = []

    class Noting(BrightFeed):
        def draw(self, epoch: int, index: int):  # type: ignore[no-untyped-def]
            drawn.append((epoch, index))
            return super().draw(epoch, index)

    stages = (replace(STAGE, epochs=None, steps=4), replace(STAGE, name="more", epochs=1))
    run(tmp_path, plan(*stages), feed=Noting())
    epochs = [
        *((0, n) for n in range(10)),
        *((1, n) for n in range(4)),
        *((2, n) for n in range(10)),
    ]
    assert drawn == epochs


def test_a_checkpoint_of_other_cases_is_refused_and_kept(tmp_path: Path) -> None:
    run(tmp_path, plan())
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(TrainingError, match="cases was a, b, is now a;"):
        run(tmp_path, plan(), feed=BrightFeed(names=("a",)))
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    net = network()
    the_plan = plan(checkpoint_every_s=0)
    with pytest.raises(Interrupted):
        run(tmp_path, the_plan, net=net, on_progress=Stop(4))
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    with (
        net.register_forward_hook(lambda module, inputs, output: output * math.nan),
        pytest.raises(TrainingError, match="loss is nan at step 3"),
    ):
        run(tmp_path, the_plan, net=net)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept


def test_an_empty_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at least one sample"):
        run(tmp_path, plan(), feed=BrightFeed(samples=0))


def test_slices_train_as_volumes_do(tmp_path: Path) -> None:
    feed = BrightFeed(shape=(6, 8))
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.PReLU(), nn.Conv2d(4, 2, 1))
    result = run(tmp_path, plan(), net=net, feed=feed, validate=None)
    losses = [float(row[4]) for row in table(tmp_path)[1:]]
    assert losses[-1] < losses[0]
    assert result.state["0.weight"].shape == (4, 1, 3, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("amp", ["off", "bf16", "fp16", "auto"])
def test_a_run_goes_on_on_a_gpu(amp: str, tmp_path: Path) -> None:
    from models.training.run_folder import RunFolder
    from models.training.trainer import train

    the_plan = plan(replace(STAGE, amp=amp), checkpoint_every_s=0)  # type: ignore[arg-type]

    def go(stop: Stop | None) -> TrainingResult:
        with RunFolder.open(tmp_path, {}) as opened:
            return train(
                network(),
                BrightFeed(),
                the_plan,
                opened,
                device=torch.device("cuda"),
                on_progress=stop,
            )

    with pytest.raises(Interrupted):
        go(Stop(4))
    assert all(value.device.type == "cpu" for value in go(None).state.values())
