"""HU to what the network sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import BundleError

#: HU of air, and of everything outside a volume.
AIR_HU = -1024.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """Clip to `[low_hu, high_hu]`, then map linearly to `[-1, 1]`."""

    low_hu: float
    high_hu: float

    def __post_init__(self) -> None:
        if not self.low_hu < self.high_hu:
            raise BundleError(f"expected low_hu < high_hu, found {self.low_hu} and {self.high_hu}")

    def apply(self, hu: Tensor) -> Tensor:
        """Map HU of any shape to float32 in `[-1, 1]`."""
        half = (self.high_hu - self.low_hu) / 2
        clipped = hu.to(torch.float32).clamp(self.low_hu, self.high_hu)
        return (clipped - self.low_hu) / half - 1
