"""Steps of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.errors import OutOfMemoryError, TrainingError
from models.training.batches import Batch, Job
from models.training.loss import case_losses
from models.training.optimisation import Stepper, forward_precision, make_optimiser, seed_step
from models.training.parallel import Processes
from models.training.plan import Optimiser, Stage
from tests.training_runs import STAGE, BrightFeed, network

CPU = Processes(rank=0, count=1, device=torch.device("cpu"))


def batches(*sizes: int) -> Iterator[Batch]:
    """The first samples of a feed in batches of these sizes, as one step."""
    feed, begun = BrightFeed(), 0
    for number, size in enumerate(sizes):
        drawn = [feed.draw(0, begun + n) for n in range(size)]
        begun += size
        job = Job(
            epoch=0,
            indices=(),
            weight=1.0,
            group=sum(sizes),
            last=number == len(sizes) - 1,
        )
        yield Batch(
            job=job,
            images=torch.stack([s.image for s in drawn]),
            labels=torch.stack([s.labels for s in drawn]),
            unlabelled=tuple(s.unlabelled for s in drawn),
        )


def step(net: nn.Module, stage: Stage, *sizes: int, steps: int = 1) -> list[float]:
    stepper = Stepper(net, net, stage, CPU, seed=0)
    return [stepper.step(batches(*sizes), n, 0.02, lambda: ())[0] for n in range(steps)]


SGD = replace(STAGE, optimiser=Optimiser(name="SGD", learning_rate=0.02), gradient_clip=None)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1), (2, 2, 2), (4, 2), (3, 2, 1)])
def test_accumulated_gradients_are_those_of_one_batch(sizes: tuple[int, ...]) -> None:
    """The last group of an epoch too, whose batches differ in size."""
    whole, parts = network(dropout=0), network(dropout=0)
    losses = step(whole, SGD, 6, steps=3), step(parts, SGD, *sizes, steps=3)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[0][2] < losses[0][0]
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_the_loss_of_a_step_is_the_mean_over_its_samples() -> None:
    net = network(dropout=0)
    (batch,) = batches(5)
    with torch.no_grad():
        expected = case_losses(net(batch.images), batch.labels, batch.unlabelled, STAGE.loss)
    assert step(net, STAGE, 3, 2)[0] == pytest.approx(float(expected.mean()), rel=1e-5)


def test_the_gradient_is_clipped() -> None:
    free, bound = network(dropout=0), network(dropout=0)
    step(free, SGD, 4)
    step(bound, replace(SGD, gradient_clip=0.01), 4)

    def norm(net: nn.Module) -> float:
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        return float(torch.stack([g.norm() for g in grads]).norm())

    assert norm(free) > 0.02
    assert norm(bound) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_learns_as_single_does(amp: str) -> None:
    """Float16 with its scaled loss works on processors too."""
    single, half = network(dropout=0), network(dropout=0)
    expected = step(single, STAGE, 4, steps=20)
    found = step(half, replace(STAGE, amp=amp), 4, steps=20)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, rel=0.03)
    assert found[-1] < 0.8 * found[0]
    assert all(p.dtype == torch.float32 for p in half.parameters())


def test_the_type_of_the_forward_pass() -> None:
    seen: list[torch.dtype] = []
    for amp in ("off", "bf16", "fp16"):
        net = network()
        net[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        step(net, replace(STAGE, amp=amp), 2)  # type: ignore[arg-type]
    assert seen == [torch.float32, torch.bfloat16, torch.float16]
    assert forward_precision("auto", torch.device("cpu")) in (None, torch.bfloat16)


def test_a_loss_that_is_no_number_alters_nothing() -> None:
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    net.register_forward_hook(lambda module, inputs, output: output * math.nan)
    with pytest.raises(TrainingError, match="the loss is nan at step 0"):
        step(net, STAGE, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_that_is_no_number_alters_nothing(factor: float, clip: float | None) -> None:
    """Clipping by an infinite norm makes all gradients 0, or NaN: both without a word."""
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    net[-1].weight.register_hook(lambda gradient: gradient * factor)
    with pytest.raises(TrainingError, match=r"the gradient is (nan|inf) at step 0"):
        step(net, replace(STAGE, gradient_clip=clip), 2)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_float16_gradient_that_overflows_lowers_the_scale_and_is_left_out() -> None:
    net = network(dropout=0)
    before = net[-1].weight.detach().clone()
    stepper = Stepper(net, net, replace(STAGE, amp="fp16"), CPU, seed=0)
    hook = net[-1].weight.register_hook(lambda gradient: gradient * math.inf)
    stepper.step(batches(2), 0, 0.02, lambda: ())
    assert torch.equal(net[-1].weight, before)
    assert stepper.scaler.get_scale() == 2.0**15
    hook.remove()
    stepper.step(batches(2), 1, 0.02, lambda: ())
    assert not torch.equal(net[-1].weight, before)


def test_a_float16_gradient_that_overflows_at_every_scale_is_told() -> None:
    net = network()
    net[-1].weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match="every scale of float16; take bf16"):
        step(net, replace(STAGE, amp="fp16"), 2, steps=20)


def test_a_lack_of_memory_is_told_as_such() -> None:
    class Hungry(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**50) + x.mean()

    with pytest.raises(OutOfMemoryError, match=r"a batch of \(2, 1, 4, 6, 6\) on cpu"):
        step(nn.Sequential(network(), Hungry()), STAGE, 2)


def test_dropout_depends_on_seed_step_and_process_alone() -> None:
    def drawn(*numbers: int) -> Tensor:
        seed_step(*numbers)
        return torch.rand(4)

    first = drawn(1, 2, 3)
    torch.rand(7)
    assert torch.equal(drawn(1, 2, 3), first)
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not torch.equal(drawn(*other), first)


def test_frozen_weights_stay() -> None:
    net = network()
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    step(net, STAGE, 2)
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD"])
def test_optimisers_take_their_settings(name: str) -> None:
    settings = Optimiser(
        name=name,  # type: ignore[arg-type]
        learning_rate=0.3,
        weight_decay=0.2,
        momentum=0.7,
    )
    made = make_optimiser(network(), settings)
    assert type(made).__name__ == name
    assert (made.defaults["lr"], made.defaults["weight_decay"]) == (0.3, 0.2)
    assert made.defaults.get("momentum", 0.7) == 0.7
