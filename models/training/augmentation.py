"""Random patches: one interpolation for all that moves voxels, then what changes their values.

There is no left-right flip: it would turn a left kidney into a right one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.intensity import AIR_HU, Window
from models.training.cases import UNKNOWN, Case

Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly patches vary; every number is an upper bound or a probability."""

    rotation_degrees: float = 15.0
    scale: float = 0.25
    elastic_mm: float = 10.0
    foreground_probability: float = 0.7
    organ_shift_hu: float = 35.0
    organ_shift_probability: float = 0.4
    contrast: float = 0.25
    noise_hu: float = 30.0
    noise_probability: float = 0.5
    blur_voxels: float = 0.8
    blur_probability: float = 0.25
    thick_slice_mm: float = 9.0
    thick_slice_probability: float = 0.25
    crop_probability: float = 0.2


def random_patch(
    case: Case,
    rng: Generator,
    *,
    shape: tuple[int, int, int],
    spacing_mm: float,
    window: Window,
    augmentation: Augmentation,
) -> tuple[Tensor, Tensor]:
    """Draw one patch.

    Returns
    -------
    image
        `(1, D, H, W)` float32 in `[-1, 1]`.
    labels
        `(D, H, W)` int64 network classes, `UNKNOWN` where nobody knows.
    """
    centre = _centre(case, rng, augmentation)
    points_mm = _deformed_grid(rng, shape, spacing_mm, augmentation)
    hu, labels = _sample(case, centre, points_mm)
    hu = _thick_slices(hu, rng, spacing_mm, augmentation)
    hu = _organ_shift(hu, labels, rng, augmentation)
    hu, labels = _crop(hu, labels, rng, augmentation)
    hu = _blur_and_noise(hu, rng, augmentation)
    return _contrast(window.apply(hu), rng, augmentation), labels.long()


def _centre(case: Case, rng: Generator, augmentation: Augmentation) -> Tensor:
    """A voxel `(k, j, i)`: of a random class present with `foreground_probability`, else any."""
    if rng.random() < augmentation.foreground_probability:
        present = np.setdiff1d(np.unique(case.labels[::4, ::4, ::4]), (0, UNKNOWN))
        if len(present):
            where = np.argwhere(case.labels[::2, ::2, ::2] == rng.choice(present)) * 2
            if len(where):
                jitter_mm = rng.uniform(-40, 40, 3)
                return torch.tensor(where[rng.integers(len(where))] + jitter_mm / case.spacing_mm)
    return torch.tensor(rng.uniform(0.15, 0.85, 3) * np.array(case.hu.shape))


def _deformed_grid(
    rng: Generator, shape: tuple[int, int, int], spacing_mm: float, augmentation: Augmentation
) -> Tensor:
    """Positions `(D, H, W, 3)` in mm `(z, y, x)` around the centre, after affine and elastic."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * spacing_mm for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    matrix = torch.tensor(_rotation(rng, augmentation.rotation_degrees), dtype=torch.float32)
    common = math.exp(rng.uniform(-augmentation.scale, augmentation.scale))
    stretch = np.exp(rng.uniform(-0.4, 0.4, 3) * augmentation.scale) * common
    points = points @ (matrix * torch.tensor(stretch, dtype=torch.float32)).T
    amplitude_mm = rng.uniform(0, augmentation.elastic_mm)
    nodes = torch.tensor(rng.normal(0, amplitude_mm, (1, 3, 4, 6, 6)), dtype=torch.float32)
    coarse = [max(6, n // 4) for n in shape]  # smoothed here, where it costs little
    field = F.interpolate(nodes, size=coarse, mode="trilinear", align_corners=True)
    field = torch.stack([_gaussian(component, 1.5) for component in field[0]])[None]
    field = F.interpolate(field, size=shape, mode="trilinear", align_corners=True)
    return points + field[0].permute(1, 2, 3, 0)


def _rotation(rng: Generator, degrees: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    turned = np.eye(3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        angle = math.radians(rng.uniform(-degrees, degrees))
        plane = np.eye(3)
        plane[[first, second], [first, second]] = math.cos(angle)
        plane[first, second], plane[second, first] = -math.sin(angle), math.sin(angle)
        turned = turned @ plane
    return turned


def _sample(case: Case, centre: Tensor, points_mm: Tensor) -> tuple[Tensor, Tensor]:
    """HU linearly, labels by the nearest voxel; outside the volume is air and background."""
    index = centre.float() + points_mm / torch.tensor(case.spacing_mm, dtype=torch.float32)
    size = torch.tensor(case.hu.shape, dtype=torch.float32)
    grid = (2 * index / (size - 1) - 1).flip(-1)[None]  # grid_sample wants (x, y, z)
    image = torch.from_numpy(case.hu)[None, None].float() - AIR_HU
    hu = F.grid_sample(image, grid, mode="bilinear", align_corners=True)[0, 0] + AIR_HU
    values = torch.from_numpy(case.labels)[None, None].float()
    labels = F.grid_sample(values, grid, mode="nearest", align_corners=True)[0, 0]
    return hu, labels.to(torch.uint8)


def _thick_slices(
    hu: Tensor, rng: Generator, spacing_mm: float, augmentation: Augmentation
) -> Tensor:
    """Average along z as thick slices would, then come back by linear interpolation."""
    if rng.random() >= augmentation.thick_slice_probability:
        return hu
    thickness_mm = rng.uniform(spacing_mm, max(spacing_mm, augmentation.thick_slice_mm))
    slices = max(2, round(hu.shape[0] * spacing_mm / thickness_mm))
    thick = F.interpolate(hu[None, None], size=(slices, *hu.shape[1:]), mode="area")
    return F.interpolate(thick, size=hu.shape, mode="trilinear", align_corners=False)[0, 0]


def _organ_shift(hu: Tensor, labels: Tensor, rng: Generator, augmentation: Augmentation) -> Tensor:
    """Another contrast phase: each organ brighter or darker, faded in at its edge."""
    if rng.random() >= augmentation.organ_shift_probability:
        return hu
    shift = torch.zeros(256)
    shift[1:UNKNOWN] = torch.tensor(
        rng.normal(0, augmentation.organ_shift_hu, UNKNOWN - 1), dtype=torch.float32
    )
    # unlabelled neighbours share a shift, so that an edge is no proof of a label
    shift[UNKNOWN] = shift[1:10].mean()
    return hu + _gaussian(shift[labels.long()], 1.0)


def _crop(
    hu: Tensor, labels: Tensor, rng: Generator, augmentation: Augmentation
) -> tuple[Tensor, Tensor]:
    """A shorter scan or a narrower field of view: what lies outside is air and background."""
    if rng.random() >= augmentation.crop_probability:
        return hu, labels
    keep = torch.ones_like(labels, dtype=torch.bool)
    depth, height, width = hu.shape
    if rng.random() < 0.6:
        cut = int(rng.uniform(0.1, 0.5) * depth)
        if rng.random() < 0.5:
            keep[:cut] = False
        else:
            keep[depth - cut :] = False
    else:
        y = torch.arange(height)[:, None] - height * rng.uniform(0.4, 0.6)
        x = torch.arange(width)[None] - width * rng.uniform(0.4, 0.6)
        keep &= y**2 + x**2 < (rng.uniform(0.38, 0.6) * width) ** 2
    return torch.where(keep, hu, AIR_HU), torch.where(keep, labels, 0)


def _blur_and_noise(hu: Tensor, rng: Generator, augmentation: Augmentation) -> Tensor:
    if rng.random() < augmentation.blur_probability:
        hu = _gaussian(hu, rng.uniform(0.3, augmentation.blur_voxels))
    if rng.random() < augmentation.noise_probability:
        seed = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(hu.shape, generator=seed)
        if rng.random() < 0.5:  # a smooth kernel leaves blobs, a sharp one salt and pepper
            noise = _gaussian(noise, 0.7) / 0.35
        hu = hu + noise * rng.uniform(0, augmentation.noise_hu)
    return hu


def _gaussian(values: Tensor, sigma_voxels: float) -> Tensor:
    """Smooth `(D, H, W)`; beyond the border it goes on with the border's values."""
    offsets = torch.arange(-2, 3, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma_voxels**2))
    weights = weights / weights.sum()
    smooth = F.pad(values[None, None], (2,) * 6, mode="replicate")
    for axis in range(3):
        smooth = F.conv3d(
            smooth, weights.reshape([1, 1, *(5 if a == axis else 1 for a in range(3))])
        )
    return smooth[0, 0]


def _contrast(image: Tensor, rng: Generator, augmentation: Augmentation) -> Tensor:
    """Window level, width and gamma, still within `[-1, 1]`; adds the channel axis."""
    gain = math.exp(rng.uniform(-augmentation.contrast, augmentation.contrast))
    shift = rng.uniform(-augmentation.contrast, augmentation.contrast) / 2
    gamma = math.exp(rng.uniform(-augmentation.contrast, augmentation.contrast))
    unit = ((image * gain + shift).clamp(-1, 1) + 1) / 2
    return (2 * unit**gamma - 1)[None]
