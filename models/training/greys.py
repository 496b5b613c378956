"""What changes greys: the network's own input, from 0 (lowest of the HU window) to 1 (highest)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.training.settings import check_settings

Generator = np.random.Generator


class GreyStep(Protocol):
    """A change of greys of any shape."""

    def apply(self, greys: Tensor, rng: Generator) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class ShiftIntensity:
    """Add up to `offset` either way (`RandShiftIntensityd` of UNETR's recipe); nothing clipped."""

    probability: float = 0.5
    offset: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, greys: Tensor, rng: Generator) -> Tensor:
        if rng.random() >= self.probability:
            return greys
        return greys + rng.uniform(-self.offset, self.offset)


@dataclass(frozen=True, kw_only=True)
class ScaleIntensity:
    """Multiply by 1 plus up to `factor` either way (`RandScaleIntensityd`); nothing clipped."""

    probability: float = 0.5
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, greys: Tensor, rng: Generator) -> Tensor:
        if rng.random() >= self.probability:
            return greys
        return greys * (1 + rng.uniform(-self.factor, self.factor))


@dataclass(frozen=True, kw_only=True)
class BrightnessContrast:
    """Multiply by 1 plus up to `contrast`, add up to `brightness`, both either way, and clip."""

    probability: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, greys: Tensor, rng: Generator) -> Tensor:
        if rng.random() >= self.probability:
            return greys
        gain = 1 + rng.uniform(-self.contrast, self.contrast)
        return (greys * gain + rng.uniform(-self.brightness, self.brightness)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """Raise to a power whose logarithm is up to `log_gamma` either way, after clipping."""

    probability: float = 0.3
    log_gamma: float = 0.3

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, greys: Tensor, rng: Generator) -> Tensor:
        if rng.random() >= self.probability:
            return greys
        return greys.clamp(0, 1) ** math.exp(rng.uniform(-self.log_gamma, self.log_gamma))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise of a standard deviation up to `sigma`; nothing clipped."""

    probability: float = 0.3
    sigma: float = 0.05

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, greys: Tensor, rng: Generator) -> Tensor:
        if rng.random() >= self.probability:
            return greys
        sigma = rng.uniform(0, self.sigma)
        seed = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return greys + sigma * torch.randn(greys.shape, generator=seed)
