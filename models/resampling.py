"""Separable resampling between a grid and one of other spacing on the same axes and centre.

Going to a coarser grid, each sample is a triangle-weighted mean as wide as the new spacing, so
that fine noise and edges do not alias; going to a finer grid it is linear interpolation. Samples
beyond the first and last voxel take the border's value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def target_size(size: int, spacing_mm: float, target_mm: float) -> int:
    """Voxels of `target_mm` that cover `size` voxels of `spacing_mm`, at least 1."""
    return max(1, math.ceil(size * spacing_mm / target_mm - 1e-6))


def positions(source: int, target: int, step: float) -> NDArray[np.float64]:
    """Where `target` samples, `step` source voxels apart and centred, lie in source index units.

    Returns
    -------
    `(target,)` float64.
    """
    offsets = np.arange(target, dtype=np.float64) - (target - 1) / 2
    return offsets * step + (source - 1) / 2


def weights(source: int, at: NDArray[np.float64], width: float) -> NDArray[np.float32]:
    """Matrix `(len(at), source)` of triangle weights around each position.

    Parameters
    ----------
    source
        Length of the axis in voxels.
    at
        Positions in index units; those outside are moved to the border.
    width
        Half base of the triangle in voxels; 1 is linear interpolation.
    """
    centres = np.clip(at, 0, source - 1)[:, None]
    distance = np.abs(np.arange(source)[None] - centres)
    triangle = np.clip(1 - distance / max(1.0, width), 0, None)
    matrix: NDArray[np.float32] = (triangle / triangle.sum(axis=1, keepdims=True)).astype(
        np.float32
    )
    return matrix


def axis_matrix(source: int, target: int, step: float) -> Tensor:
    """The `(target, source)` matrix that resamples one axis at `step` source voxels a sample."""
    return torch.from_numpy(weights(source, positions(source, target, step), step))


def apply_slab_wise(array: NDArray[np.int16], matrices: Sequence[Tensor], slab: int = 16) -> Tensor:
    """Resample `(D, H, W)` by one matrix an axis, `slab` source slices at a time.

    Memory stays at the result plus a few slices in float32.

    Returns
    -------
    `(D', H', W')` float32.
    """
    along_k, along_j, along_i = matrices
    result = torch.zeros(along_k.shape[0], along_j.shape[0], along_i.shape[0])
    for start in range(0, array.shape[0], slab):
        block = torch.from_numpy(array[start : start + slab].astype(np.float32))
        plane = along_j @ block @ along_i.T  # (slab, H', W')
        part = along_k[:, start : start + slab]  # (D', slab)
        rows = part.any(dim=1).nonzero()[:, 0]
        if len(rows):
            result[rows] += torch.einsum("ds,shw->dhw", part[rows], plane)
    return result
