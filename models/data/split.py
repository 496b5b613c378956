"""Training and validation sets by patient: the same on every machine, in any order of files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from models.data.records import Record
from models.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Split:
    """Labelled records for two ends, no patient among both; each sorted by name."""

    training: tuple[Record, ...]
    validation: tuple[Record, ...]


def split_patients(
    records: Sequence[Record], validation_share: float, seed: int, *, official: bool = True
) -> Split:
    """Split labelled records.

    Where the data set names validation records itself, that split is taken. Otherwise patients
    are put in the order of a SHA-256 of seed and patient, and the first of them validate; so a
    record that is added moves few others.

    Parameters
    ----------
    records
        Of any kind; those without labels, for testing, or unlabelled on purpose are left out.
    validation_share
        Of the patients, 0 to less than 1; at least one patient validates unless it is 0.
    seed
        Another seed, another split.
    official
        False ignores what the data set names.

    Raises
    ------
    TrainingError
        If a patient would be on both sides, or there are too few patients to split.
    """
    if not 0 <= validation_share < 1:
        raise TrainingError(f"expected a share of 0 to less than 1, found {validation_share}")
    usable = sorted(
        (record for record in records if record.label is not None and record.wants_label),
        key=lambda record: (record.name, str(record.image)),
    )
    if official and any(record.purpose == "validation" for record in usable):
        validating = {r.patient for r in usable if r.purpose == "validation"}
        both = validating & {r.patient for r in usable if r.purpose != "validation"}
        if both:
            raise TrainingError(
                "expected every patient in training or validation, found in both: "
                + ", ".join(sorted(both)[:5])
            )
    else:
        ordered = order_of_patients(usable, seed)
        validating = set(ordered[: _count(len(ordered), validation_share)])
    return Split(
        training=tuple(r for r in usable if r.patient not in validating),
        validation=tuple(r for r in usable if r.patient in validating),
    )


def order_of_patients(records: Sequence[Record], seed: int) -> list[str]:
    """Patients in an order that only the seed and their names decide."""
    return sorted(
        {record.patient for record in records},
        key=lambda patient: hashlib.sha256(f"{seed}\n{patient}".encode()).digest(),
    )


def _count(patients: int, share: float) -> int:
    if share == 0:
        return 0
    if patients < 2:
        raise TrainingError(
            f"expected at least two patients to split, found {patients}; where records of several "
            "people count as one, give the pattern of a patient's name"
        )
    return min(patients - 1, max(1, int(share * patients + 0.5)))
