"""Patients in the names of cases."""

from __future__ import annotations

import pytest

from models.data.patients import patient_in
from models.errors import TrainingError


@pytest.mark.parametrize(
    ("pattern", "patient"),
    [
        (r"[a-z]+-\d+", "hcc-002"),
        (r"[a-z]+-(\d+)", "002"),
        (r"(x)?hcc-(\d+)", "002"),  # the first group that takes part
        (r"hcc(x)?", "hcc"),
        (r"\d+", None),
    ],
)
def test_the_first_group_or_else_the_match_is_the_patient(
    pattern: str, patient: str | None
) -> None:
    assert patient_in("hcc-002-portal", pattern) == patient


def test_what_is_no_regular_expression_is_told() -> None:
    with pytest.raises(TrainingError, match=r"expected a regular expression, found '\('"):
        patient_in("a", "(")
