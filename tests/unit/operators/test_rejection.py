from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
)

from operators.errors import OutputError
from operators.rejection import build_rejection, write_rejection

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)


def result(number: int, study: str = "1.2.3") -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = SegmentationStorage
    made.SOPInstanceUID = f"{study}.9.{number}"
    made.StudyInstanceUID = study
    made.SeriesInstanceUID = f"{study}.9"
    made.Modality = "SEG"
    made.PatientID = "P"
    made.PatientName = "Doe^Jane"
    made.PatientBirthDate = ""
    made.PatientSex = ""
    made.StudyID = "S"
    made.StudyDate = "20260101"
    made.StudyTime = "101010"
    made.AccessionNumber = "A"
    made.ReferringPhysicianName = ""
    return made


def test_a_note_names_what_it_rejects_and_belongs_to_its_study() -> None:
    note = build_rejection([result(1), result(2)], CREATED)
    assert note.SOPClassUID == KeyObjectSelectionDocumentStorage
    assert (note.StudyInstanceUID, note.PatientName) == ("1.2.3", "Doe^Jane")
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodingSchemeDesignator, title.CodeValue) == ("DCM", "113001")
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    named = sorted(item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence)
    assert named == ["1.2.3.9.1", "1.2.3.9.2"]


def test_names_keep_their_character_set() -> None:
    old = result(1)
    old.SpecificCharacterSet, old.PatientName = "ISO_IR 192", "王^小東"
    note = build_rejection([old])
    assert (note.SpecificCharacterSet, note.PatientName) == ("ISO_IR 192", "王^小東")


def test_the_same_rejection_has_the_same_uids() -> None:
    one, two = build_rejection([result(1), result(2)]), build_rejection([result(2), result(1)])
    assert one.SOPInstanceUID == two.SOPInstanceUID
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert build_rejection([result(1)]).SOPInstanceUID != one.SOPInstanceUID


@pytest.mark.parametrize("rejected", [[], [result(1), result(1, "1.2.4")]])
def test_results_of_no_or_several_studies_are_refused(rejected: list[Dataset]) -> None:
    with pytest.raises(OutputError, match="expected results of one study"):
        build_rejection(rejected)


def test_a_written_note_is_valid(tmp_path: Path) -> None:
    result(1).save_as(tmp_path / "old.dcm", enforce_file_format=True)
    write_rejection([tmp_path / "old.dcm"], tmp_path / "note.dcm")
    assert dcmread(tmp_path / "note.dcm").Modality == "KO"
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    told = subprocess.run([validator, tmp_path / "note.dcm"], capture_output=True, text=True)
    assert [line for line in told.stderr.splitlines() if line.startswith("Error")] == []


def test_a_result_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot read"):
        write_rejection([tmp_path / "gone.dcm"], tmp_path / "note.dcm")
