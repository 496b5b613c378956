from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from operators.dicomdir import ListedFile, absent_files, listed_files
from operators.errors import NothingUsableError
from operators.files import PlainFile


def record(*name: str, uid: str = "") -> Dataset:
    item = Dataset()
    item.DirectoryRecordType = "IMAGE" if name else "PATIENT"
    if name:
        item.ReferencedFileID = list(name)
        item.ReferencedSOPInstanceUIDInFile = uid
    return item


def write_dicomdir(path: Path, *records: Dataset) -> PlainFile:
    dataset = Dataset()
    dataset.FileSetID = "STUDY"
    dataset.DirectoryRecordSequence = list(records)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, dataset, enforce_file_format=True)
    return PlainFile(path)


def absent(dicomdir: PlainFile, *present: str, uids: tuple[str, ...] = ()) -> list[str]:
    folder = dicomdir.path.parent
    found = list(absent_files(dicomdir, [folder / name for name in present], uids))
    assert {reason for _, reason in found} <= {f"listed in DICOMDIR but absent: {dicomdir.path}"}
    return [path.relative_to(folder).as_posix() for path, _ in found]


def test_files_are_listed_in_order_and_once(tmp_path):
    a, b = record("DIR", "A", uid="1.2"), record("B")
    dicomdir = write_dicomdir(tmp_path / "DICOMDIR", record(), b, a, a)
    assert listed_files(dicomdir) == (ListedFile("B", ""), ListedFile("DIR/A", "1.2"))


def test_what_is_listed_and_not_there_is_absent(tmp_path):
    dicomdir = write_dicomdir(tmp_path / "DICOMDIR", record("DIR", "A"), record("DIR", "B"))
    assert absent(dicomdir, "DIR/A", "DIR/C", "B") == ["DIR/B"]
    assert absent(dicomdir, "DIR/A", "DIR/B") == []


@pytest.mark.parametrize(
    "name", ["dir/im1", "DIR/IM1;1", "DIR/IM1.;1", "Dir/Im1.dcm", "DIR/IM1.DCM;1"]
)
def test_names_are_compared_as_media_mangle_them(tmp_path, name):
    dicomdir = write_dicomdir(tmp_path / "DICOMDIR", record("DIR", "IM1"), record("DIR", "IM2"))
    assert absent(dicomdir, name) == ["DIR/IM2"]


@pytest.mark.parametrize(
    "name", [("DIR", "IM1.DCM"), ("DIR/IM1",), ("DIR", "IM1;1"), (".", "DIR", "IM1")]
)
def test_listed_names_may_be_mangled_too(tmp_path, name):
    assert absent(write_dicomdir(tmp_path / "D", record(*name)), "DIR/IM1") == []


def test_a_list_of_which_nothing_is_there_is_one_finding(tmp_path):
    dicomdir = write_dicomdir(tmp_path / "DICOMDIR", record("DIR", "A"), record("DIR", "B"))
    assert list(absent_files(dicomdir, [tmp_path / "A", tmp_path / "B"], ())) == [
        (dicomdir.path, "listed in DICOMDIR but absent: all 2 files")
    ]


def test_a_file_that_was_renamed_is_known_by_its_uid(tmp_path):
    dicomdir = write_dicomdir(
        tmp_path / "D", record("DIR", "A", uid="1.2.3"), record("DIR", "B", uid="1.2.4")
    )
    assert absent(dicomdir, "moved", uids=("1.2.3",)) == ["DIR/B"]


@pytest.mark.parametrize(
    "name", [("..", "OTHER"), ("DIR", "..", "..", "X"), ("/ETC", "X"), ("C:", "X")]
)
def test_listed_names_never_leave_the_folder(tmp_path, name):
    dicomdir = write_dicomdir(tmp_path / "DICOMDIR", record(*name))
    ((path, reason),) = absent_files(dicomdir, [tmp_path.parent / "OTHER"], ())
    assert path == dicomdir.path
    assert reason == f"unsafe name in DICOMDIR: {'/'.join(name)!r}"


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_dicomdir_gives_a_reason_or_what_is_left_of_its_list(tmp_path):
    whole = write_dicomdir(tmp_path / "whole", record("A"), record("B")).path.read_bytes()
    cut = PlainFile(tmp_path / "cut")
    for end in range(1, len(whole)):
        cut.path.write_bytes(whole[:end])
        with suppress(NothingUsableError):
            assert {file.name for file in listed_files(cut)} <= {"A", "B"}
