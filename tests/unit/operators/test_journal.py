from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BundleError
from operators.errors import NoOrganError, OutputError, VolumeError
from operators.journal import Journal
from operators.selection import ChosenSeries
from operators.series import Candidate, Series, Study


def chosen(
    uid: str = "2.25.7",
    selection: str = "first",
    *,
    study: str = "2.25.1",
    part: str = "",
    model: str | None = None,
) -> ChosenSeries:
    series = Series(StudyInstanceUID=study, SeriesInstanceUID=uid, instances=())
    return ChosenSeries(
        selection_name=selection,
        study=Study(StudyInstanceUID=study, series=(series,)),
        candidate=Candidate(series=series, frames=(), part=part),
        model=model,
    )


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


def test_a_series_is_opened_once_whatever_chooses_it(journal: Journal) -> None:
    assert not journal.open(chosen("2.25.7", "second"))
    (record,) = journal.records
    assert record.chosen.selection_name == "first"


def test_a_stage_announces_its_begin_and_end(
    journal: Journal, told: list[tuple[str, float]]
) -> None:
    with journal.run_stage("load"):
        assert told == [("load", 0.0)]
    with journal.series_stage(chosen(), "volume") as record:
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
    with journal.series_stage(chosen(), "volume"):
        raise error
    (record,) = journal.records
    assert record.error is error
    assert set(record.stages_s) == {"volume"}  # the time until the error counts
    assert told == [("volume", 0.0)]


def test_the_first_error_of_a_series_is_the_one_reported(journal: Journal) -> None:
    first = NoOrganError("no organ")
    for error in (first, OutputError("disk full")):
        with journal.series_stage(chosen(), "write"):
            raise error
    assert journal.records[0].error is first


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, MemoryError])
def test_what_is_no_error_of_the_series_comes_out(
    journal: Journal, kind: type[BaseException]
) -> None:
    with pytest.raises(kind), journal.series_stage(chosen(), "volume"):
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
    with caplog.at_level("WARNING"), journal.series_stage(chosen(), "volume"):
        raise VolumeError("expected one image per position")
    assert "series 2.25.7, volume: expected one image per position" in caplog.text


def test_one_series_uid_in_two_studies_is_two_folders(journal: Journal) -> None:
    twin = chosen(study="2.25.2")
    assert journal.open(twin)
    first, second = journal.records
    assert [record.folder.name for record in (first, second)] == ["2.25.7", "2.25.2_2.25.7"]
    with journal.series_stage(twin, "volume"):
        raise VolumeError("x")
    assert (first.error, type(second.error)) == (None, VolumeError)


def test_parts_and_models_of_one_series_are_folders_in_order_of_choice(journal: Journal) -> None:
    assert journal.open(chosen(part="AcquisitionNumber 2"))
    assert journal.open(chosen(part="AcquisitionNumber 2", model="other"))
    assert not journal.open(chosen(part="AcquisitionNumber 2", model="other"))
    assert journal.open(chosen(study="2.25.2"))
    assert journal.open(chosen(study="2.25.2", model="other"))
    assert [record.folder.name for record in journal.records] == [
        "2.25.7",
        "2.25.7_2",
        "2.25.7_3",
        "2.25.2_2.25.7",
        "2.25.2_2.25.7_2",
    ]


@pytest.mark.parametrize("uid", ["../2.25.7", "2.25.7/x", "..", "", "2.25.a"])
def test_no_uid_leads_out_of_the_output_folder(uid: str) -> None:
    journal = Journal(Path("out"))
    with pytest.raises(OutputError, match="expected a UID"):
        journal.open(chosen(uid))
    assert journal.records == ()


def test_a_series_is_finished_with_its_segmentation(journal: Journal) -> None:
    (record,) = journal.records
    record.outputs["preview"] = record.folder / "preview.png"
    assert not record.finished
    record.outputs["seg"] = record.folder / "segmentation.dcm"
    assert record.finished


def test_a_stopped_run_ends_at_the_next_progress_and_not_before(
    journal: Journal, told: list[tuple[str, float]]
) -> None:
    def work() -> None:
        with journal.series_stage(chosen(), "segment"):
            journal.announce("segment", 0.25)
            journal.stop()
            assert told[-1] == ("segment", 0.25)
            journal.announce("segment", 0.5)
            pytest.fail("the work goes on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert told[-1] == ("segment", 0.5)  # so that the bar stands where the work ended
    assert journal.records[0].error is None
    with pytest.raises(KeyboardInterrupt), journal.run_stage("load"):
        pytest.fail("no stage begins after a stop")
