"""Folders of series and the objects that label them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from models.data.layouts import open_data_set
from models.data.reading import Reading, read_case
from models.errors import TrainingError
from operators.label_reading_folder import DicomFolderReader, numbers_of_all
from operators.label_reading_names import LabelNumbers
from operators.seg import write_seg
from operators.volumes import SeriesVolume
from tests.datasets.series import ALGORITHM, SEGMENTS, asymmetric, ct_series, label_map

NUMBERS = LabelNumbers({"Liver": 1, "Left kidney": 2, "Right kidney": 3})
READER = DicomFolderReader(numbers=NUMBERS)


def subject(folder: Path, name: str, patient: str) -> SeriesVolume:
    source = ct_series(folder / name / "x" / "ct", seed_text=name, PatientID=patient)
    path = folder / name / "a file"
    write_seg(source, label_map(source, asymmetric()), SEGMENTS, ALGORITHM, path)
    return source


def test_series_and_their_labels_are_found_and_read(tmp_path: Path) -> None:
    sources = [subject(tmp_path, name, name) for name in ("one", "two")]
    data = open_data_set(tmp_path, dicom=READER)
    assert data.layout == "dicom"
    uids = sorted(s.series.SeriesInstanceUID for s in sources)
    assert sorted(r.name for r in data.records) == uids
    assert len({r.patient for r in data.records}) == 2
    case = read_case(data.records[0], Reading(classes={1: 1, 2: 2, 3: 3}, dicom=READER))
    expected = np.select([asymmetric() == n for n in (3, 4, 8)], [1, 2, 3])
    np.testing.assert_array_equal(case.labels, expected)
    source = next(s for s in sources if s.series.SeriesInstanceUID == data.records[0].name)
    np.testing.assert_array_equal(case.hu, source.volume.hu)


def test_no_name_tells_of_the_patient(tmp_path: Path) -> None:
    """Two studies of one PatientID are one patient, whose name is a UID."""
    for name in ("one", "two"):
        subject(tmp_path, name, "SECRET-7")
    records = open_data_set(tmp_path, dicom=READER).records
    assert len({r.patient for r in records}) == 1
    assert all(r.patient.startswith("2.25.") for r in records)
    assert "SECRET" not in repr(records)


def test_nothing_depends_on_names_of_files(tmp_path: Path) -> None:
    subject(tmp_path / "a", "one", "1")
    for number, path in enumerate(sorted((tmp_path / "a").rglob("*"))):
        if path.is_file():
            target = tmp_path / "b" / f"{number % 3}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / f"{997 * number % 31}")
    (first,), (second,) = (open_data_set(tmp_path / n, dicom=READER).records for n in "ab")
    assert (first.name, first.patient) == (second.name, second.patient)
    reading = Reading(classes={1: 1, 2: 2, 3: 3}, dicom=READER)
    np.testing.assert_array_equal(
        read_case(first, reading).labels, read_case(second, reading).labels
    )


def test_a_series_that_nothing_labels_is_a_record_without_labels(tmp_path: Path) -> None:
    ct_series(tmp_path / "ct", seed_text="alone")
    (record,) = open_data_set(tmp_path, dicom=READER).records
    assert record.label is None


def test_labels_that_name_no_series_go_by_the_frame_of_reference(tmp_path: Path) -> None:
    subject(tmp_path, "one", "1")
    path = tmp_path / "one" / "a file"
    seg = pydicom.dcmread(path)
    del seg.ReferencedSeriesSequence
    seg.save_as(path, enforce_file_format=True)
    (record,) = open_data_set(tmp_path, dicom=READER).records
    assert record.label == path


def test_several_objects_of_a_series_are_records_of_one_patient(tmp_path: Path) -> None:
    source = subject(tmp_path, "one", "1")
    liver = np.where(asymmetric() == 3, asymmetric(), 0).astype(np.uint8)
    path = tmp_path / "one" / "b"
    write_seg(source, label_map(source, liver), SEGMENTS, ALGORITHM, path, configuration="b")
    first, second = open_data_set(tmp_path, dicom=READER).records
    assert (first.name, second.name) == (f"{first.series}-1", f"{first.series}-2")
    assert first.patient == second.patient
    reading = Reading(classes={1: 1, 2: 2, 3: 3}, dicom=READER)
    assert {read_case(r, reading).unlabelled for r in (first, second)} == {
        frozenset(),
        frozenset({2, 3}),
    }


def test_what_cannot_be_read_is_a_training_error(tmp_path: Path) -> None:
    subject(tmp_path, "one", "1")
    (record,) = open_data_set(tmp_path, dicom=READER).records
    heart = DicomFolderReader(numbers=LabelNumbers({"Heart": 1}))
    with pytest.raises(TrainingError, match="expected one of Heart, found Liver"):
        read_case(record, Reading(classes={1: 1}, dicom=heart))
    for path in record.image.iterdir():
        path.unlink()
    (record.image / "text").write_text("text")
    fresh = DicomFolderReader(numbers=NUMBERS)
    with pytest.raises(TrainingError, match="no usable DICOM object"):
        read_case(record, Reading(classes={1: 1}, dicom=fresh))
    with pytest.raises(TrainingError, match="no usable DICOM object"):
        fresh.find(record.image)


def test_all_names_get_a_value_in_alphabetical_order(tmp_path: Path) -> None:
    subject(tmp_path, "one", "1")
    numbers = numbers_of_all([tmp_path / "one" / "a file"])
    assert numbers.values == {"Left kidney": 1, "Liver": 2, "Right kidney": 3}
