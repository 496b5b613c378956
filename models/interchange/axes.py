"""A network that was trained on axes of another order, made to take ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from models.errors import BundleError

#: Axis of a canonical array (z to the head, y to the back, x to the left) of each direction, and
#: whether it runs the other way.
_DIRECTIONS = {
    "S": (0, False),
    "I": (0, True),
    "P": (1, False),
    "A": (1, True),
    "L": (2, False),
    "R": (2, True),
}
#: Directions of our own arrays' axes.
CANONICAL = "SPL"

Value = TypeVar("Value")


def check_directions(axcodes: Any, where: str) -> str:
    """The three letters as text; raises BundleError unless each axis of the patient is there once.

    Parameters
    ----------
    axcodes
        Where each array axis leads to, such as `RAS`: the first to the patient's right.
    where
        What to call the setting in an error.
    """
    text = "".join(axcodes) if isinstance(axcodes, (str, list, tuple)) else repr(axcodes)
    axes = sorted(_DIRECTIONS[letter][0] for letter in text if letter in _DIRECTIONS)
    if len(text) != 3 or axes != [0, 1, 2]:
        raise BundleError(f"{where}: expected three directions such as RAS, found {axcodes!r}")
    return text


def in_canonical_order(values: Sequence[Value], axcodes: str) -> list[Value]:
    """Values given per foreign array axis, in canonical order `(z, y, x)`."""
    axes = [_DIRECTIONS[letter][0] for letter in axcodes]
    return [values[axes.index(canonical)] for canonical in range(3)]


class TurnedNetwork(nn.Module):
    """Turn windows to the axes a network knows, and its output back.

    Permuting and flipping only: nothing is resampled, so the result is the network's own.

    Parameters
    ----------
    network
        Maps `(N, C, a, b, c)` to `(N, classes, a, b, c)`.
    axcodes
        Where its array axes a, b and c lead to.
    """

    def __init__(self, network: nn.Module, axcodes: str):
        super().__init__()
        self.network = network
        #: Whether the network is bound to one size of window.
        self.fixed_window = bool(getattr(network, "fixed_window", False))
        axes = [_DIRECTIONS[letter][0] for letter in axcodes]
        self.order = [0, 1, *(2 + axis for axis in axes)]
        self.order_back = [0, 1, *(2 + axes.index(canonical) for canonical in range(3))]
        self.flips = [2 + n for n, letter in enumerate(axcodes) if _DIRECTIONS[letter][1]]

    def forward(self, windows: Tensor) -> Tensor:
        """Map canonical windows (N, C, D, H, W) to logits (N, classes, D, H, W)."""
        turned = windows.permute(self.order).flip(self.flips).contiguous()
        logits: Tensor = self.network(turned)
        return logits.flip(self.flips).permute(self.order_back)


def turned(network: nn.Module, axcodes: str) -> nn.Module:
    """The network itself where its axes are ours already, else turned."""
    return network if axcodes == CANONICAL else TurnedNetwork(network, axcodes)
