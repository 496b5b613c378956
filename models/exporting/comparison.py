"""How far an exported network is from the one it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from models.bundle import Bundle
from models.errors import BundleError
from models.memory import memory_errors

#: Largest difference between logits, relative to the largest logit where that is above 1.
TOLERANCE = 1e-4
#: Windows of so many voxels are compared two at a time as well.
_SMALL = 128**3
_SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The outcome over several random windows.

    Parameters
    ----------
    largest
        Largest absolute difference between logits.
    allowed
        What it may be.
    windows
        Compared.
    """

    largest: float
    allowed: float
    windows: int


def example(bundle: Bundle, batch: int = 1, seed: int = 0) -> Tensor:
    """Random windows `(batch, 1, D, H, W)` over the range that a bundle's network sees."""
    window = bundle.preprocessing.window
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(batch, 1, *bundle.sliding_window.size, generator=generator)
    return window.lowest + (window.highest - window.lowest) * values


def compare(bundle: Bundle, network: nn.Module, exported: Callable[[Tensor], Tensor]) -> Comparison:
    """Compare an exported network with its original on random windows.

    Raises
    ------
    BundleError
        If they differ by more than `TOLERANCE`, or a result is not finite.
    """
    small = prod(bundle.sliding_window.size) <= _SMALL
    largest, scale, count = 0.0, 1.0, 0
    for seed in _SEEDS:
        windows = example(bundle, batch=2 if small and seed == 1 else 1, seed=seed)
        with torch.inference_mode(), memory_errors(f"windows of {tuple(windows.shape)}"):
            expected, found = network(windows), exported(windows)
        if found.shape != expected.shape:
            raise BundleError(
                f"{bundle.name}: expected logits of shape {tuple(expected.shape)} from the "
                f"exported network, found {tuple(found.shape)}"
            )
        largest = max(largest, _finite(bundle, found - expected))
        scale = max(scale, _finite(bundle, expected))
        count += len(windows)
    allowed = TOLERANCE * scale
    if largest > allowed:
        raise BundleError(
            f"{bundle.name}: expected logits of the exported network within {allowed:.1e} of the "
            f"original's, found a difference of {largest:.1e}"
        )
    return Comparison(largest=largest, allowed=allowed, windows=count)


def _finite(bundle: Bundle, values: Tensor) -> float:
    if not bool(values.isfinite().all()):
        raise BundleError(f"{bundle.name}: expected finite logits, found others")
    return float(values.abs().max())
