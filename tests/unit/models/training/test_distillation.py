"""Distillation: its losses by hand, and students that learn from a teacher."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.errors import TrainingError
from models.training.batches import Batch, Job
from models.training.cases import UNKNOWN
from models.training.distillation import (
    Distiller,
    soft_cross_entropy,
    soft_dice_loss,
    soft_losses,
)
from models.training.feed import Sample
from models.training.loss import case_losses
from models.training.optimisation import Stepper
from models.training.pace import Progress
from models.training.parallel import Processes
from models.training.plan import Distillation, Optimiser, Stage
from models.training.run_folder import RunFolder
from models.training.session import TrainingResult
from models.training.trainer import train
from tests.training_runs import STAGE, BrightFeed, accuracy, assert_same, network, plan, run

CPU = Processes(rank=0, count=1, device=torch.device("cpu"))
SETTINGS = Distillation(teacher="t")
DISTILLED = replace(STAGE, distillation=SETTINGS)
#: Three classes at three voxels: `(1, C, V)`.
TAUGHT = torch.tensor([[[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]])
STUDENT = torch.tensor([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]])
NOTHING: frozenset[int] = frozenset()


def random_case(seed: int = 0, cases: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, a teacher's probabilities and labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(cases, 3, 6, 8, 8, generator=generator)
    taught = torch.randn(cases, 3, 6, 8, 8, generator=generator).softmax(dim=1)
    return logits, taught, torch.randint(0, 3, (cases, 6, 8, 8), generator=generator)


# --- the losses by hand


def test_soft_cross_entropy_by_hand() -> None:
    first = -(0.7 * math.log(0.5) + 0.3 * math.log(0.25))
    second = -(0.7 * math.log(0.5) + 0.3 * math.log(0.25))
    third = -(0.8 * math.log(0.5) + 0.2 * math.log(0.25))
    found = soft_cross_entropy(STUDENT.log(), TAUGHT)
    assert found.tolist() == pytest.approx([(first + second + third) / 3], rel=1e-6)


def test_of_a_student_that_agrees_it_is_the_entropy() -> None:
    _, taught, _ = random_case()
    flat = taught.flatten(2)
    entropy = -(flat * flat.log()).sum(dim=1).mean(dim=1)
    torch.testing.assert_close(soft_cross_entropy(flat.log(), flat), entropy)
    worse = soft_cross_entropy(torch.zeros_like(flat), flat)
    assert bool((worse > entropy).all())


def test_soft_dice_counts_organs_that_the_teacher_sees() -> None:
    """Class 1 has a mass of 60 voxels, class 2 one of 20 and no part; background never has."""
    target = torch.tensor([0.2, 0.6, 0.2])[None, :, None].expand(1, 3, 100)
    student = torch.tensor([0.1, 0.5, 0.4])[None, :, None].expand(1, 3, 100)
    shared, total = 100 * 0.6 * 0.5, 100 * (0.6 + 0.5)
    expected = 1 - (2 * shared + 1) / (total + 1)
    assert soft_dice_loss(student.log(), target).tolist() == pytest.approx([expected], rel=1e-5)
    nobody = torch.tensor([0.8, 0.1, 0.1])[None, :, None].expand(1, 3, 100)
    assert soft_dice_loss(student.log(), nobody).tolist() == [0.0]


def test_every_case_counts_for_itself() -> None:
    logits, taught, labels = random_case()
    both = soft_losses(logits, taught, labels, [NOTHING, NOTHING])
    alone = [
        soft_losses(logits[n : n + 1], taught[n : n + 1], labels[n : n + 1], [NOTHING])
        for n in (0, 1)
    ]
    torch.testing.assert_close(both, torch.cat(alone))


# --- only what the labels leave open


def test_where_all_is_labelled_the_teacher_is_silent() -> None:
    logits, taught, labels = random_case()
    found = soft_losses(logits, taught, labels, [NOTHING, NOTHING], "unlabelled")
    assert found.tolist() == [0.0, 0.0]


def test_where_nothing_is_known_it_speaks_everywhere() -> None:
    logits, taught, labels = random_case()
    unknown = torch.full_like(labels, UNKNOWN)
    sets = [NOTHING, frozenset({2})]
    found = soft_losses(logits, taught, unknown, sets, "unlabelled")
    torch.testing.assert_close(found, soft_losses(logits, taught, labels, sets))


def test_background_without_an_organ_is_asked_about_that_organ_alone() -> None:
    """Class 2 is unlabelled; the voxels are background, class 1 and unknown."""
    labels = torch.tensor([[0, 1, UNKNOWN]])
    # of background and class 2 at the first voxel the student gives 2/3 and 1/3
    first = -(0.7 * math.log(2 / 3) + 0.1 * math.log(1 / 3))
    third = -(0.1 * math.log(0.25) + 0.1 * math.log(0.25) + 0.8 * math.log(0.5))
    found = soft_losses(STUDENT.log(), TAUGHT, labels, [frozenset({2})], "unlabelled")
    assert found.tolist() == pytest.approx([(first + third) / 3], rel=1e-5)


def test_gradients_come_from_open_questions_alone() -> None:
    logits, taught, labels = random_case(cases=1)
    labels[0, :2] = UNKNOWN
    logits.requires_grad_()
    soft_losses(logits, taught, labels, [frozenset({2})], "unlabelled").sum().backward()  # type: ignore[no-untyped-call]
    gradient = logits.grad
    assert gradient is not None
    assert bool(gradient.isfinite().all())
    per_voxel = gradient.abs().sum(dim=1)
    assert per_voxel[labels == 1].max() == 0
    assert per_voxel[labels == 2].max() == 0
    assert per_voxel[labels == UNKNOWN].min() > 0
    assert per_voxel[labels == 0].min() > 0


# --- steps


def batches(*sizes: int) -> Iterator[Batch]:
    feed, begun = BrightFeed(), 0
    for number, size in enumerate(sizes):
        drawn = [feed.draw(0, begun + n) for n in range(size)]
        begun += size
        yield Batch(
            job=Job(
                epoch=0,
                indices=(),
                weight=1.0,
                group=sum(sizes),
                last=number == len(sizes) - 1,
            ),
            images=torch.stack([s.image for s in drawn]),
            labels=torch.stack([s.labels for s in drawn]),
            unlabelled=tuple(s.unlabelled for s in drawn),
        )


def step(net: nn.Module, teacher: nn.Module, stage: Stage, *sizes: int) -> list[float]:
    stepper = Stepper(net, net, stage, CPU, 0, teacher)
    return [stepper.step(batches(*sizes), n, 0.02, lambda: ())[0] for n in range(3)]


def test_the_loss_of_a_step_blends_hard_and_soft() -> None:
    net, teacher = network(dropout=0), network(seed=3).eval()
    (batch,) = batches(4)
    with torch.no_grad():
        logits, taught = net(batch.images), teacher(batch.images).softmax(dim=1)
    hard = case_losses(logits, batch.labels, batch.unlabelled).mean()
    soft = soft_losses(logits, taught, batch.labels, batch.unlabelled).mean()
    found = step(net, teacher, DISTILLED, 4)[0]
    assert found == pytest.approx(float(0.6 * hard + 0.4 * soft), rel=1e-6)
    assert abs(float(hard - soft)) > 0.05


def test_accumulated_gradients_are_those_of_one_batch() -> None:
    stage = replace(
        DISTILLED, optimiser=Optimiser(name="SGD", learning_rate=0.02), gradient_clip=None
    )
    whole, parts = network(dropout=0), network(dropout=0)
    teacher = network(seed=3).eval()
    expected = step(whole, teacher, stage, 6)
    assert step(parts, teacher, stage, 3, 2, 1) == pytest.approx(expected, rel=1e-5)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_the_teacher_sees_the_same_samples_in_the_same_precision() -> None:
    seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}
    types: list[torch.dtype] = []
    net, teacher = network(), network(seed=3).eval()

    def note(who: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            seen[who].append(inputs[0])
            types.append(output.dtype)

        return hook

    net.register_forward_hook(note("student"))
    teacher.register_forward_hook(note("teacher"))
    before = copy.deepcopy(teacher.state_dict())
    step(net, teacher, replace(DISTILLED, amp="bf16"), 2)
    assert len(seen["teacher"]) == len(seen["student"]) == 3
    for one, other in zip(seen["student"], seen["teacher"], strict=True):
        assert torch.equal(one, other)
    assert set(types) == {torch.bfloat16}
    assert_same(before, teacher.state_dict())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_probabilities_of_a_teacher_hold_no_graph() -> None:
    images = BrightFeed().draw(0, 0).image[None]
    taught = Distiller(network(), SETTINGS).ask(images)
    assert not taught.requires_grad
    torch.testing.assert_close(taught.sum(dim=1), torch.ones(1, 4, 6, 6))


# --- whole runs


@dataclass(frozen=True)
class Unlabelled(BrightFeed):
    """The same images; nobody knows anything, or all is background without class 1."""

    value: int = UNKNOWN
    missing: frozenset[int] = NOTHING

    def draw(self, epoch: int, index: int) -> Sample:
        image = super().draw(epoch, index).image
        labels = torch.full(image.shape[1:], self.value, dtype=torch.long)
        return Sample(image=image, labels=labels, unlabelled=self.missing)


def distil(
    folder: Path,
    teacher: nn.Module,
    stage: Stage = DISTILLED,
    *,
    net: nn.Module | None = None,
    feed: BrightFeed | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    with RunFolder.open(folder, {"teachers": {"t": "sha"}}) as opened:
        return train(
            net or network(),
            feed or BrightFeed(),
            plan(stage, checkpoint_every_s=0),
            opened,
            validate=accuracy,
            on_progress=on_progress,
            teachers={"t": teacher},
        )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """It has learnt from labels."""
    stage = replace(STAGE, epochs=12, optimiser=Optimiser(learning_rate=0.05))
    result = run(tmp_path_factory.mktemp("teacher"), plan(stage), net=network(dropout=0))
    assert result.best_value > 0.95
    trained = network(dropout=0)
    trained.load_state_dict(result.state)
    return trained


@pytest.mark.parametrize(
    ("where", "feed"),
    [
        ("everywhere", Unlabelled()),
        ("unlabelled", Unlabelled()),
        ("unlabelled", Unlabelled(value=0, missing=frozenset({1}))),
    ],
    ids=["everywhere", "unknown", "organ without labels"],
)
def test_a_student_learns_where_nothing_is_labelled(
    where: str, feed: BrightFeed, teacher: nn.Module, tmp_path: Path
) -> None:
    stage = replace(
        DISTILLED,
        epochs=12,
        optimiser=Optimiser(learning_rate=0.05),
        distillation=replace(SETTINGS, where=where),  # type: ignore[arg-type]
    )
    found = distil(tmp_path / "a", teacher, stage, net=network(0, seed=1), feed=feed)
    assert found.best_value > 0.93
    alone = run(
        tmp_path / "b",
        plan(replace(stage, distillation=None)),
        net=network(0, seed=1),
        feed=feed,
    )
    assert alone.best_value < 0.8


class Interrupted(Exception):  # noqa: N818 - it is no error of the program's
    """The machine goes away."""


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_resumed_run_ends_with_the_very_weights_of_one_in_one_go(
    amp: str, teacher: nn.Module, tmp_path: Path
) -> None:
    told = 0

    def stop(progress: Progress) -> None:
        nonlocal told
        told += 1
        if told == 5:
            raise Interrupted

    stage = replace(DISTILLED, amp=amp)  # type: ignore[arg-type]
    straight = distil(tmp_path / "a", teacher, stage)
    with pytest.raises(Interrupted):
        distil(tmp_path / "b", teacher, stage, on_progress=stop)
    resumed = distil(tmp_path / "b", copy.deepcopy(teacher), stage, net=network(seed=9))
    assert_same(straight.state, resumed.state)
    kept = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)
    assert kept["network"].keys() == network().state_dict().keys()


def test_a_weight_of_0_trains_as_without_a_teacher(teacher: nn.Module, tmp_path: Path) -> None:
    stage = replace(DISTILLED, distillation=replace(SETTINGS, weight=0.0))
    without = run(tmp_path / "a", plan(STAGE), net=network())
    assert_same(distil(tmp_path / "b", teacher, stage).state, without.state)
    run(tmp_path / "c", plan(stage))  # nor is there any need of one
    hard = torch.tensor([0.3, 1.7])
    logits, taught, labels = random_case()
    blended = Distiller(teacher, replace(SETTINGS, weight=0.0)).blend(
        hard, logits, taught, labels, [NOTHING, NOTHING]
    )
    assert torch.equal(blended, hard)


def test_a_teacher_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected the network of the teacher 't'"):
        run(tmp_path, plan(DISTILLED))


def test_a_run_does_not_go_on_with_another_weight_of_its_teacher(
    teacher: nn.Module, tmp_path: Path
) -> None:
    distil(tmp_path, teacher)
    other = replace(DISTILLED, distillation=replace(SETTINGS, weight=0.5))
    with pytest.raises(TrainingError, match=r"distillation.weight was 0.4, is now 0.5"):
        distil(tmp_path, teacher, other)
