"""HU to what the network sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.errors import BundleError

#: HU of air, and of everything outside a volume.
AIR_HU = -1024.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """Clip to `[low_hu, high_hu]`, then map linearly to `[lowest, highest]`.

    A mean and a standard deviation are such a map too: `lowest = (low_hu - mean) / deviation`.
    """

    low_hu: float
    high_hu: float
    lowest: float = -1.0
    highest: float = 1.0

    def __post_init__(self) -> None:
        if not self.low_hu < self.high_hu:
            raise BundleError(f"expected low_hu < high_hu, found {self.low_hu} and {self.high_hu}")
        if not self.lowest < self.highest:
            raise BundleError(
                f"expected a range from low to high, found {self.lowest} and {self.highest}"
            )

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Window:
        """Read `{"low_hu": ..., "high_hu": ..., "range": [-1, 1]}`, the range being optional."""
        lowest, highest = entry.get("range", (-1.0, 1.0))
        return cls(
            low_hu=float(entry["low_hu"]),
            high_hu=float(entry["high_hu"]),
            lowest=float(lowest),
            highest=float(highest),
        )

    def apply(self, hu: Tensor) -> Tensor:
        """Map HU of any shape to float32 in `[lowest, highest]`."""
        scale = (self.highest - self.lowest) / (self.high_hu - self.low_hu)
        clipped = hu.to(torch.float32).clamp(self.low_hu, self.high_hu)
        return (clipped - self.low_hu) * scale + self.lowest
