"""Cross-entropy, soft Dice and focal loss for images that are labelled in part.

Organs that a case does not label are merged with its background before the loss (marginal loss,
Shi et al. 2021, doi 10.1016/j.media.2021.101979); unknown voxels take no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.training.cases import UNKNOWN
from models.training.plan import DICE_AND_CROSS_ENTROPY, LossWeights

#: Added to both sides of a Dice quotient, in voxels: an absent organ costs nothing when not drawn.
SMOOTH_VOXELS = 1.0
#: Exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002).
FOCUS = 2.0


def partial_loss(
    logits: Tensor,
    labels: Tensor,
    unlabelled: Sequence[frozenset[int]],
    weights: LossWeights = DICE_AND_CROSS_ENTROPY,
) -> Tensor:
    """The mean over cases of `case_losses`: a scalar."""
    return case_losses(logits, labels, unlabelled, weights).mean()


def case_losses(
    logits: Tensor,
    labels: Tensor,
    unlabelled: Sequence[frozenset[int]],
    weights: LossWeights = DICE_AND_CROSS_ENTROPY,
) -> Tensor:
    """The weighted sum of losses over what each case labels.

    Cross-entropy and focal loss are means over known voxels, soft Dice one over labelled organs
    and, where that is wanted, background.

    Parameters
    ----------
    logits
        `(N, C, D, H, W)` or `(N, C, H, W)`, class 0 is background.
    labels
        `(N, D, H, W)` or `(N, H, W)` int64 with `UNKNOWN` where nobody knows.
    unlabelled
        For each of the N cases the classes it does not label. A voxel that has one of them all
        the same teaches it: it is the background that says nothing about them.

    Returns
    -------
    `(N,)` float32.
    """
    scores, truth = logits.float().flatten(2), labels.flatten(1)
    if scores.device.type == "cpu" or len(set(unlabelled)) > 1:
        # on a processor one case at a time stays in the cache
        parts = zip(torch.split(scores, 1), torch.split(truth, 1), unlabelled, strict=True)
        return torch.cat([_alike(one, labels, kind, weights) for one, labels, kind in parts])
    return _alike(scores, truth, unlabelled[0], weights)


def _alike(
    logits: Tensor, labels: Tensor, unlabelled: frozenset[int], weights: LossWeights
) -> Tensor:
    """Losses `(N,)` of cases that leave the same classes out: logits `(N, C, V)`, labels `(N, V)`.

    Sums over voxels go through `index_add` and one matrix product: a one-hot truth would be the
    largest tensor of the whole step. `index_add` adds one by one, which drifts in float32.

    The truth's probability is taken as its logarithm: as a number of its own it is 0 where a
    mistake is made with certainty, and so would be its gradient.
    """
    known = (labels != UNKNOWN).to(logits.dtype)
    target = torch.where(labels != UNKNOWN, labels, 0)
    logarithm = logits.log_softmax(dim=1)
    probability = logarithm.exp()
    chosen_log = logarithm.gather(1, target[:, None])[:, 0]  # (N, V)
    background = probability[:, 0]
    if unlabelled:  # background may be any of these
        kinds = torch.tensor([0, *sorted(unlabelled)], device=logits.device)
        merged = logarithm.index_select(1, kinds).logsumexp(dim=1)
        chosen_log = torch.where(target == 0, merged, chosen_log)
        background = merged.exp()
    chosen = chosen_log.exp() * known
    losses = logits.new_zeros(len(logits))
    if weights.cross_entropy or weights.focal:
        surprise = -chosen_log * known
        voxels = known.sum(dim=1).clamp_min(1)
        if weights.cross_entropy:
            losses = losses + weights.cross_entropy * surprise.sum(dim=1) / voxels
        if weights.focal:
            focused = (1 - chosen) ** FOCUS * surprise
            losses = losses + weights.focal * focused.sum(dim=1) / voxels
    first = 0 if weights.dice_of_background else 1
    classes = [c for c in range(first, logits.shape[1]) if c not in unlabelled]
    if weights.dice and classes:
        dice, truth = _dice(probability, background, chosen, target, known)
        counts = torch.ones_like(truth) if weights.dice_of_absent else (truth > 0).float()
        missed, counts = ((1 - dice) * counts)[:, classes], counts[:, classes]
        losses = losses + weights.dice * missed.sum(dim=1) / counts.sum(dim=1).clamp_min(1)
    return losses


def _dice(
    probability: Tensor, background: Tensor, chosen: Tensor, target: Tensor, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Soft Dice (Milletari et al. 2016, without their squares) and true voxels, both `(N, C)`."""
    count, classes = probability.shape[:2]
    bins = target + classes * torch.arange(count, device=target.device)[:, None]
    empty = chosen.new_zeros(count * classes, dtype=torch.float64)
    shared, truth = (
        empty.index_add(0, bins.flatten(), values.double().flatten()).float().view(count, classes)
        for values in (chosen, known)
    )
    drawn = torch.bmm(probability, known[:, :, None])[:, :, 0]
    drawn = torch.cat([(background * known).sum(dim=1, keepdim=True), drawn[:, 1:]], dim=1)
    total = drawn + truth
    return (2 * shared + SMOOTH_VOXELS) / (total + SMOOTH_VOXELS), truth
