"""Where and in which precision a network runs, decided by a short measurement."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import BundleError

#: bfloat16 must beat float32 by this factor to be worth its rounding.
WORTHWHILE = 1.1


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A device and the precision of the network's arithmetic on it."""

    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"


def choose_device(wanted: str = "auto") -> torch.device:
    """The device named `wanted` (`auto`, `cpu`, `gpu`, `gpu:1`, `cuda:1`).

    Raises
    ------
    BundleError
        If a GPU was asked for by name and there is none, or the name is unknown.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = wanted.replace("gpu", "cuda", 1) if wanted.startswith("gpu") else wanted
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise BundleError(f"expected a device auto, cpu or gpu:N, found {wanted!r}") from exc
    if device.type not in ("cpu", "cuda"):
        raise BundleError(f"expected a device auto, cpu or gpu:N, found {wanted!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BundleError(f"expected {wanted}, found {torch.cuda.device_count()} GPUs")
    return device


def choose_runtime(
    network: nn.Module, window: tuple[int, int, int], device: torch.device
) -> Runtime:
    """Measure one small window in float32 and bfloat16 and take the faster.

    Which one wins depends on the network's layers as much as on the processor, so no table could
    tell. A part of the window is enough: the ratio carries over.
    """
    part = _sample_size(network, window)
    try:
        faster = _faster(network, part, device)
    except (ValueError, RuntimeError) as exc:
        # deep networks may leave a part with one voxel, or with sizes that do not fit
        if part == window or isinstance(exc, torch.OutOfMemoryError):
            raise
        faster = _faster(network, window, device)
    return Runtime(device=device, dtype=faster)


def _faster(network: nn.Module, size: tuple[int, int, int], device: torch.device) -> torch.dtype:
    sample = torch.zeros(1, 1, *size, device=device)
    single_s = _seconds(network, sample, torch.float32)
    half_s = _seconds(network, sample, torch.bfloat16)
    return torch.bfloat16 if half_s * WORTHWHILE < single_s else torch.float32


def _sample_size(network: nn.Module, window: tuple[int, int, int]) -> tuple[int, int, int]:
    """About an eighth of the window, or all of it for a network that is bound to one size.

    Most networks halve their input five times at most, so parts are multiples of 32 voxels.
    """
    transformer = any("position_embedding" in name for name, _ in network.named_parameters())
    if transformer or getattr(network, "fixed_window", False):
        return window
    depth, height, width = (n if n % 32 else max(32, round(n / 64) * 32) for n in window)
    return depth, height, width


def run_window(network: nn.Module, patches: Tensor, dtype: torch.dtype) -> Tensor:
    """Logits of a batch of windows `(N, 1, D, H, W)` as float32 `(N, C, D, H, W)`."""
    with (
        torch.inference_mode(),
        torch.autocast(patches.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        logits: Tensor = network(patches)
        return logits.float()


def _seconds(network: nn.Module, sample: Tensor, dtype: torch.dtype) -> float:
    """The faster of two runs after a warm-up."""
    best = float("inf")
    for attempt in range(3):
        begun = time.perf_counter()
        run_window(network, sample, dtype)
        if sample.device.type == "cuda":
            torch.cuda.synchronize(sample.device)
        if attempt:
            best = min(best, time.perf_counter() - begun)
    return best
