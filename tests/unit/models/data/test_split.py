"""Splits that nothing but patients and the seed decides."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from models.data.records import Purpose, Record
from models.data.split import split_patients
from models.errors import TrainingError


def record(name: str, patient: str, purpose: Purpose = "") -> Record:
    path = Path(f"{name}.nii.gz")
    return Record(name=name, patient=patient, kind="nifti", image=path, label=path, purpose=purpose)


RECORDS = [record(f"{n}{phase}", f"patient-{n}") for n in range(10) for phase in "ab"]


def test_a_split_is_always_the_same() -> None:
    """These very patients: a hash decides, on every machine and Python."""
    split = split_patients(RECORDS, 0.2, seed=0)
    assert sorted({r.patient for r in split.validation}) == ["patient-3", "patient-5"]
    assert len(split.training) == 16
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    assert split_patients(shuffled, 0.2, seed=0) == split
    assert split_patients(RECORDS, 0.2, seed=1) != split


def test_no_patient_is_on_both_sides() -> None:
    for share in (0.1, 0.5, 0.9):
        split = split_patients(RECORDS, share, seed=3)
        assert not {r.patient for r in split.training} & {r.patient for r in split.validation}
        assert {r.name for r in (*split.training, *split.validation)} == {r.name for r in RECORDS}


def test_an_added_patient_moves_few_others() -> None:
    before = {r.patient for r in split_patients(RECORDS, 0.5, seed=0).validation}
    more = [*RECORDS, record("x", "patient-x")]
    after = {r.patient for r in split_patients(more, 0.5, seed=0).validation}
    assert len(before - after) <= 1


def test_the_data_sets_own_split_is_taken() -> None:
    records = [
        record("a", "1", "training"),
        record("b", "2", "validation"),
        record("c", "3", "test"),
        record("d", "4", "unlabelled"),
    ]
    split = split_patients(records, 0.5, seed=0)
    assert [r.name for r in split.training] == ["a"]
    assert [r.name for r in split.validation] == ["b"]
    own = split_patients([*records, record("e", "5", "training")], 0.3, seed=0, official=False)
    assert len(own.training) == 2
    with pytest.raises(TrainingError, match="found in both: 2"):
        split_patients([*records, record("e", "2", "training")], 0.5, seed=0)


def test_shares_and_counts_that_make_no_sense_are_refused() -> None:
    assert split_patients(RECORDS[:2], 0, seed=0).validation == ()
    with pytest.raises(TrainingError, match="expected at least two patients to split, found 1"):
        split_patients(RECORDS[:2], 0.2, seed=0)
    with pytest.raises(TrainingError, match="expected a share of 0 to less than 1, found 1"):
        split_patients(RECORDS, 1, seed=0)
