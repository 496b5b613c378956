"""Remove what cannot be an organ: everything but its largest connected piece."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def keep_largest(scores: Tensor, classes: list[int]) -> Tensor:
    """Take from each of `classes` the score of the voxels it wins outside its largest piece.

    Parameters
    ----------
    scores
        `(C, D, H, W)`; changed in place.
    classes
        Classes that are one connected organ.

    Returns
    -------
    `scores`, where the next best class wins those voxels. Pieces join over faces.
    """
    winner = scores.argmax(dim=0).cpu().numpy()
    for number in classes:
        pieces, count = ndimage.label(winner == number)
        if count < 2:
            continue
        sizes = np.bincount(pieces.ravel())
        largest = 1 + int(sizes[1:].argmax())
        stray = (pieces > 0) & (pieces != largest)
        scores[number][torch.from_numpy(stray).to(scores.device)] = 0
    return scores
