"""Dice and cross-entropy for volumes that are labelled in part.

Organs that a case does not label are merged with its background before the loss (marginal loss,
Shi et al. 2021, doi 10.1016/j.media.2021.101979); unknown voxels take no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.training.cases import UNKNOWN

#: Added to both sides of a Dice quotient, in voxels: an absent organ costs nothing when not drawn.
SMOOTH_VOXELS = 1.0


def partial_loss(logits: Tensor, labels: Tensor, unlabelled: Sequence[frozenset[int]]) -> Tensor:
    """Cross-entropy plus soft Dice loss over what each case labels.

    Parameters
    ----------
    logits
        `(N, C, D, H, W)`, class 0 is background.
    labels
        `(N, D, H, W)` int64 with `UNKNOWN` where nobody knows.
    unlabelled
        For each of the N cases the classes it does not label.

    Returns
    -------
    A scalar: the mean over cases.
    """
    losses = [
        _case_loss(one.flatten(1), truth.flatten(), classes)
        for one, truth, classes in zip(logits.float(), labels, unlabelled, strict=True)
    ]
    return torch.stack(losses).mean()


def _case_loss(logits: Tensor, labels: Tensor, unlabelled: frozenset[int]) -> Tensor:
    """The loss of one case; logits `(C, V)`, labels `(V,)` for V voxels.

    Sums over voxels go through `index_add` and one matrix product: a one-hot truth would be the
    largest tensor of the whole step.
    """
    known = (labels != UNKNOWN).to(logits.dtype)
    target = torch.where(labels != UNKNOWN, labels, 0)
    merged = _merge(logits.softmax(dim=0), unlabelled)  # (C, V)
    chosen = merged.gather(0, target[None])[0].clamp_min(1e-7) * known  # (V,)
    cross_entropy = -((chosen + (1 - known)).log()).sum() / known.sum().clamp_min(1)

    classes = len(logits)
    shared = chosen.new_zeros(classes).index_add(0, target, chosen)
    truth = chosen.new_zeros(classes).index_add(0, target, known)
    total = merged @ known + truth
    dice = (2 * shared + SMOOTH_VOXELS) / (total + SMOOTH_VOXELS)
    organs = [c for c in range(1, classes) if c not in unlabelled]
    return cross_entropy + (1 - dice[organs]).mean() if organs else cross_entropy


def _merge(probability: Tensor, classes: frozenset[int]) -> Tensor:
    """Add the probability `(C, V)` of `classes` to background's and take it from them."""
    if not classes:
        return probability
    mixing = torch.eye(len(probability), device=probability.device)
    for number in classes:
        mixing[number, number] = 0
        mixing[0, number] = 1
    return mixing @ probability
