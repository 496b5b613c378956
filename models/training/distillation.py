"""What a student learns from a teacher's probabilities beside the labels.

Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531) at temperature 1, with a soft Dice
beside the cross-entropy as the hard loss has one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.training.cases import UNKNOWN
from models.training.loss import SMOOTH_VOXELS
from models.training.plan import Distillation

#: A class takes part in soft Dice where the teacher sees more than this of it, in voxels.
LEAST_VOXELS = 50.0
#: Score of a class that the labels rule out.
RULED_OUT = -1e4


class Distiller:
    """Blends the hard loss of a stage with what its teacher says.

    Parameters
    ----------
    teacher
        In evaluation mode and without gradients, on the device of the images.
    """

    def __init__(self, teacher: nn.Module, settings: Distillation) -> None:
        self._teacher = teacher
        self._settings = settings

    @torch.no_grad()
    def ask(self, images: Tensor) -> Tensor:
        """The teacher's probabilities of the very samples that the student sees, in float32."""
        logits: Tensor = self._teacher(images)
        return logits.float().softmax(dim=1)

    def blend(
        self,
        hard: Tensor,
        logits: Tensor,
        taught: Tensor,
        labels: Tensor,
        unlabelled: Sequence[frozenset[int]],
    ) -> Tensor:
        """(1 - weight) * hard + weight * soft: `(N,)`, see `soft_losses`."""
        weight = self._settings.weight
        soft = soft_losses(logits, taught, labels, unlabelled, self._settings.where)
        return (1 - weight) * hard + weight * soft


def soft_losses(
    logits: Tensor,
    taught: Tensor,
    labels: Tensor,
    unlabelled: Sequence[frozenset[int]],
    where: str = "everywhere",
) -> Tensor:
    """Soft cross-entropy and soft Dice of each case against a teacher's probabilities.

    Parameters
    ----------
    logits, taught
        `(N, C, ...)`: the student's logits and the teacher's probabilities.
    labels
        `(N, ...)` int64 with `UNKNOWN` where nobody knows.
    unlabelled
        For each of the N cases the classes it does not label.
    where
        `everywhere`, or `unlabelled`: only on what the labels leave open. At an unknown voxel that
        is every class; on the background of a case without some organs it is which of these, or
        none, is there, so there the student's scores are compared within that group.

    Returns
    -------
    `(N,)` float32.
    """
    scores, target = logits.float().flatten(2), taught.flatten(2)
    if where == "everywhere":
        return soft_cross_entropy(scores, target) + soft_dice_loss(scores, target)
    truth = labels.flatten(1)[:, None]  # (N, 1, V)
    group = _group(unlabelled, scores)
    partial = (truth == 0) & (group.sum(dim=1, keepdim=True) > 1)
    asked = ((truth == UNKNOWN) | (partial & group)).float()  # (N, C, V)
    within = scores.masked_fill(partial & ~group, RULED_OUT)
    return soft_cross_entropy(within, target * asked) + soft_dice_loss(scores, target, asked)


def _group(unlabelled: Sequence[frozenset[int]], scores: Tensor) -> Tensor:
    """Background and the unlabelled classes of each case: `(N, C, 1)` bool."""
    group = torch.zeros(*scores.shape[:2], 1, dtype=torch.bool)
    for number, missing in enumerate(unlabelled):
        group[number, [0, *missing]] = True
    return group.to(scores.device)


def soft_cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """Mean over all voxels of -sum(target * log p), `(N,)`; both arguments are `(N, C, V)`.

    A voxel in which the target is 0 for all classes says nothing.
    """
    return -(target * scores.log_softmax(dim=1)).sum(dim=1).mean(dim=1)


def soft_dice_loss(scores: Tensor, target: Tensor, asked: Tensor | None = None) -> Tensor:
    """1 - soft Dice against probabilities, the mean over the organs that the target shows: `(N,)`.

    Parameters
    ----------
    scores, target
        `(N, C, V)`, logits and probabilities; class 0 is left out.
    asked
        Weights `(N, C, V)` of what counts.
    """
    probability = scores.softmax(dim=1)
    if asked is not None:
        probability, target = probability * asked, target * asked
    mass = target.sum(dim=2)
    shared = (probability * target).sum(dim=2)
    total = probability.sum(dim=2) + mass
    loss = 1 - (2 * shared + SMOOTH_VOXELS) / (total + SMOOTH_VOXELS)
    seen = (mass > LEAST_VOXELS).float()[:, 1:]
    return (loss[:, 1:] * seen).sum(dim=1) / seen.sum(dim=1).clamp_min(1)
