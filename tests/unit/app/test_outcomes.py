from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.errors import (
    AppError,
    InstanceMismatchError,
    InstanceRefusedError,
    PackageCollisionError,
    StoreError,
    StoreFullError,
)
from app.outcomes import (
    EXPECTED_ERRORS,
    INTERNAL_ERROR,
    INTERRUPTED,
    NOT_DELIVERED,
    NOT_FETCHED,
    OK,
    OUTCOMES,
    PARTIAL,
    UNFINISHED,
    outcome_of,
    outcome_of_run,
    outcome_of_series,
    sentence_of,
)
from models.errors import BundleError, ModelError, OutOfMemoryError
from operators.errors import ImagingError, NoOrganError, NothingSelectedError, VolumeError

README = Path(__file__).parents[3] / "README.md"
ALL = {
    *OUTCOMES.values(),
    *(OK, INTERNAL_ERROR, UNFINISHED, PARTIAL, INTERRUPTED, NOT_DELIVERED, NOT_FETCHED),
}


def subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for below in kind.__subclasses__():
        if below.__module__.partition(".")[0] in ("app", "operators", "models"):
            yield below
            yield from subclasses(below)


@pytest.mark.parametrize(
    "kind",
    [k for tree in (AppError, ImagingError, ModelError) for k in subclasses(tree)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_we_raise_has_an_outcome_of_its_own(kind: type[BaseException]) -> None:
    """Also in `outcome_of`: an expected error that read as a defect would mislead."""
    assert [row for row in OUTCOMES if issubclass(kind, row)]
    assert outcome_of(kind.__new__(kind)) != INTERNAL_ERROR
    assert issubclass(kind, EXPECTED_ERRORS)


def test_a_status_has_one_code_and_a_code_one_status_but_for_defects() -> None:
    codes = {outcome.status: outcome.exit_code for outcome in ALL}
    assert len(codes) == len(ALL)
    shared: dict[int, set[str]] = {}
    for status, code in codes.items():
        shared.setdefault(code, set()).add(status)
    assert {code: names for code, names in shared.items() if len(names) > 1} == {
        1: {"internal_error", "unfinished"},
        24: {"store_unusable", "store_full", "instance_refused", "instance_mismatch"},
    }
    assert sorted(set(codes.values())) == [0, 1, 2, *range(10, 35), 130]


def test_only_success_is_a_success_to_a_sender() -> None:
    statuses = {outcome.status: outcome.dimse_status for outcome in ALL}
    assert [status for status, code in statuses.items() if code == 0] == ["ok"]
    assert outcome_of(StoreFullError("x")).dimse_status == 0xA700
    assert outcome_of(InstanceMismatchError("x")).dimse_status == 0xA900
    assert outcome_of(InstanceRefusedError("x")).dimse_status == 0xC000
    assert outcome_of(StoreError("x")).dimse_status == 0x0110


def test_codes_keep_their_meaning() -> None:
    """Programs rely on them: a number here may never change."""
    assert outcome_of(NothingSelectedError("x")).exit_code == 11
    assert outcome_of(VolumeError("x")).exit_code == 12
    assert outcome_of(BundleError("x")).exit_code == 14
    assert outcome_of(NoOrganError("x")).exit_code == 17
    assert outcome_of(PackageCollisionError("x")).exit_code == 18
    assert outcome_of(KeyboardInterrupt()).exit_code == 130
    assert (OK.exit_code, PARTIAL.exit_code) == (0, 19)


def test_memory_has_one_outcome_whoever_ran_out() -> None:
    assert outcome_of(MemoryError()) == outcome_of(OutOfMemoryError("x"))


def test_an_error_nobody_named_is_a_defect() -> None:
    assert outcome_of(ZeroDivisionError()) == INTERNAL_ERROR
    assert outcome_of(torch.OutOfMemoryError("raised outside the segmenter")) == INTERNAL_ERROR


def test_an_error_counts_as_its_closest_kind() -> None:
    class TiltError(VolumeError):
        pass

    assert outcome_of(TiltError("x")) == OUTCOMES[VolumeError]


def test_no_error_is_success() -> None:
    assert outcome_of(None) == OK


def test_the_end_of_a_run_follows_from_that_of_its_series() -> None:
    volume, organ = outcome_of(VolumeError("x")), outcome_of(NoOrganError("x"))
    assert outcome_of_run(None, []) == OK
    assert outcome_of_run(None, [OK, OK]) == OK
    assert outcome_of_run(None, [OK, volume]) == PARTIAL
    assert outcome_of_run(None, [OK, UNFINISHED]) == PARTIAL
    assert outcome_of_run(None, [volume]) == volume
    assert outcome_of_run(None, [organ, volume]) == organ
    assert outcome_of_run(None, [UNFINISHED]) == UNFINISHED
    assert outcome_of_run(KeyboardInterrupt(), [OK, volume]) == INTERRUPTED


def test_a_series_without_results_is_no_success_even_without_an_error() -> None:
    assert outcome_of_series(None, finished=True) == OK
    assert outcome_of_series(None, finished=False) == UNFINISHED
    assert outcome_of_series(VolumeError("x"), finished=False) == OUTCOMES[VolumeError]
    assert outcome_of_series(VolumeError("x"), finished=True) == OUTCOMES[VolumeError]


def test_only_our_own_errors_are_quoted() -> None:
    assert sentence_of(VolumeError("expected 2 images")) == "expected 2 images"
    assert sentence_of(KeyboardInterrupt()) == "interrupted"
    assert sentence_of(MemoryError()) == "out of memory"
    assert sentence_of(ValueError("invalid PatientName Doe")) == (
        "a defect of the program: ValueError"
    )


def test_the_readme_explains_every_code_and_status() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", README.read_text("utf-8"), re.MULTILINE)
    told = {
        (status, int(code)) for code, names, _ in rows for status in re.findall("`(.+?)`", names)
    }
    assert told == {(outcome.status, outcome.exit_code) for outcome in ALL}
    assert all(meaning.strip() for *_, meaning in rows)
