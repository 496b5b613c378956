"""Flips and quarter turns, and what a mirror does to left and right.

A flip along any one axis makes a mirror image of the body, whichever axis it is: seen from its own
head and face, a patient flipped upside down has the liver on the left, just as one flipped left to
right, since the two pictures differ by half a turn. Two flips together are half a turn, which
mirrors nothing; nor does any rotation.

So the rule is the handedness of the whole change: after an odd number of flips the classes of
paired organs (`kidney_left`, `kidney_right`) change places, after an even number they stay. Then
`left` means in every sample what it means in the clinic: the left of a body whose head and back
are where the picture shows them.

Flips are refused

- without that exchange (`"swap": false`): a kidney to the right of the spine, seen from the body
  itself, would be learnt as the left one, half of the time;
- where one organ of a pair is a class and the other is background: the mirror image of
  `kidney_left` is a right kidney, for which there is no class, while a left kidney that is
  background would be there as well.

Organs without a side in their names keep their class. A mirrored body stays one that hardly exists
(situs inversus, about one person in ten thousand): a recipe with flips gives up the hint that the
liver lies on the right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.errors import TrainingError
from models.training.settings import check_settings

Generator = np.random.Generator

#: Names of the axes of `(D, H, W)` in canonical order.
AXES = ("z", "y", "x")
_OTHER = {"left": "right", "right": "left"}


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Which classes change places in a mirror.

    Parameters
    ----------
    pairs
        Classes of left and right organs.
    alone
        Names of organs whose other side is no class.
    """

    pairs: tuple[tuple[int, int], ...] = ()
    alone: tuple[str, ...] = ()

    @classmethod
    def of(cls, class_of: Mapping[str, int]) -> Sides:
        """Find pairs by the words `left` and `right` in the organs' names."""
        pairs, alone = [], []
        for name, number in sorted(class_of.items()):
            words = name.split("_")
            if not set(words) & set(_OTHER):
                continue
            other = "_".join(_OTHER.get(word, word) for word in words)
            if other not in class_of:
                alone.append(name)
            elif "left" in words:
                pairs.append((number, class_of[other]))
        return cls(pairs=tuple(pairs), alone=tuple(alone))

    def swap(self, labels: Tensor) -> Tensor:
        """Labels of a mirror image, from those of the picture; unknown voxels stay so."""
        table = torch.arange(256)
        for left, right in self.pairs:
            table[left], table[right] = right, left
        return table.to(labels.dtype)[labels.long()]

    def swap_classes(self, classes: frozenset[int]) -> frozenset[int]:
        """The same for a set of classes, such as those that a case does not label."""
        other = dict(self.pairs)
        other |= {right: left for left, right in self.pairs}
        return frozenset(other.get(number, number) for number in classes)


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Flip along each of `axes` with `probability`, each by itself; see the module's text.

    Raises
    ------
    TrainingError
        If an axis is not `z`, `y` or `x`, or paired organs forbid it.
    """

    probability: float = 0.5
    axes: tuple[str, ...] = AXES
    swap: bool = True
    sides: Sides = Sides()

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.axes or not set(self.axes) <= set(AXES):
            raise TrainingError(f"flip: expected axes among {AXES}, found {self.axes}")
        if self.sides.alone:
            raise TrainingError(
                "flip: a mirror image turns left organs into right ones, and the other side of "
                f"{', '.join(self.sides.alone)} is no class of this model; leave flips out or "
                "label both sides"
            )
        if self.sides.pairs and self.swap is not True:
            raise TrainingError(
                "flip: expected swap to be true for a model with left and right organs, found "
                f"{self.swap}: a mirror image would be learnt with its sides exchanged"
            )

    def apply(
        self, hu: Tensor, labels: Tensor, unlabelled: frozenset[int], rng: Generator
    ) -> tuple[Tensor, Tensor, frozenset[int]]:
        """Flip `(D, H, W)` HU and labels; both classes and `unlabelled` follow a mirror."""
        chance = {axis: rng.random() < self.probability for axis in AXES}
        flipped = [number for number, axis in enumerate(AXES) if axis in self.axes and chance[axis]]
        if not flipped:
            return hu, labels, unlabelled
        hu, labels = hu.flip(flipped), labels.flip(flipped)
        if len(flipped) % 2 == 0:
            return hu, labels, unlabelled
        return hu, self.sides.swap(labels), self.sides.swap_classes(unlabelled)


@dataclass(frozen=True, kw_only=True)
class QuarterTurns:
    """One to three quarter turns in the plane of a slice (`RandRotate90d`): nothing is mirrored."""

    probability: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, hu: Tensor, labels: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Turn `(D, H, W)`; raises TrainingError where H and W differ."""
        if hu.shape[1] != hu.shape[2]:
            raise TrainingError(
                "rotate90: expected samples as high as wide, found "
                f"{hu.shape[1]} x {hu.shape[2]} voxels"
            )
        if rng.random() >= self.probability:
            return hu, labels
        turns = int(rng.integers(1, 4))
        return torch.rot90(hu, turns, (1, 2)), torch.rot90(labels, turns, (1, 2))
