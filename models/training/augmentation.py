"""Random patches for the starter models, straight from a case of any spacing.

There are no flips: a mirrored body is one that hardly exists (see `models.training.flips`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from models.intensity import Window
from models.training.cases import UNKNOWN, Case
from models.training.hounsfield import (
    Blur,
    ContrastPhase,
    CropScan,
    HounsfieldStep,
    NoiseHu,
    OrganShift,
    ThickSlices,
)
from models.training.native import Native
from models.training.warps import Warp, nodes_mm, sample

Generator = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly patches vary; every number is an upper bound or a probability.

    With `native_probability` a patch loses its contrast medium: `native_hu` gives the HU of
    classes without it (`models.training.native.native_hu_of`).
    """

    rotation_degrees: float = 15.0
    scale: float = 0.25
    elastic_mm: float = 10.0
    foreground_probability: float = 0.7
    organ_shift_hu: float = 35.0
    organ_shift_probability: float = 0.4
    native_probability: float = 0.0
    native_hu: Mapping[int, float] = field(default_factory=dict)
    contrast: float = 0.25
    noise_hu: float = 30.0
    noise_probability: float = 0.5
    blur_voxels: float = 0.8
    blur_probability: float = 0.25
    thick_slice_mm: float = 9.0
    thick_slice_probability: float = 0.25
    crop_probability: float = 0.2

    @property
    def warp(self) -> Warp:
        """What moves voxels."""
        return Warp(
            rotation_degrees=self.rotation_degrees, scale=self.scale, elastic_mm=self.elastic_mm
        )

    @property
    def steps(self) -> tuple[HounsfieldStep, ...]:
        """What changes HU, in order."""
        return (
            ThickSlices(probability=self.thick_slice_probability, thickness_mm=self.thick_slice_mm),
            ContrastPhase(
                native=Native(probability=self.native_probability, native_hu=self.native_hu),
                shift=OrganShift(probability=self.organ_shift_probability, hu=self.organ_shift_hu),
            ),
            CropScan(probability=self.crop_probability),
            Blur(probability=self.blur_probability, voxels=self.blur_voxels),
            NoiseHu(probability=self.noise_probability, hu=self.noise_hu),
        )


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
    spacing = (spacing_mm, spacing_mm, spacing_mm)
    points_mm = augmentation.warp.apply(nodes_mm(shape, spacing), rng)
    nodes = centre.float() + points_mm / torch.tensor(case.spacing_mm, dtype=torch.float32)
    hu, labels = sample(case.hu, case.labels, nodes, shape)
    for step in augmentation.steps:
        hu, labels = step.apply(hu, labels, rng, spacing)
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


def _contrast(image: Tensor, rng: Generator, augmentation: Augmentation) -> Tensor:
    """Window level, width and gamma, still within `[-1, 1]`; adds the channel axis."""
    gain = math.exp(rng.uniform(-augmentation.contrast, augmentation.contrast))
    shift = rng.uniform(-augmentation.contrast, augmentation.contrast) / 2
    gamma = math.exp(rng.uniform(-augmentation.contrast, augmentation.contrast))
    unit = ((image * gain + shift).clamp(-1, 1) + 1) / 2
    return (2 * unit**gamma - 1)[None]
