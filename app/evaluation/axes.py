"""Scales of charts: round ticks, and places in per cent of the plot."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark at a place in per cent of the axis."""

    place: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear axis from `low` to `high` with a tick every `step`."""

    low: float
    high: float
    step: float

    def place(self, value: float) -> float:
        """Where a value lies, in per cent of the way from low to high, at most two decimals."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """From low to high."""
        count = round((self.high - self.low) / self.step)
        values = (self.low + n * self.step for n in range(count + 1))
        return tuple(Tick(place=self.place(value), text=self._text(value)) for value in values)

    def _text(self, value: float) -> str:
        if self.step < 1e-3:
            return "0" if abs(value) < self.step / 2 else f"{value:.0e}".replace("e-0", "e-")
        digits = next(n for n in range(5) if n == 4 or _is_whole(self.step * 10**n))
        return f"{value:.{digits}f}"


def round_axis(values: Iterable[float], count: int = 5) -> Axis:
    """An axis from 0 around values, with about `count` round steps; NaN and infinity are passed."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    step = _round_up((high - low) / count) if high > low else 1.0
    first = math.floor(low / step + 1e-9) * step
    last = math.ceil(high / step - 1e-9) * step
    return Axis(low=first, high=max(last, first + step), step=step)


def _round_up(step: float) -> float:
    unit = 10.0 ** math.floor(math.log10(step))
    return next(unit * n for n in _STEPS if unit * n >= step * (1 - 1e-9))


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6
