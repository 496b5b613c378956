"""A feed of slices, from cases of one slice each or from every slice of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingError
from models.training.cases import UNKNOWN, Case
from models.training.feed import Sample
from models.training.patches import generator, names_of, order
from models.training.variation import Scale, Variation, draw_sample


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceIndex:
    """Where the slices of a data set are, and whether they show a label.

    Parameters
    ----------
    names
        Of all cases.
    case, k
        `(N,)` number of the case and of the slice in it.
    labelled
        `(N,)` whether any voxel has an organ's label.
    """

    names: tuple[str, ...]
    case: NDArray[np.int64] = field(repr=False)
    k: NDArray[np.int64] = field(repr=False)
    labelled: NDArray[np.bool_] = field(repr=False)

    @classmethod
    def of(cls, cases: Sequence[Case]) -> SliceIndex:
        """Read every case once and keep none."""
        names, numbers, slices, labelled = [], [], [], []
        for number, case in enumerate(cases):
            organ = (case.labels != 0) & (case.labels != UNKNOWN)
            names.append(case.name)
            numbers.append(np.full(len(organ), number))
            slices.append(np.arange(len(organ)))
            labelled.append(organ.any(axis=(1, 2)))
        return cls(
            names=names_of(cases, names),
            case=np.concatenate(numbers),
            k=np.concatenate(slices),
            labelled=np.concatenate(labelled),
        )

    @classmethod
    def of_single_slices(cls, names: Sequence[str]) -> SliceIndex:
        """Of cases of one slice each, without reading them; all count as labelled."""
        count = len(names)
        return cls(
            names=tuple(sorted(names)),
            case=np.arange(count),
            k=np.zeros(count, np.int64),
            labelled=np.ones(count, np.bool_),
        )


class Slices2D:
    """Slices `(1, H, W)` with labels `(H, W)`, grey: the network stacks its channels itself.

    Parameters
    ----------
    cases
        On the network's grid, read one by one as slices are drawn; none is kept.
    scale
        HU to the network's input.
    unlabelled_share
        Share of the slices without any organ that an epoch shows, others each time; those with
        an organ are all shown.
    index
        Where the slices are, if known; otherwise every case is read once.

    Raises
    ------
    TrainingError
        If there is no slice to draw, or the share is not 0 to 1.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *,
        scale: Scale,
        seed: int,
        unlabelled_share: float = 1.0,
        variation: Variation | None = None,
        index: SliceIndex | None = None,
    ) -> None:
        if not 0 <= unlabelled_share <= 1:
            raise TrainingError(f"expected unlabelled_share of 0 to 1, found {unlabelled_share}")
        self._cases = cases
        self._index = SliceIndex.of(cases) if index is None else index
        if len(self._index.names) != len(cases):
            raise TrainingError(
                f"expected the slices of {len(cases)} cases, found {len(self._index.names)}"
            )
        self._labelled = np.flatnonzero(self._index.labelled)
        self._others = np.flatnonzero(~self._index.labelled)
        self._others_shown = round(unlabelled_share * len(self._others))
        if len(self) == 0:
            raise TrainingError("expected at least one slice with a label, found none")
        self._scale = scale
        self._seed = seed
        self._variation = variation or Variation()

    @property
    def cases(self) -> tuple[str, ...]:
        return self._index.names

    def __len__(self) -> int:
        return len(self._labelled) + self._others_shown

    def draw(self, epoch: int, index: int) -> Sample:
        place = int(order(self._seed, epoch, len(self))[index])
        if place < len(self._labelled):
            chosen = int(self._labelled[place])
        else:
            # a second order, of its own, over the slices that not every epoch shows
            others = order(self._seed + 1, epoch, len(self._others))
            chosen = int(self._others[others[place - len(self._labelled)]])
        case = self._cases[int(self._index.case[chosen])]
        sample = draw_sample(
            case,
            (int(self._index.k[chosen]), 0, 0),
            (1, case.hu.shape[1], case.hu.shape[2]),
            generator(self._seed, epoch, index),
            self._variation,
            self._scale,
        )
        return Sample(
            image=sample.image[:, 0], labels=sample.labels[0], unlabelled=sample.unlabelled
        )
