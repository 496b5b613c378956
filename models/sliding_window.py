"""Overlapping windows over a volume, weighted towards their centres.

MONAI's inferer is not used: it snaps the last window to the edge, where some voxels then count
twice; ours spreads the windows evenly, passes over those without body, reports progress, and
tells a lack of memory from other failures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.errors import BundleError
from models.memory import memory_errors
from models.preprocessing import Progress

#: Standard deviation of the window's weights, as part of its edge.
SIGMA = 0.125
#: Smallest weight relative to the centre's, so that every voxel is decided by something.
SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Settings that travel with the weights.

    Parameters
    ----------
    size
        Window `(D, H, W)` in voxels.
    overlap
        Least part of a window that the next one shares, 0 to below 1.
    batch
        Windows a call of the network.
    """

    size: tuple[int, int, int]
    overlap: float = 0.5
    batch: int = 1

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> SlidingWindow:
        """Read `sliding_window` of a bundle's `configs/inference.json`."""
        depth, height, width = (int(n) for n in entry["size"])
        return cls(
            size=(depth, height, width),
            overlap=float(entry["overlap"]),
            batch=int(entry["batch"]),
        )

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1:
            raise BundleError(f"expected a window of three positive sizes, found {self.size}")
        if not 0 <= self.overlap < 1:
            raise BundleError(f"expected an overlap of 0 to below 1, found {self.overlap}")
        if self.batch < 1:
            raise BundleError(f"expected a batch of at least 1, found {self.batch}")


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows along one axis, spread evenly from edge to edge.

    >>> window_starts(110, 50, 0.5)  # steps of 20 rather than 25, 25 and 10
    [0, 20, 40, 60]
    """
    if size <= window:
        return [0]
    steps = math.ceil((size - window) / max(1, int(window * (1 - overlap))))
    return [round(step * (size - window) / steps) for step in range(steps + 1)]


def gaussian_weights(size: Sequence[int]) -> Tensor:
    """Weights `(D, H, W)` of a window: 1 at its centre, at least `SMALLEST_WEIGHT`."""
    axes = []
    for n in size:
        offset = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) / (n * SIGMA)
        axes.append(torch.exp(-0.5 * offset**2))
    product = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    return (product / product.max()).clamp_min(SMALLEST_WEIGHT)


def infer(
    image: Tensor,
    predict: Callable[[Tensor], Tensor],
    settings: SlidingWindow,
    *,
    air: float = -1.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    on_progress: Progress | None = None,
) -> Tensor:
    """Class probabilities of a whole image.

    Parameters
    ----------
    image
        `(1, 1, D, H, W)` float32, nowhere below `air`.
    predict
        Maps windows `(N, 1, *size)` on `device` to logits `(N, C, *size)`.
    settings
        Windows.
    air
        Network input of air: what is added where the image is smaller than a window.
    dtype
        Of the result; half precision where windows do not overlap and memory counts.
    device
        Where the windows go; sums stay where `image` is.
    on_progress
        Told the done share after each batch.

    Returns
    -------
    `(C, D, H, W)` of `dtype`, sums to 1 over the classes. Where no window saw any body the class is
    background.

    Raises
    ------
    OutOfMemoryError
        If the device cannot hold one window.
    """
    device = device or image.device
    shape = tuple(image.shape[2:])
    padded = _pad(image, settings.size, air)
    weight = gaussian_weights(settings.size).to(image.device)
    starts = [
        window_starts(size, window, settings.overlap)
        for size, window in zip(padded.shape[2:], settings.size, strict=True)
    ]
    corners = [
        corner
        for corner in itertools.product(*starts)
        if bool((_cut(padded, corner, settings.size) > air).any())
    ]
    total: Tensor | None = None
    count = torch.zeros(padded.shape[2:], device=image.device)
    for first in range(0, len(corners), settings.batch):
        chosen = corners[first : first + settings.batch]
        windows = torch.cat([_cut(padded, corner, settings.size) for corner in chosen])
        probability = _predict(predict, windows.to(device)).to(image.device)
        if total is None:
            total = torch.zeros(
                probability.shape[1], *padded.shape[2:], dtype=dtype, device=image.device
            )
        for corner, one in zip(chosen, probability, strict=True):
            where = tuple(slice(c, c + n) for c, n in zip(corner, settings.size, strict=True))
            total[(slice(None), *where)] += one * weight
            count[where] += weight
        if on_progress is not None:
            on_progress((first + len(chosen)) / len(corners))
    if total is None:
        total = torch.zeros(1, *padded.shape[2:], dtype=dtype, device=image.device)
    total /= count.clamp_min(1e-12)
    total[0][count == 0] = 1.0
    kept = tuple(slice(0, n) for n in shape)
    return total[(slice(None), *kept)]


def _predict(predict: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    count, size = len(windows), tuple(windows.shape[2:])
    with memory_errors(f"{count} windows of {size} voxels on {windows.device}"):
        return predict(windows).softmax(dim=1)


def _pad(image: Tensor, size: Sequence[int], air: float) -> Tensor:
    """Add air behind the image where it is smaller than a window."""
    missing = [max(0, n - m) for n, m in zip(size, image.shape[2:], strict=True)]
    return F.pad(image, [0, missing[2], 0, missing[1], 0, missing[0]], value=air)


def _cut(image: Tensor, corner: Sequence[int], size: Sequence[int]) -> Tensor:
    k, j, i = corner
    return image[:, :, k : k + size[0], j : j + size[1], i : i + size[2]]
