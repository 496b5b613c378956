"""The voxels a network works on: of a fixed spacing, or a fixed number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import BundleError
from models.resampling import target_size

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A network's grid laid over one volume.

    Parameters
    ----------
    shape
        Samples along each axis, `(D, H, W)`.
    step
        Source voxels from one sample to the next along each axis.
    """

    shape: tuple[int, int, int]
    step: Triple


@dataclass(frozen=True, kw_only=True)
class NetworkGrid:
    """Either `spacing_mm`, or a `shape` that every volume is resized to.

    Parameters
    ----------
    spacing_mm
        Spacing along `(k, j, i)`.
    shape
        Samples along `(k, j, i)`; None keeps the source's own along that axis.

    Raises
    ------
    BundleError
        If none or both are given, or one is not positive.
    """

    spacing_mm: Triple | None = None
    shape: tuple[int | None, int | None, int | None] | None = None

    def __post_init__(self) -> None:
        if (self.spacing_mm is None) == (self.shape is None):
            raise BundleError("expected either spacing_mm or shape in the preprocessing")
        values: Sequence[float | None] = self.spacing_mm or self.shape or ()
        if len(values) != 3 or not all(value is None or value > 0 for value in values):
            kind = "positive spacing in mm" if self.spacing_mm else "shape of three positive sizes"
            raise BundleError(f"expected a {kind}, found {values}")

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> NetworkGrid:
        """Read `{"spacing_mm": 3.0 | [k, j, i]}` or `{"shape": [D | null, H | null, W | null]}`."""
        spacing, shape = entry.get("spacing_mm"), entry.get("shape")
        if isinstance(spacing, (int, float)):
            spacing = [spacing] * 3
        return cls(
            spacing_mm=None if spacing is None else _three(float(value) for value in spacing),
            shape=None if shape is None else _three(n if n is None else int(n) for n in shape),
        )

    def over(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> Sampling:
        """Lay the grid over a volume of `shape` voxels of `spacing_mm`, both in array order.

        The samples are centred on the volume. With a spacing they cover it and a little more; with
        a shape they divide it evenly, whatever its own spacing is.
        """
        if self.spacing_mm is not None:
            pairs = list(zip(shape, spacing_mm, self.spacing_mm, strict=True))
            return Sampling(
                shape=_three(target_size(size, mm, target) for size, mm, target in pairs),
                step=_three(target / mm for _, mm, target in pairs),
            )
        assert self.shape is not None
        samples = _three(
            size if wanted is None else wanted
            for size, wanted in zip(shape, self.shape, strict=True)
        )
        return Sampling(
            shape=samples,
            step=_three(size / count for size, count in zip(shape, samples, strict=True)),
        )


def _three(values: Any) -> tuple[Any, Any, Any]:
    first, second, third = values
    return first, second, third
