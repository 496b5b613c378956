from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import BundleError
from operators.errors import NoOrganError, OutputError, VolumeError
from operators.journal import Journal
from operators.selection import ChosenSeries
from operators.series import Series, Study


def chosen(uid: str, selection: str = "first") -> ChosenSeries:
    series = Series(StudyInstanceUID="2.25.1", SeriesInstanceUID=uid, instances=())
    study = Study(StudyInstanceUID="2.25.1", series=(series,))
    return ChosenSeries(selection_name=selection, study=study, series=series)


@pytest.fixture
def told() -> list[tuple[str, float]]:
    return []


@pytest.fixture
def journal(told: list[tuple[str, float]]) -> Journal:
    journal = Journal(Path("out"), lambda stage, share: told.append((stage, share)))
    assert journal.open(chosen("2.25.7"))
    return journal


def test_each_series_has_a_folder_of_its_own_in_order_of_choice(journal: Journal) -> None:
    journal.open(chosen("2.25.3"))
    assert [record.folder for record in journal.records] == [
        Path("out/2.25.7"),
        Path("out/2.25.3"),
    ]
    assert journal.record("2.25.3") is journal.records[1]


def test_a_series_is_opened_once_whatever_chooses_it(journal: Journal) -> None:
    assert not journal.open(chosen("2.25.7", "second"))
    (record,) = journal.records
    assert record.chosen.selection_name == "first"


def test_a_stage_announces_its_begin_and_end(
    journal: Journal, told: list[tuple[str, float]]
) -> None:
    with journal.run_stage("load"):
        assert told == [("load", 0.0)]
    with journal.series_stage("2.25.7", "volume") as record:
        assert record is journal.records[0]
    assert told == [("load", 0.0), ("load", 1.0), ("volume", 0.0), ("volume", 1.0)]
    assert set(journal.stages_s) == {"load"}
    assert set(record.stages_s) == {"volume"}


def test_time_adds_up_when_a_stage_comes_again(journal: Journal) -> None:
    with journal.run_stage("load"):
        pass
    first = journal.stages_s["load"]
    with journal.run_stage("load"):
        pass
    assert journal.stages_s["load"] > first >= 0


@pytest.mark.parametrize("error", [VolumeError("x"), BundleError("x")])
def test_an_error_of_a_series_is_noted_and_stays_there(
    journal: Journal, told: list[tuple[str, float]], error: VolumeError | BundleError
) -> None:
    with journal.series_stage("2.25.7", "volume"):
        raise error
    (record,) = journal.records
    assert record.error is error
    assert set(record.stages_s) == {"volume"}  # the time until the error counts
    assert told == [("volume", 0.0)]


def test_the_first_error_of_a_series_is_the_one_reported(journal: Journal) -> None:
    first = NoOrganError("no organ")
    for error in (first, OutputError("disk full")):
        with journal.series_stage("2.25.7", "write"):
            raise error
    assert journal.records[0].error is first


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, MemoryError])
def test_what_is_no_error_of_the_series_comes_out(
    journal: Journal, kind: type[BaseException]
) -> None:
    with pytest.raises(kind), journal.series_stage("2.25.7", "volume"):
        raise kind
    with pytest.raises(kind), journal.run_stage("load"):
        raise kind
    assert journal.records[0].error is None


def test_an_error_of_the_whole_run_comes_out(
    journal: Journal, told: list[tuple[str, float]]
) -> None:
    with pytest.raises(VolumeError), journal.run_stage("load"):
        raise VolumeError("x")
    assert told == [("load", 0.0)]
    assert set(journal.stages_s) == {"load"}


def test_nobody_needs_to_listen() -> None:
    journal = Journal(Path("out"))
    with journal.run_stage("load"):
        pass
    assert (journal.skipped, journal.decisions, journal.records) == ((), (), ())


def test_the_log_names_the_series_and_the_stage(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    listen: Callable[[], str] = lambda: caplog.text  # noqa: E731
    with journal.series_stage("2.25.7", "volume"):
        raise VolumeError("expected one image per position")
    assert listen() == "" or "series 2.25.7, volume: expected one image" in listen()
