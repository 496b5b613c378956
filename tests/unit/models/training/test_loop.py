"""Training: the same batches again, exact resumption, and a network that learns."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.errors import TrainingError
from models.intensity import Window
from models.networks.vnet import VNet
from models.training import loop
from models.training.augmentation import Augmentation
from models.training.cases import Case
from models.training.loop import TrainingPlan, TrainingState, draw_batch, train

PLAN = TrainingPlan(
    patch=(48, 32, 32),
    spacing_mm=4.0,
    window=Window(low_hu=-200, high_hu=300),
    minutes=1.0,
    batch=1,
    seed=3,
)
#: Little varies, so that a few steps are enough to see the loss fall.
CALM = Augmentation(
    rotation_degrees=5,
    scale=0.05,
    elastic_mm=1,
    foreground_probability=1,
    organ_shift_probability=0,
    contrast=0.05,
    noise_hu=5,
    blur_probability=0,
    thick_slice_probability=0,
    crop_probability=0,
)


class Interrupted(Exception):  # noqa: N818 - it is no error of the program's
    """The machine goes away."""


def ball(patient: str = "ball", hu: int = 220) -> Case:
    """A bright ball (class 1) beside a dark one (class 2)."""
    z, y, x = (n - s for n, s in zip(np.ogrid[:30, :40, :44], (15, 20, 22), strict=True))
    labels = np.zeros((30, 40, 44), np.uint8)
    labels[z**2 + y**2 + (x - 9) ** 2 < 64] = 1
    labels[z**2 + y**2 + (x + 9) ** 2 < 64] = 2
    values = np.array([40, hu, -150], np.int16)[labels]
    return Case(
        name=f"{patient}-1",
        patient=patient,
        hu=values,
        labels=labels,
        spacing_mm=(4.0, 4.0, 4.0),
        unlabelled=frozenset(),
    )


def tiny() -> VNet:
    torch.manual_seed(0)
    return VNet(out_channels=3, width=2, kernel_size=3)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by ten seconds a look, so that a step takes ten: six make a minute."""
    ticks = itertools.count(0.0, 10.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=name)


def test_a_steps_batch_depends_on_seed_and_step_alone() -> None:
    cases = [ball("a"), ball("b", 100)]
    first = draw_batch(cases, (), PLAN, 5)
    again = draw_batch(cases, (), PLAN, 5)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], draw_batch(cases, (), PLAN, 6)[0])
    assert not torch.equal(first[0], draw_batch(cases, (), replace(PLAN, seed=4), 5)[0])
    assert first[0].shape == (1, 1, 48, 32, 32)
    assert first[1].shape == (1, 48, 32, 32)


def test_patients_count_alike_however_many_scans_they_have() -> None:
    """Patient a has nine scans, patient b one; what a case does not label tells them apart."""
    plan = replace(PLAN, patch=(4, 4, 4), batch=4)
    cases = [replace(ball("a"), name=f"a-{n}") for n in range(9)]
    cases.append(replace(ball("b"), unlabelled=frozenset({2})))
    drawn = [classes for step in range(50) for classes in draw_batch(cases, (), plan, step)[2]]
    assert 0.35 < sum(bool(classes) for classes in drawn) / len(drawn) < 0.65


def test_synthetic_cases_have_their_share() -> None:
    plan = replace(PLAN, patch=(4, 4, 4), batch=4, synthetic_share=0.25)
    synthetic = [replace(ball("s"), unlabelled=frozenset({2}))]

    def share(real: list[Case]) -> float:
        drawn = [c for step in range(50) for c in draw_batch(real, synthetic, plan, step)[2]]
        return sum(bool(classes) for classes in drawn) / len(drawn)

    assert 0.15 < share([ball("a")]) < 0.35
    assert share([]) == 1.0


def test_a_resumed_run_ends_with_the_very_weights_of_one_in_one_go(
    tmp_path: Path, clock: None
) -> None:
    """Interrupted after step 3 of 6: the schedule follows the time that was trained."""
    cases = [ball("a"), ball("b", 100)]
    steps: list[int] = []
    straight = train(
        tiny(), cases, PLAN, tmp_path / "a", on_step=lambda step, *_: steps.append(step)
    )
    assert steps == [1, 2, 3, 4, 5, 6]
    steps.clear()

    def interrupt(step: int, loss: float, share: float) -> None:
        steps.append(step)
        if step == 4:
            raise Interrupted

    checkpoint = tmp_path / "b"
    with pytest.raises(Interrupted):
        train(tiny(), cases, PLAN, checkpoint, checkpoint_every_s=0, on_step=interrupt)
    resumed = train(
        VNet(out_channels=3, width=2, kernel_size=3),  # other weights: the checkpoint's count
        cases,
        PLAN,
        checkpoint,
        on_step=lambda step, *_: steps.append(step),
    )
    assert steps == [1, 2, 3, 4, 4, 5, 6]  # step 4 was not saved
    assert_same(straight, resumed)


def test_a_finished_run_gives_its_weights_again_without_a_step(tmp_path: Path, clock: None) -> None:
    first = train(tiny(), [ball()], PLAN, tmp_path / "c")
    steps: list[int] = []
    again = train(
        tiny(), [ball()], PLAN, tmp_path / "c", on_step=lambda step, *_: steps.append(step)
    )
    assert steps == []
    assert_same(first, again)


def test_a_checkpoint_holds_the_whole_state(tmp_path: Path, clock: None) -> None:
    train(tiny(), [ball()], PLAN, tmp_path / "c")
    state = TrainingState.start(tiny(), PLAN, [ball()])
    state.restore(tmp_path / "c")
    assert (state.step, state.trained_s) == (6, 60.0)
    state.save(tmp_path / "d")
    other = TrainingState.start(tiny(), PLAN, [ball()])
    other.restore(tmp_path / "d")
    assert_same(dict(state.network.state_dict()), dict(other.network.state_dict()))
    assert_same(state.average, other.average)
    before, after = (s.optimizer.state_dict()["state"] for s in (state, other))
    for index, moments in before.items():
        assert_same(moments, after[index])


def test_an_interrupted_write_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = TrainingState.start(tiny(), PLAN, [ball()])
    state.step = 41
    state.save(tmp_path / "c")
    whole_save = torch.save

    def cut_short(content: object, path: Path) -> None:
        whole_save(content, path)
        path.write_bytes(path.read_bytes()[:1000])
        raise Interrupted

    monkeypatch.setattr(torch, "save", cut_short)
    state.step = 42
    with pytest.raises(Interrupted):
        state.save(tmp_path / "c")
    state.restore(tmp_path / "c")
    assert state.step == 41


def test_a_checkpoint_of_other_cases_is_refused(tmp_path: Path, clock: None) -> None:
    """Scores of a case that was learnt from earlier would be called scores of an unseen one."""
    train(tiny(), [ball("a"), ball("b")], replace(PLAN, minutes=1 / 6), tmp_path / "c")
    kept = (tmp_path / "c").read_bytes()
    with pytest.raises(TrainingError, match="expected a-1, found a-1, b-1"):
        train(tiny(), [ball("a")], PLAN, tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == kept


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_goes_on_where_its_network_is(tmp_path: Path, clock: None) -> None:
    device = torch.device("cuda")
    train(tiny(), [ball()], replace(PLAN, minutes=0.5), tmp_path / "c", device=device)
    average = train(tiny(), [ball()], PLAN, tmp_path / "c", device=device)
    assert all(value.device.type == "cpu" for value in average.values())


def test_the_rate_rises_then_falls_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0.0, 3.0)  # twenty steps
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    plan = replace(PLAN, warmup=0.2)
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def noting(self: torch.optim.AdamW) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", noting)
    train(tiny(), [ball()], plan, tmp_path / "c")
    assert len(rates) == 20
    top = rates.index(max(rates))
    assert 3 <= top <= 5
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] < 0.01 * plan.learning_rate
    assert rates[-1] < 0.01 * plan.learning_rate


def test_the_result_is_an_average_that_follows_the_network(tmp_path: Path, clock: None) -> None:
    network = tiny()
    before = copy.deepcopy(network.state_dict())
    average = train(network, [ball()], PLAN, tmp_path / "c")
    name = "classify.weight"
    moved = (network.state_dict()[name] - before[name]).norm()
    assert 0 < (average[name] - before[name]).norm() < moved
    assert (average[name] - network.state_dict()[name]).norm() < moved


def test_a_small_network_learns_a_small_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0.0, 1.0)  # sixty steps
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    losses: list[float] = []
    train(
        tiny(),
        [ball()],
        replace(PLAN, learning_rate=0.02, ema_decay=0.9, augmentation=CALM),
        tmp_path / "c",
        on_step=lambda step, loss, share: losses.append(loss),
    )
    assert len(losses) == 60
    assert np.median(losses[:10]) > 1.2
    assert np.median(losses[-10:]) < 0.5 * np.median(losses[:10])


def test_a_run_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at least one case"):
        train(tiny(), [], PLAN, tmp_path / "c")


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, clock: None
) -> None:
    network = tiny()
    train(network, [ball()], replace(PLAN, minutes=0.5), tmp_path / "c")
    kept = (tmp_path / "c").read_bytes()

    def spoil(*_: object) -> Tensor:
        return torch.full((1, 3, *PLAN.patch), math.nan, requires_grad=True)

    with (
        network.register_forward_hook(spoil),
        pytest.raises(TrainingError, match="loss is nan at step 3"),
    ):
        train(network, [ball()], PLAN, tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == kept


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e30])
def test_a_gradient_that_is_no_number_never_reaches_a_checkpoint(
    factor: float, tmp_path: Path, clock: None
) -> None:
    """Clipping by an infinite norm makes all gradients 0, or NaN: both without a word."""
    network = tiny()
    spoil = network.classify.weight.register_hook(lambda gradient: gradient * factor)
    with pytest.raises(TrainingError):
        train(network, [ball()], PLAN, tmp_path / "c", checkpoint_every_s=0)
    spoil.remove()
    if (tmp_path / "c").exists():
        state = TrainingState.start(tiny(), PLAN, [ball()])
        state.restore(tmp_path / "c")
        assert all(torch.isfinite(value).all() for value in state.network.state_dict().values())
