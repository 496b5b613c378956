"""Cases on a network's grid, resampled slab by slab.

HU go through the filter of `models.resampling`, as on the way into a network; of labels, each
class goes through it alone, and the largest wins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.intensity import AIR_HU
from models.network_grid import NetworkGrid
from models.resampling import apply_slab_wise, axis_matrix
from models.training.cases import UNKNOWN, Case

#: Slices of the result that are made at a time.
SLAB = 16
#: A voxel is unknown where at least this share of what it shows is.
UNKNOWN_SHARE = 0.5


def resample_case(case: Case, grid: NetworkGrid) -> Case:
    """Bring a case to a grid.

    A label becomes the class with the largest share of what a sample shows (on a tie the lower
    number), `UNKNOWN` where half of it or more is unknown.

    Memory stays at the result and a slab of a few slices.

    Returns
    -------
    Case
        HU int16, not below -1024.
    """
    sampling = grid.over(case.hu.shape, case.spacing_mm)
    shape, steps = sampling.shape, sampling.step
    matrices = [
        axis_matrix(size, target, step)
        for size, target, step in zip(case.hu.shape, shape, steps, strict=True)
    ]
    hu, labels = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    for start in range(0, shape[0], SLAB):
        rows = slice(start, start + SLAB)
        along_k = matrices[0][rows]
        used = along_k.any(dim=0).nonzero()[:, 0]
        near = slice(int(used[0]), int(used[-1]) + 1)
        parts = (along_k[:, near], matrices[1], matrices[2])
        values = apply_slab_wise(case.hu[near], parts).clamp_min(AIR_HU)
        hu[rows] = values.round().to(torch.int16).numpy()
        labels[rows] = _resample_labels(case.labels[near], parts)
    dk, dj, di = (mm * step for mm, step in zip(case.spacing_mm, steps, strict=True))
    return Case(
        name=case.name,
        patient=case.patient,
        hu=hu,
        labels=labels,
        spacing_mm=(dk, dj, di),
        unlabelled=case.unlabelled,
        spacing_stated=case.spacing_stated,
    )


def _resample_labels(block: NDArray[np.uint8], matrices: Sequence[Tensor]) -> NDArray[np.uint8]:
    present = np.unique(block)
    shape = tuple(matrix.shape[0] for matrix in matrices)
    if len(present) == 1:
        return np.full(shape, present[0], np.uint8)
    background = torch.ones(shape)
    best = torch.zeros(shape)
    winner = torch.zeros(shape, dtype=torch.uint8)
    unknown = torch.zeros(shape, dtype=torch.bool)
    for value in present[present > 0].tolist():
        share = _share(block == value, matrices)
        background -= share
        if value == UNKNOWN:
            unknown = share >= UNKNOWN_SHARE
            continue
        larger = share > best
        best[larger] = share[larger]
        winner[larger] = value
    # rounding of float32 must not decide between an organ and the background
    winner[background >= best - 1e-6] = 0
    winner[unknown] = UNKNOWN
    return winner.numpy()


def _share(mask: NDArray[np.bool_], matrices: Sequence[Tensor]) -> Tensor:
    """What share of each sample the mask makes up; worked out in the mask's box alone."""
    box, cut = [], []
    for axis, matrix in enumerate(matrices):
        present = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        inside = slice(int(present[0]), int(present[-1]) + 1)
        rows = matrix[:, inside].any(dim=1).nonzero()[:, 0]
        reached = slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
        box.append(inside)
        cut.append((reached, matrix[reached, inside]))
    share = torch.zeros(tuple(matrix.shape[0] for matrix in matrices))
    small = mask[tuple(box)].astype(np.int16)
    share[tuple(reached for reached, _ in cut)] = apply_slab_wise(small, [part for _, part in cut])
    return share
