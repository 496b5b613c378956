"""The loss of volumes that are labelled in part, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.training.cases import UNKNOWN
from models.training.loss import case_losses, partial_loss
from models.training.plan import LossWeights

NOTHING: frozenset[int] = frozenset()


def row(*values: int) -> Tensor:
    """Labels `(1, 1, 1, V)`."""
    return torch.tensor(values)[None, None, None]


def logits_of(*probabilities: tuple[float, ...]) -> Tensor:
    """Logits `(1, C, 1, 1, V)` of one tuple of class probabilities a voxel."""
    return torch.tensor(probabilities).T.log()[None, :, None, None]


def sure_of(*classes: int, count: int = 4) -> Tensor:
    one_hot = torch.nn.functional.one_hot(torch.tensor(classes), count)
    return (one_hot.T * 60.0 - 30.0)[None, :, None, None]


def test_two_voxels_by_hand() -> None:
    logits = logits_of((0.8, 0.2), (0.3, 0.7))
    cross_entropy = -(math.log(0.8) + math.log(0.7)) / 2
    dice = (2 * 0.7 + 1) / (0.9 + 1 + 1)  # predicted 0.2 + 0.7, one voxel true, 1 added
    expected = cross_entropy + 1 - dice
    assert float(partial_loss(logits, row(0, 1), [NOTHING])) == pytest.approx(expected, rel=1e-5)


def test_three_classes_by_hand() -> None:
    logits = logits_of((0.5, 0.3, 0.2), (0.1, 0.6, 0.3), (0.2, 0.2, 0.6))
    cross_entropy = -(math.log(0.5) + math.log(0.6) + math.log(0.6)) / 3
    first = (2 * 0.6 + 1) / (0.3 + 0.6 + 0.2 + 1 + 1)
    second = (2 * 0.6 + 1) / (0.2 + 0.3 + 0.6 + 1 + 1)
    expected = cross_entropy + 1 - (first + second) / 2
    found = partial_loss(logits, row(0, 1, 2), [NOTHING])
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_an_unlabelled_organ_is_part_of_background_by_hand() -> None:
    logits = logits_of((0.5, 0.3, 0.2), (0.1, 0.6, 0.3), (0.2, 0.2, 0.6))
    # class 2 is not labelled: background has 0.7, 0.4 and 0.8
    cross_entropy = -(math.log(0.7) + math.log(0.6) + math.log(0.8)) / 3
    dice = (2 * 0.6 + 1) / (0.3 + 0.6 + 0.2 + 1 + 1)
    expected = cross_entropy + 1 - dice
    found = partial_loss(logits, row(0, 1, 0), [frozenset({2})])
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_the_mean_over_cases() -> None:
    first, second = logits_of((0.8, 0.2), (0.3, 0.7)), logits_of((0.6, 0.4), (0.9, 0.1))
    labels = row(0, 1)
    alone = [float(partial_loss(one, labels, [NOTHING])) for one in (first, second)]
    both = partial_loss(torch.cat([first, second]), labels.repeat(2, 1, 1, 1), [NOTHING, NOTHING])
    assert float(both) == pytest.approx(sum(alone) / 2)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much() -> None:
    labels = row(0, 1, 2, 3, 3, 0)
    assert float(partial_loss(sure_of(0, 1, 2, 3, 3, 0), labels, [NOTHING])) == pytest.approx(0)
    assert float(partial_loss(sure_of(1, 0, 0, 0, 0, 3), labels, [NOTHING])) > 10


def test_an_absent_organ_that_is_not_drawn_costs_nothing() -> None:
    assert float(partial_loss(sure_of(0, 0, 1, 1), row(0, 0, 1, 1), [NOTHING])) == pytest.approx(0)


def test_drawing_an_unlabelled_organ_on_background_costs_nothing() -> None:
    labels, drawn = row(0, 0, 1, 1), sure_of(0, 2, 1, 1)
    assert float(partial_loss(drawn, labels, [frozenset({2})])) == pytest.approx(0)
    assert float(partial_loss(drawn, labels, [frozenset({3})])) > 4  # class 2 is labelled here


def test_drawing_an_unlabelled_organ_on_a_labelled_one_costs_as_background_does() -> None:
    labels = row(0, 0, 1, 1)
    as_unlabelled = partial_loss(sure_of(0, 0, 1, 2), labels, [frozenset({2})])
    as_background = partial_loss(sure_of(0, 0, 1, 0), labels, [frozenset({2})])
    assert float(as_unlabelled) == pytest.approx(float(as_background))
    assert float(as_unlabelled) > 3


def test_unknown_voxels_have_no_part_in_loss_or_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 2, 3, 5, generator=generator)
    labels = torch.randint(0, 4, (1, 2, 3, 5), generator=generator)
    labels[0, 0] = UNKNOWN
    leaf = logits.clone().requires_grad_()
    loss = partial_loss(leaf, labels, [frozenset({3})])
    loss.backward()
    value = float(loss.detach())
    assert leaf.grad is not None
    assert (leaf.grad[:, :, 0] == 0).all()
    assert leaf.grad[:, :, 1].abs().max() > 0
    changed = logits.clone()
    changed[:, :, 0] += 5 * torch.randn(1, 4, 3, 5, generator=generator)
    assert float(partial_loss(changed, labels, [frozenset({3})])) == pytest.approx(value)


def test_a_case_of_unknown_voxels_alone_costs_nothing() -> None:
    logits = torch.randn(1, 4, 1, 1, 6).requires_grad_()
    loss = partial_loss(logits, row(*[UNKNOWN] * 6), [NOTHING])
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_a_case_without_labelled_organ_still_learns_background() -> None:
    logits = logits_of((0.5, 0.3, 0.2), (0.4, 0.5, 0.1))
    found = partial_loss(logits, row(0, 0), [frozenset({1, 2})])
    assert float(found) == pytest.approx(0, abs=1e-6)  # every class may be there
    found = partial_loss(logits, row(0, 0), [frozenset({1})])
    dice = 1 / (0.2 + 0.1 + 1)
    expected = -(math.log(0.8) + math.log(0.9)) / 2 + 1 - dice
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_hopeless_logits_keep_loss_and_gradient_finite() -> None:
    logits = torch.tensor([[-1e4, 1e4], [1e4, -1e4]])[None, :, None, None].requires_grad_()
    loss = partial_loss(logits, row(0, 1), [NOTHING])
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    logits = torch.zeros(1, 3, 40, 40, 40)
    labels = torch.zeros(1, 40, 40, 40, dtype=torch.int64)
    labels[0, :10] = 1
    single = partial_loss(logits, labels, [NOTHING])
    half = partial_loss(logits.bfloat16(), labels, [NOTHING])
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(single))


def test_each_term_by_hand() -> None:
    logits = logits_of((0.8, 0.2), (0.3, 0.7))
    cross_entropy = -(math.log(0.8) + math.log(0.7)) / 2
    focal = -(0.2**2 * math.log(0.8) + 0.3**2 * math.log(0.7)) / 2
    dice = 1 - (2 * 0.7 + 1) / (0.9 + 1 + 1)

    def found(**weights: float) -> float:
        return float(partial_loss(logits, row(0, 1), [NOTHING], LossWeights(**weights)))

    assert found(cross_entropy=1) == pytest.approx(cross_entropy, rel=1e-5)
    assert found(focal=1) == pytest.approx(focal, rel=1e-5)
    assert found(dice=1) == pytest.approx(dice, rel=1e-5)
    both = found(dice=0.5, focal=0.25, cross_entropy=2)
    assert both == pytest.approx(0.5 * dice + 0.25 * focal + 2 * cross_entropy, rel=1e-5)


def test_cross_entropy_is_torchs_where_all_is_known() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 5, 4, 6, generator=generator)
    labels = torch.randint(0, 5, (3, 4, 6), generator=generator)
    found = partial_loss(logits, labels, [NOTHING] * 3, LossWeights(cross_entropy=1))
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(found, expected)


def test_the_gradient_of_the_focal_loss_is_that_of_its_formula() -> None:
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(2, 3, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 5), generator=generator)
    ours, theirs = (values.clone().requires_grad_() for _ in range(2))
    partial_loss(ours[:, :, None], labels[:, None], [NOTHING] * 2, LossWeights(focal=1)).backward()
    truth = theirs.softmax(1).gather(1, labels[:, None])
    (-((1 - truth) ** 2) * truth.log()).mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_slices_cost_what_thin_volumes_do() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 6, 5, generator=generator)
    labels = torch.randint(0, 4, (2, 6, 5), generator=generator)
    weights = LossWeights(cross_entropy=1, dice=1, focal=1)
    flat = case_losses(logits, labels, [NOTHING] * 2, weights)
    deep = case_losses(logits[:, :, None], labels[:, None], [NOTHING] * 2, weights)
    assert flat.shape == (2,)
    assert torch.equal(flat, deep)


def test_cases_that_label_different_organs_cost_in_one_batch_what_they_do_alone() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(4, 4, 3, 6, 5, generator=generator)
    labels = torch.randint(0, 4, (4, 3, 6, 5), generator=generator)
    labels[labels == 3] = UNKNOWN
    kinds = [frozenset({1}), NOTHING, frozenset({1}), frozenset({2, 3})]
    weights = LossWeights(cross_entropy=1, dice=0.5, focal=2)
    together = case_losses(logits, labels, kinds, weights)
    alone = [
        case_losses(logits[n : n + 1], labels[n : n + 1], [kinds[n]], weights) for n in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_voxel_of_an_organ_that_is_not_labelled_elsewhere_teaches_it() -> None:
    logits = logits_of((0.5, 0.3, 0.2), (0.1, 0.6, 0.3))
    found = partial_loss(logits, row(0, 2), [frozenset({2})], LossWeights(cross_entropy=1))
    assert float(found) == pytest.approx(-(math.log(0.7) + math.log(0.3)) / 2, rel=1e-5)


def test_dice_alone_keeps_organs_out_of_the_background_where_that_counts_too() -> None:
    """One of two organs is absent: a network that paints it everywhere must be worse off."""
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[:, :2] = 1
    right = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) * 20.0
    painted = right.clone()
    painted[:, 2][labels == 0] = 40.0
    alone = LossWeights(dice=1.0)
    both = LossWeights(dice=1.0, dice_of_background=True)
    nothing = [frozenset[int]()]
    assert float(partial_loss(right, labels, nothing, both)) == pytest.approx(0.0, abs=1e-3)
    gained = partial_loss(painted, labels, nothing, both) - partial_loss(
        right, labels, nothing, both
    )
    assert float(gained) > float(
        partial_loss(painted, labels, nothing, alone) - partial_loss(right, labels, nothing, alone)
    )


def test_absent_organs_count_in_dice_unless_they_are_left_out() -> None:
    """Organs 1, 2 and 3, of which the sample shows the first alone."""
    logits = logits_of((0.1, 0.7, 0.1, 0.1), (0.6, 0.1, 0.2, 0.1))
    there = (2 * 0.7 + 1) / (0.8 + 1 + 1)
    absent = 1 / (0.3 + 1), 1 / (0.2 + 1)
    all_three = partial_loss(logits, row(1, 0), [NOTHING], LossWeights(dice=1))
    assert float(all_three) == pytest.approx(1 - (there + sum(absent)) / 3, rel=1e-5)
    present = LossWeights(dice=1, dice_of_absent=False)
    assert float(partial_loss(logits, row(1, 0), [NOTHING], present)) == pytest.approx(
        1 - there, rel=1e-5
    )
    # none is there: nothing to say, and no division by it
    assert float(partial_loss(logits, row(0, 0), [NOTHING], present)) == 0.0
    assert float(partial_loss(logits, row(1, 0), [frozenset({1})], present)) == 0.0


def test_background_takes_the_probability_of_what_a_case_does_not_label() -> None:
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.int64)
    logits = torch.tensor([0.0, -20.0, 3.0]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 2, 2)
    weights = LossWeights(dice=1.0, dice_of_background=True)
    # class 2 is not labelled: background or it, which the network is sure of
    assert float(partial_loss(logits, labels, [frozenset({2})], weights)) < 1e-3
    assert float(partial_loss(logits, labels, [frozenset()], weights)) > 0.5


@pytest.mark.parametrize("gap", [10.0, 17.0, 40.0, 80.0])
def test_cross_entropy_of_a_confident_mistake_is_torchs_and_has_its_gradient(gap: float) -> None:
    ours = torch.tensor([gap, 0.0]).view(1, 2, 1, 1, 1).requires_grad_()
    torchs = ours.detach().clone().requires_grad_()
    loss = partial_loss(ours, row(1), [NOTHING], LossWeights(cross_entropy=1))
    expected = torch.nn.functional.cross_entropy(torchs, row(1)[:, 0][:, None])
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, torchs.grad)
    assert ours.grad is not None
    assert float(ours.grad[0, 0]) > 0.99


def surprise_of(logits: Tensor, truth: int, unlabelled: frozenset[int]) -> Tensor:
    """That of one voxel, of the definition: logits `(C,)`."""
    merged = [0, *sorted(unlabelled)] if truth == 0 else [truth]
    return logits.logsumexp(0) - logits[merged].logsumexp(0)


#: Networks that are sure of class 1 where the truth is 2, or the background with or without 3.
MISTAKES = {
    "organ": (2, NOTHING),
    "background": (0, NOTHING),
    "background or an organ": (0, frozenset({3})),
}


@pytest.mark.parametrize(("truth", "unlabelled"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("gap", [10.0, 84.0, 104.0, 500.0])
@pytest.mark.parametrize("scale", [1.0, 2.0**24])
def test_every_confident_mistake_has_its_gradient(
    truth: int, unlabelled: frozenset[int], gap: float, scale: float
) -> None:
    values = torch.tensor([0.3, gap, 0.0, -0.4])
    for weights in (LossWeights(cross_entropy=1), LossWeights(focal=1)):
        exact = values.double().requires_grad_()
        surprise = surprise_of(exact, truth, unlabelled)
        focused = (1 - (-surprise).exp()) ** 2 * surprise
        expected = weights.cross_entropy * surprise + weights.focal * focused
        (expected * scale).backward()
        ours = values.clone().requires_grad_()
        loss = partial_loss(ours.view(1, 4, 1, 1, 1), row(truth), [unlabelled], weights)
        (loss * scale).backward()
        torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
        assert ours.grad is not None
        assert exact.grad is not None
        torch.testing.assert_close(
            ours.grad.double() / scale, exact.grad / scale, rtol=1e-4, atol=1e-7
        )
        assert float(ours.grad[1]) > 0.99 * scale


def test_unlabelled_organs_share_the_gradient_of_background_by_their_probabilities() -> None:
    """In exact numbers, for logits of every size, with voxels that are unknown."""
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(1, 5, 4, 6, 7, generator=generator) * 30
    labels = torch.randint(0, 3, (1, 4, 6, 7), generator=generator)
    labels[0, 0] = UNKNOWN
    weights = LossWeights(cross_entropy=1, focal=0.5, dice=1, dice_of_background=True)
    kinds = frozenset({3, 4})
    exact, ours = values.double().requires_grad_(), values.clone().requires_grad_()
    expected = loss_of_merged(exact, labels, weights)
    expected.backward()
    loss = partial_loss(ours, labels, [kinds], weights)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert ours.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-8)


def loss_of_merged(logits: Tensor, labels: Tensor, weights: LossWeights) -> Tensor:
    """The loss of background with all classes from 3 on, class 1 and class 2, with a one-hot."""
    background = logits[:, [0, 3, 4]].logsumexp(1, keepdim=True)
    merged = torch.cat([background, logits[:, 1:3]], dim=1).movedim(1, -1)[labels != UNKNOWN]
    truth = torch.nn.functional.one_hot(labels[labels != UNKNOWN], 3)
    told = (merged.log_softmax(1) * truth).sum(1)
    probability = merged.softmax(1)
    dice = (2 * (probability * truth).sum(0) + 1) / (probability.sum(0) + truth.sum(0) + 1)
    focal = ((1 - told.exp()) ** 2 * -told).mean()
    return -weights.cross_entropy * told.mean() + weights.focal * focal + (1 - dice).mean()


def test_dice_of_background_is_exact_on_whole_volumes() -> None:
    """Sums of millions of float32 drift by percents where they are added one by one."""
    shape = (96, 160, 160)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((1, 2, *shape), generator=generator)
    labels = (torch.rand((1, *shape), generator=generator) < 0.02).long()
    loss = partial_loss(logits, labels, [NOTHING], LossWeights(dice=1, dice_of_background=True))
    probability = logits.double().softmax(dim=1)
    dice = []
    for organ in range(2):
        here = (labels == organ).double()
        shared, drawn = (probability[:, organ] * here).sum(), probability[:, organ].sum()
        dice.append((2 * shared + 1) / (drawn + here.sum() + 1))
    assert float(loss) == pytest.approx(1 - float(sum(dice)) / 2, abs=1e-6)
