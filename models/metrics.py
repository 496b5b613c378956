"""How well labels agree with a truth that is known in part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dice(
    labels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    number: int,
    truth_number: int | None = None,
    unknown: int | None = None,
) -> float | None:
    """Dice coefficient of one organ (Dice 1945).

    Parameters
    ----------
    labels, truth
        Arrays of one shape.
    number, truth_number
        The organ's value in each; the same in both where only one is given.
    unknown
        Value of `truth` at voxels that do not count.

    Returns
    -------
    0 to 1; None where neither has the organ.
    """
    found = labels == number
    real = truth == (number if truth_number is None else truth_number)
    if unknown is not None:
        known = truth != unknown
        found, real = found & known, real & known
    total = int(found.sum()) + int(real.sum())
    return None if total == 0 else 2 * int((found & real).sum()) / total
