"""Agreement of voxels: what two label arrays share, and the measures that come of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Voxels of one organ against all else: each measure is None where it would divide by zero.

    Parameters
    ----------
    both, prediction_only, truth_only, neither
        True positives, false positives, false negatives, true negatives.
    """

    both: int
    prediction_only: int
    truth_only: int
    neither: int

    @classmethod
    def of_class(cls, confusion: NDArray[np.int64], number: int) -> Overlap:
        """That of one class in a confusion matrix, truth x prediction."""
        both = int(confusion[number, number])
        found, real = int(confusion[:, number].sum()), int(confusion[number].sum())
        return cls(
            both=both,
            prediction_only=found - both,
            truth_only=real - both,
            neither=int(confusion.sum()) - found - real + both,
        )

    @property
    def found(self) -> int:
        """Voxels of the prediction."""
        return self.both + self.prediction_only

    @property
    def real(self) -> int:
        """Voxels of the truth."""
        return self.both + self.truth_only

    @property
    def dice(self) -> float | None:
        """Twice the shared part of both sizes (Dice 1945); None where neither has the organ."""
        return _share(2 * self.both, self.found + self.real)

    @property
    def iou(self) -> float | None:
        """Shared part of the union (Jaccard 1912); None where neither has the organ."""
        return _share(self.both, self.both + self.prediction_only + self.truth_only)

    @property
    def precision(self) -> float | None:
        """Right part of the prediction; None where nothing is predicted."""
        return _share(self.both, self.found)

    @property
    def recall(self) -> float | None:
        """Found part of the truth (sensitivity); None where the truth lacks the organ."""
        return _share(self.both, self.real)

    @property
    def accuracy(self) -> float | None:
        """Share of all voxels on the right side; None where there are no voxels."""
        return _share(
            self.both + self.neither,
            self.both + self.neither + self.prediction_only + self.truth_only,
        )


def joint_counts(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many voxels have each pair of values.

    Parameters
    ----------
    truth, prediction
        `(D, H, W)`, of one shape; may be memory maps, for they are read slice by slice.

    Returns
    -------
    `(256, 256)`, truth x prediction.
    """
    counts = np.zeros(256 * 256, np.int64)
    for real, found in zip(truth, prediction, strict=True):
        pairs = (real.astype(np.uint16) << 8) | found
        counts += np.bincount(pairs.ravel(), minlength=counts.size)
    return counts.reshape(256, 256)


def confusion_matrix(
    joint: NDArray[np.int64],
    truth_class: Mapping[int, int],
    prediction_class: Mapping[int, int],
    size: int,
    unknown: int,
) -> NDArray[np.int64]:
    """Put the values of `joint_counts` together into classes.

    Parameters
    ----------
    truth_class, prediction_class
        Class, 1 to `size` - 1, of each value; other values are background, class 0.
    unknown
        Value of the truth at voxels that do not count.

    Returns
    -------
    `(size, size)` voxels, truth x prediction.
    """
    rows, columns = np.zeros((2, 256), np.intp)
    rows[list(truth_class)] = list(truth_class.values())
    columns[list(prediction_class)] = list(prediction_class.values())
    known = joint.copy()
    known[unknown] = 0
    confusion = np.zeros((size, size), np.int64)
    np.add.at(confusion, (rows[:, None], columns[None, :]), known)
    return confusion


def merge_into_background(
    confusion: NDArray[np.int64], classes: Collection[int]
) -> NDArray[np.int64]:
    """Count classes as background on both sides; their own rows and columns become 0.

    It is what a case can tell that does not label them: a voxel of such an organ is background in
    its truth, and finding the organ there is no fault (the marginal view of
    Shi et al. 2021, doi 10.1016/j.media.2021.101979).
    """
    merged = confusion.copy()
    away = sorted(classes)
    merged[0] += merged[away].sum(axis=0)
    merged[away] = 0
    merged[:, 0] += merged[:, away].sum(axis=1)
    merged[:, away] = 0
    return merged


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
