"""Feeds of volumes: random patches of grid cases, or whole cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from models.errors import TrainingError
from models.training.cases import UNKNOWN, Case
from models.training.feed import Sample
from models.training.variation import Scale, Variation, draw_sample
from models.training.warps import Size

Generator = np.random.Generator

#: Labels of more voxels than this are looked through in steps of two.
MANY_VOXELS = 1_000_000


class GridPatches:
    """Random patches of cases that lie on the network's grid.

    Each epoch has `per_case` patches of every case, in an order that the seed and epoch decide.

    Parameters
    ----------
    cases
        Read one by one as samples are drawn; none is kept, so they may be read from files.
    size
        `(D, H, W)`; a case smaller than that is filled up on both sides with air and background.
    scale
        HU to the network's input.
    foreground_probability
        Share of patches around a labelled voxel; the others lie anywhere. Patches stay within the
        case where they fit.
    balance
        `organ`: a random organ of the case first, then one of its voxels, so that small organs
        count as much as large ones. `voxel`: any labelled voxel, as MONAI's
        `RandCropByPosNegLabel`.
    names
        Names of the cases, where reading all of them once would take long.

    Raises
    ------
    TrainingError
        If there is no case or a number is out of its range.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        size: Size,
        *,
        scale: Scale,
        seed: int,
        per_case: int = 4,
        foreground_probability: float = 0.5,
        balance: Literal["organ", "voxel"] = "organ",
        variation: Variation | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if per_case < 1 or min(size) < 1 or not 0 <= foreground_probability <= 1:
            raise TrainingError(
                "expected at least one patch a case, of at least one voxel, and a probability of "
                f"0 to 1, found {per_case}, {size} and {foreground_probability}"
            )
        if balance not in ("organ", "voxel"):
            raise TrainingError(f"expected balance to be organ or voxel, found {balance!r}")
        self._cases = cases
        self._names = names_of(cases, names)
        self._size = size
        self._scale = scale
        self._seed = seed
        self._per_case = per_case
        self._foreground_probability = foreground_probability
        self._balance = balance
        self._variation = variation or Variation()

    @property
    def cases(self) -> tuple[str, ...]:
        return self._names

    def __len__(self) -> int:
        return len(self._cases) * self._per_case

    def draw(self, epoch: int, index: int) -> Sample:
        place = int(order(self._seed, epoch, len(self))[index])
        case = self._cases[place // self._per_case]
        rng = generator(self._seed, epoch, index)
        start = self._start(case, rng)
        return draw_sample(case, start, self._size, rng, self._variation, self._scale)

    def _start(self, case: Case, rng: Generator) -> Size:
        """First voxel of a patch."""
        shape = np.array(case.hu.shape)
        size = np.array(self._size)
        centre = None
        if rng.random() < self._foreground_probability:
            centre = labelled_voxel(case, rng, self._balance)
        if centre is None:
            start = rng.integers(0, np.maximum(shape - size, 0) + 1)
        else:
            start = np.clip(centre - size // 2, 0, np.maximum(shape - size, 0))
        start = np.where(shape < size, -((size - shape) // 2), start)
        return int(start[0]), int(start[1]), int(start[2])


class WholeVolumes:
    """Whole cases, each once an epoch; those of one batch have to be of one size.

    Parameters as of `GridPatches`.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *,
        scale: Scale,
        seed: int,
        variation: Variation | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self._cases = cases
        self._names = names_of(cases, names)
        self._scale = scale
        self._seed = seed
        self._variation = variation or Variation()

    @property
    def cases(self) -> tuple[str, ...]:
        return self._names

    def __len__(self) -> int:
        return len(self._cases)

    def draw(self, epoch: int, index: int) -> Sample:
        case = self._cases[int(order(self._seed, epoch, len(self))[index])]
        depth, height, width = case.hu.shape
        return draw_sample(
            case,
            (0, 0, 0),
            (depth, height, width),
            generator(self._seed, epoch, index),
            self._variation,
            self._scale,
        )


def names_of(cases: Sequence[Case], names: Sequence[str] | None) -> tuple[str, ...]:
    """Sorted names, read from the cases where they are not given; raises TrainingError on none."""
    if not len(cases):
        raise TrainingError("expected at least one case to draw samples from, found none")
    if names is None:
        names = [case.name for case in cases]
    if len(names) != len(cases):
        raise TrainingError(f"expected a name for each of {len(cases)} cases, found {len(names)}")
    return tuple(sorted(names))


def order(seed: int, epoch: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The order of an epoch's samples, `(count,)`."""
    shuffled: np.ndarray[tuple[int], np.dtype[np.int64]] = np.random.default_rng(
        (seed, epoch, 0)
    ).permutation(count)
    return shuffled


def generator(seed: int, epoch: int, index: int) -> Generator:
    """What a sample is drawn from, and nothing else."""
    return np.random.default_rng((seed, epoch, 1 + index))


def labelled_voxel(
    case: Case, rng: Generator, balance: str
) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """Index `(k, j, i)` of a voxel with an organ's label; None where a case has none."""
    # every second voxel, from a random first one, is one eighth of the work
    step = 2 if case.labels.size > MANY_VOXELS else 1
    first = rng.integers(0, step, 3)
    labels = np.ascontiguousarray(case.labels[tuple(slice(n, None, step) for n in first)])
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    present = present[(present != 0) & (present != UNKNOWN)]
    if not len(present):
        return None
    wanted = labels == rng.choice(present) if balance == "organ" else np.isin(labels, present)
    flat = np.flatnonzero(wanted)
    index = np.unravel_index(int(flat[rng.integers(len(flat))]), labels.shape)
    return np.array([int(n) for n in index]) * step + first
