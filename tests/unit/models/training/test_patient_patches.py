"""Patches of patients: the same again by their number, patients and kinds in their shares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import TrainingError
from models.intensity import Window
from models.training.cases import Case
from models.training.patient_patches import PatientPatches


def ball(patient: str = "ball", hu: int = 220) -> Case:
    """A bright ball (class 1) beside a dark one (class 2)."""
    z, y, x = (n - s for n, s in zip(np.ogrid[:30, :40, :44], (15, 20, 22), strict=True))
    labels = np.zeros((30, 40, 44), np.uint8)
    labels[z**2 + y**2 + (x - 9) ** 2 < 64] = 1
    labels[z**2 + y**2 + (x + 9) ** 2 < 64] = 2
    return Case(
        name=f"{patient}-1",
        patient=patient,
        hu=np.array([40, hu, -150], np.int16)[labels],
        labels=labels,
        spacing_mm=(4.0, 4.0, 4.0),
        unlabelled=frozenset(),
    )


def feed(*real: Case, synthetic: tuple[Case, ...] = (), share: float = 0.15) -> PatientPatches:
    return PatientPatches(
        real=real,
        synthetic=synthetic,
        patches_per_epoch=200,
        shape=(4, 6, 8),
        spacing_mm=4.0,
        window=Window(low_hu=-200, high_hu=300),
        synthetic_share=share,
        seed=3,
    )


def share_unlabelled(patches: PatientPatches) -> float:
    """What a case does not label tells where a patch is from."""
    drawn = [patches.draw(0, index).unlabelled for index in range(200)]
    return sum(bool(classes) for classes in drawn) / len(drawn)


def test_a_patch_depends_on_seed_epoch_and_index_alone() -> None:
    patches = feed(ball("a"), ball("b", 100))
    first = patches.draw(2, 5)
    again = feed(ball("a"), ball("b", 100)).draw(2, 5)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.labels, again.labels)
    assert first.image.shape == (1, 4, 6, 8)
    assert first.labels.shape == (4, 6, 8)
    for other in (patches.draw(2, 6), patches.draw(3, 5), replace(patches, seed=4).draw(2, 5)):
        assert not torch.equal(first.image, other.image)


def test_patients_count_alike_however_many_scans_they_have() -> None:
    """Patient a has nine scans, patient b one."""
    cases = [replace(ball("a"), name=f"a-{n}") for n in range(9)]
    cases.append(replace(ball("b"), unlabelled=frozenset({2})))
    assert 0.35 < share_unlabelled(feed(*cases)) < 0.65


def test_synthetic_cases_have_their_share() -> None:
    made_up = (replace(ball("s"), unlabelled=frozenset({2})),)
    assert 0.15 < share_unlabelled(feed(ball("a"), synthetic=made_up, share=0.25)) < 0.35
    assert share_unlabelled(feed(synthetic=made_up)) == 1.0


def test_all_cases_are_named() -> None:
    patches = feed(ball("b"), ball("a"), synthetic=(ball("s"),))
    assert patches.cases == ("a-1", "b-1", "s-1")
    assert len(patches) == 200


def test_what_cannot_be_drawn_from_is_refused() -> None:
    with pytest.raises(TrainingError, match="at least one case"):
        feed()
    with pytest.raises(TrainingError, match="synthetic_share from 0 to 1, found 2"):
        feed(ball(), share=2)
