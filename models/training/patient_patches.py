"""Random patches of labelled volumes, patients drawn evenly, synthetic ones in their share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from models.errors import TrainingError
from models.intensity import Window
from models.training.augmentation import Augmentation, random_patch
from models.training.cases import Case
from models.training.feed import Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class PatientPatches:
    """A feed without end: an epoch is a stated number of patches, each drawn by itself.

    Patients are drawn evenly, so that one with many scans does not count for more.

    Parameters
    ----------
    patches_per_epoch
        Length of an epoch.
    shape, spacing_mm, window
        What the network sees.
    synthetic, synthetic_share
        Made-up cases, and the share of patches that come from them where there are both kinds.
    """

    real: Sequence[Case]
    synthetic: Sequence[Case] = ()
    patches_per_epoch: int
    shape: tuple[int, int, int]
    spacing_mm: float
    window: Window
    augmentation: Augmentation = field(default_factory=Augmentation)
    synthetic_share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.real and not self.synthetic:
            raise TrainingError("expected at least one case to train on, found none")
        if not 0 <= self.synthetic_share <= 1:
            raise TrainingError(
                f"expected a synthetic_share from 0 to 1, found {self.synthetic_share}"
            )

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of all cases, sorted."""
        return tuple(sorted(case.name for case in (*self.real, *self.synthetic)))

    def __len__(self) -> int:
        return self.patches_per_epoch

    def draw(self, epoch: int, index: int) -> Sample:
        """One patch, of a random case and place."""
        rng = np.random.default_rng((self.seed, epoch, index))
        real, synthetic = self._patients
        made_up = not real or (bool(synthetic) and rng.random() < self.synthetic_share)
        patients = synthetic if made_up else real
        scans = patients[rng.integers(len(patients))]
        case = scans[rng.integers(len(scans))]
        image, labels = random_patch(
            case,
            rng,
            shape=self.shape,
            spacing_mm=self.spacing_mm,
            window=self.window,
            augmentation=self.augmentation,
        )
        return Sample(image=image, labels=labels, unlabelled=case.unlabelled)

    @cached_property
    def _patients(self) -> tuple[list[list[Case]], list[list[Case]]]:
        """Scans of each real and of each synthetic patient."""
        return _by_patient(self.real), _by_patient(self.synthetic)


def _by_patient(cases: Sequence[Case]) -> list[list[Case]]:
    scans: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        scans[case.patient].append(case)
    return [scans[patient] for patient in sorted(scans)]
