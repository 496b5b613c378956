"""What changes HU: other scanners, contrast phases, shorter scans, hidden places.

Every step takes HU and labels `(D, H, W)` and draws from the given generator alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import TrainingError
from models.intensity import AIR_HU
from models.training.cases import UNKNOWN
from models.training.native import Native
from models.training.settings import check_settings
from models.training.smoothing import gaussian

Generator = np.random.Generator
Spacing = tuple[float, float, float]


class HounsfieldStep(Protocol):
    """A change of HU, and of labels where it hides what they name."""

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class ThickSlices:
    """Average along z as slices of up to `thickness_mm` do, and come back linearly."""

    probability: float = 0.25
    thickness_mm: float = 9.0

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        if rng.random() >= self.probability:
            return hu, labels
        thickness_mm = rng.uniform(spacing_mm[0], max(spacing_mm[0], self.thickness_mm))
        slices = max(2, round(hu.shape[0] * spacing_mm[0] / thickness_mm))
        thick = F.interpolate(hu[None, None], size=(slices, *hu.shape[1:]), mode="area")
        fine = F.interpolate(thick, size=hu.shape, mode="trilinear", align_corners=False)
        return fine[0, 0], labels


@dataclass(frozen=True, kw_only=True)
class OrganShift:
    """Each organ brighter or darker by `hu` (a standard deviation), faded in at its edge."""

    probability: float = 0.4
    hu: float = 35.0

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        if rng.random() >= self.probability:
            return hu, labels
        shift = torch.zeros(256)
        shift[1:UNKNOWN] = torch.tensor(rng.normal(0, self.hu, UNKNOWN - 1), dtype=torch.float32)
        # unlabelled neighbours share a shift, so that an edge is no proof of a label
        shift[UNKNOWN] = shift[1:10].mean()
        return hu + gaussian(shift[labels.long()], 1.0), labels


@dataclass(frozen=True, kw_only=True)
class ContrastPhase:
    """Another phase: none at all (`native`), else organs brighter and darker (`shift`)."""

    native: Native
    shift: OrganShift

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        # no draw where it is off: samples then stay what they were without this setting
        if self.native.probability > 0 and rng.random() < self.native.probability:
            return self.native.apply(hu, labels, rng, spacing_mm), labels
        return self.shift.apply(hu, labels, rng, spacing_mm)


@dataclass(frozen=True, kw_only=True)
class CropScan:
    """A shorter scan or a narrower field of view: what lies outside is air and background."""

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        if rng.random() >= self.probability:
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


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Smooth by up to `voxels` (sigma)."""

    probability: float = 0.25
    voxels: float = 0.8

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        if rng.random() < self.probability:
            hu = gaussian(hu, rng.uniform(0.3, self.voxels))
        return hu, labels


@dataclass(frozen=True, kw_only=True)
class NoiseHu:
    """Noise of up to `hu` (standard deviation), as sharp and smooth kernels leave it."""

    probability: float = 0.5
    hu: float = 30.0

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        if rng.random() >= self.probability:
            return hu, labels
        seed = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(hu.shape, generator=seed)
        if rng.random() < 0.5:  # a smooth kernel leaves blobs, a sharp one salt and pepper
            noise = gaussian(noise, 0.7) / 0.35
        return hu + noise * rng.uniform(0, self.hu), labels


@dataclass(frozen=True, kw_only=True)
class CoarseDropout:
    """Rectangular holes in a slice, filled with air: black in every window.

    Labels stay as they are, as in albumentations without `mask_fill_value`: the network has to
    say from what lies around what a hole hides (DeVries and Taylor 2017, arXiv 1708.04552).

    Parameters
    ----------
    holes
        Most of them.
    size
        Longest side of a hole as a share of the slice's.
    """

    probability: float = 0.5
    holes: int = 8
    size: float = 0.0625

    def __post_init__(self) -> None:
        check_settings(self)
        if not (self.holes >= 1 and 0 < self.size < 1):
            raise TrainingError(
                "coarse_dropout: expected at least one hole of a size between 0 and 1, found "
                f"{self.holes} of {self.size}"
            )

    def apply(
        self, hu: Tensor, labels: Tensor, rng: Generator, spacing_mm: Spacing
    ) -> tuple[Tensor, Tensor]:
        if rng.random() >= self.probability:
            return hu, labels
        holed = hu.clone()
        for _ in range(int(rng.integers(1, self.holes + 1))):
            sides = [max(1, round(n * self.size * rng.uniform(0.5, 1))) for n in hu.shape[1:]]
            top, left = (
                int(rng.integers(0, n - side + 1))
                for n, side in zip(hu.shape[1:], sides, strict=True)
            )
            holed[:, top : top + sides[0], left : left + sides[1]] = AIR_HU
        return holed, labels
