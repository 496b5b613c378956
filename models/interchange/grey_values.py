"""A chain of fixed grey value transforms as one: clip HU, then map linearly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from models.errors import BundleError
from models.intensity import AIR_HU

#: Largest HU of an int16 volume: where nothing is clipped.
_HIGHEST_HU = 32767.0


@dataclass(frozen=True, kw_only=True)
class GreyValues:
    """`clip(hu, low_hu, high_hu) * slope + intercept`, with a positive slope."""

    low_hu: float = AIR_HU
    high_hu: float = _HIGHEST_HU
    slope: float = 1.0
    intercept: float = 0.0

    def mapped(self, slope: float, intercept: float) -> GreyValues:
        """Followed by `value * slope + intercept`; raises BundleError unless the slope is good."""
        if not (slope > 0 and math.isfinite(slope) and math.isfinite(intercept)):
            raise BundleError(f"expected grey values that rise with HU, found a slope of {slope}")
        return replace(self, slope=self.slope * slope, intercept=self.intercept * slope + intercept)

    def clipped(self, low: float = -math.inf, high: float = math.inf) -> GreyValues:
        """Followed by a clip of the values reached so far."""
        result = replace(
            self,
            low_hu=max(self.low_hu, (low - self.intercept) / self.slope),
            high_hu=min(self.high_hu, (high - self.intercept) / self.slope),
        )
        if not result.low_hu < result.high_hu:
            raise BundleError(f"expected grey values that differ, found a clip to {low}..{high}")
        return result

    def as_json(self) -> dict[str, float | list[float]]:
        """As our own `preprocessing` has it: the HU window and what it is mapped to."""
        ends = [hu * self.slope + self.intercept for hu in (self.low_hu, self.high_hu)]
        return {
            "low_hu": _tidy(self.low_hu),
            "high_hu": _tidy(self.high_hu),
            "range": [_tidy(value) for value in ends],
        }


def _tidy(value: float) -> float:
    """Without the last digits, which only rounding made."""
    return float(f"{value:.12g}")
