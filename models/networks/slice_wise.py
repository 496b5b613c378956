"""A 2D network on every slice of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.errors import BundleError


class SliceWise(nn.Module):
    """Run a 2D network slice by slice, so that it takes a 3D network's place.

    Parameters
    ----------
    network
        Maps images (N, channels, H, W) to logits (N, classes, H, W). Its weights are loaded into
        it by its own names, before or after it is wrapped.
    channels
        Times the grey value is stacked; 3 for networks that began on colour pictures.
    mean, std
        Of each channel, taken off and divided by; None leaves the values as they are.

    Raises
    ------
    BundleError
        If `mean` or `std` does not fit `channels`, or a deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        if channels < 1:
            raise BundleError(f"expected at least one channel, found {channels}")
        self.network = network
        self.channels = channels
        # settings of the bundle, not weights
        self.register_buffer("mean", _per_channel("mean", mean, 0.0, channels), persistent=False)
        self.register_buffer("std", _per_channel("std", std, 1.0, channels), persistent=False)
        if not (self.std > 0).all():
            raise BundleError(f"expected positive deviations, found {std}")

    def forward(self, x: Tensor) -> Tensor:
        """Map a volume (N, 1, D, H, W) to logits (N, classes, D, H, W), or slices alike.

        Slices (N, 1, H, W), as they come in training, give logits (N, classes, H, W).

        All N * D slices go through the network at once, so D is as many as memory allows; while
        training, batch norms see them as one batch.
        """
        if x.ndim not in (4, 5) or x.shape[1] != 1:
            raise ValueError(
                f"expected a volume (N, 1, D, H, W) or slices (N, 1, H, W), found {tuple(x.shape)}"
            )
        if x.ndim == 4:
            alone: Tensor = self.network(self._stacked(x))
            return alone
        batch, depth = x.shape[0], x.shape[2]
        slices = self._stacked(x.transpose(1, 2).flatten(0, 1))  # (N * D, channels, H, W)
        logits: Tensor = self.network(slices)
        return logits.reshape(batch, depth, *logits.shape[1:]).transpose(1, 2)

    def _stacked(self, slices: Tensor) -> Tensor:
        """Grey slices (N, 1, H, W) as the network's channels."""
        return (slices.expand(-1, self.channels, -1, -1) - self.mean) / self.std


def _per_channel(name: str, values: Sequence[float] | None, default: float, n: int) -> Tensor:
    chosen = [default] * n if values is None else list(values)
    if len(chosen) != n:
        raise BundleError(f"expected {n} values of {name}, one a channel, found {len(chosen)}")
    return torch.tensor(chosen, dtype=torch.float32).view(1, n, 1, 1)
