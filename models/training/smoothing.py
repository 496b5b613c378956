"""Gaussian smoothing of a volume."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian(values: Tensor, sigma_voxels: float) -> Tensor:
    """Smooth `(D, H, W)` over five voxels an axis; the border's values go on beyond it.

    Shifted copies are added up: for so few taps that is six times faster than `conv3d` on a CPU.
    """
    weights = [math.exp(-(n**2) / (2 * sigma_voxels**2)) for n in range(3)]
    total = weights[0] + 2 * weights[1] + 2 * weights[2]
    centre, near, far = (weight / total for weight in weights)
    smooth = F.pad(values[None, None], (2,) * 6, mode="replicate")[0, 0]
    for axis in range(3):
        size = smooth.shape[axis] - 4
        step = smooth.narrow(axis, 2, size) * centre
        step.add_(smooth.narrow(axis, 1, size), alpha=near)
        step.add_(smooth.narrow(axis, 3, size), alpha=near)
        step.add_(smooth.narrow(axis, 0, size), alpha=far)
        step.add_(smooth.narrow(axis, 4, size), alpha=far)
        smooth = step
    return smooth


def correlated_noise(shape: torch.Size, seed: int, sigma_voxels: float = 0.6) -> Tensor:
    """Noise `(D, H, W)` of standard deviation 1 whose neighbours resemble each other."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    taps = [math.exp(-(n**2) / (2 * sigma_voxels**2)) for n in (-2, -1, 0, 1, 2)]
    kept = math.sqrt(sum(tap**2 for tap in taps)) / sum(taps)  # along one axis
    return gaussian(noise, sigma_voxels) / kept**3
