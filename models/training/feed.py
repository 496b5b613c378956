"""What a trainer is fed with: samples, drawn anew but never by chance alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One patch, volume or slice.

    Parameters
    ----------
    image
        `(C, D, H, W)` float32, or `(C, H, W)` for networks that see slices.
    labels
        `(D, H, W)` or `(H, W)` int64 network classes, `UNKNOWN` where nobody knows.
    unlabelled
        Classes that may be there but are not labelled: here background means "background or one
        of these".
    """

    image: Tensor
    labels: Tensor
    unlabelled: frozenset[int] = frozenset()


class Feed(Protocol):
    """Samples of a data set, in an order and with a variation that the seed alone decides."""

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of all cases that samples come from, sorted."""
        ...

    def __len__(self) -> int:
        """Samples in one epoch."""
        ...

    def draw(self, epoch: int, index: int) -> Sample:
        """The sample at `index` (0 to len - 1) of `epoch` (from 0).

        The same arguments give the same sample, in any process and in any order of calls; it may
        be called by several threads at once.
        """
        ...
