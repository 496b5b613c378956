"""Remove what cannot be an organ: everything but its largest connected piece."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def keep_largest(scores: Tensor, classes: list[int]) -> Tensor:
    """Leave each of `classes` the largest connected piece of the voxels it wins.

    Parameters
    ----------
    scores
        `(C, D, H, W)`; changed in place.
    classes
        Classes that are one connected organ.

    Returns
    -------
    `scores`, where the next best class wins those voxels, or background where that would leave
    another stray piece. Pieces join over faces.
    """
    for number, stray in _strays(scores, classes):
        scores[number][stray] = 0
    for _, stray in _strays(scores, classes):
        scores[:, stray] = 0
        scores[0][stray] = 1
    return scores


def _strays(scores: Tensor, classes: list[int]) -> Iterator[tuple[int, Tensor]]:
    """Per class the voxels it wins outside its largest piece, `(D, H, W)`, judged together."""
    winner = scores.argmax(dim=0).cpu().numpy()
    for number in classes:
        pieces, count = ndimage.label(winner == number)
        if count < 2:
            continue
        sizes = np.bincount(pieces.ravel())
        largest = 1 + int(sizes[1:].argmax())
        stray = (pieces > 0) & (pieces != largest)
        yield number, torch.from_numpy(stray).to(scores.device)
