from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from operators.dicom_file import read_dataset
from operators.errors import NothingUsableError
from operators.loading import Scan, scan


def image_bytes(number: int = 1, series: str = "1.2.3.1", study: str = "1.2.3") -> bytes:
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{series}.{number}"
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = series
    image.InstanceNumber = number
    image.Rows, image.Columns, image.BitsAllocated = 8, 6, 16
    image.add_new("PixelData", "OW", np.full((8, 6), number, np.int16).tobytes())
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_dicomdir(path: Path, *names: str) -> Path:
    listing = Dataset()
    listing.FileSetID = "STUDY"
    listing.DirectoryRecordSequence = [Dataset() for _ in names]
    for item, name in zip(listing.DirectoryRecordSequence, names, strict=True):
        item.ReferencedFileID = name.split("/")
    listing.file_meta = FileMetaDataset()
    listing.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    listing.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    listing.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, listing, enforce_file_format=True)
    return path


def reasons(found: Scan, folder: Path) -> dict[str, str]:
    return {file.path.relative_to(folder).as_posix(): file.reason for file in found.skipped}


def uids(found: Scan) -> list[str]:
    return [
        instance.SOPInstanceUID
        for study in found.studies
        for series in study.series
        for instance in series.instances
    ]


def test_studies_and_series_come_in_order_of_their_uids_not_of_files(tmp_path):
    names = iter("fcabed")
    for study, series in (("1.9", "1.9.2"), ("1.9", "1.9.1"), ("1.1", "1.1.1")):
        for number in (2, 1):
            write(tmp_path / next(names) / "x", image_bytes(number, series, study))
    studies = scan(tmp_path).studies
    assert [s.StudyInstanceUID for s in studies] == ["1.1", "1.9"]
    assert [s.SeriesInstanceUID for s in studies[1].series] == ["1.9.1", "1.9.2"]
    assert [i.SOPInstanceUID for i in studies[1].series[0].instances] == ["1.9.1.1", "1.9.1.2"]


def test_instances_carry_their_header_and_the_place_of_their_pixels(tmp_path):
    path = write(tmp_path / "a.dcm", image_bytes(7))
    (instance,) = scan(tmp_path).studies[0].series[0].instances
    assert (instance.path, instance.header.Rows) == (path, 8)
    assert "PixelData" not in instance.header
    assert instance.pixels is not None
    with instance.file.open() as stream:
        stream.seek(instance.pixels.offset)
        assert stream.read(instance.pixels.length) == b"\7\0" * 48


def test_files_that_are_no_dicom_are_listed_with_the_reason(tmp_path):
    write(tmp_path / "good.dcm", image_bytes())
    (tmp_path / "empty.dcm").touch()
    write(tmp_path / "notes.txt", b"words " * 100)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / "zeros", bytes(4000))
    write(tmp_path / "looks.like", b"\x08\x00" + bytes(500))
    assert reasons(scan(tmp_path), tmp_path) == {
        "empty.dcm": "empty file",
        "notes.txt": "not DICOM",
        "dangling": "cannot be read: No such file or directory",
        "pipe": "not a regular file",
        "zeros": "not DICOM",
        "looks.like": "not DICOM",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_files_and_folders_without_permission_are_listed(tmp_path):
    write(tmp_path / "good.dcm", image_bytes())
    write(tmp_path / "secret.dcm", image_bytes(2)).chmod(0)
    write(tmp_path / "closed" / "x.dcm", image_bytes(3))
    (tmp_path / "closed").chmod(0)
    found = reasons(scan(tmp_path), tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert found == {
        "secret.dcm": "cannot be read: Permission denied",
        "closed": "cannot be read: Permission denied",
    }


def test_one_file_is_read_alone(tmp_path):
    path = write(tmp_path / "b.dcm", image_bytes(2))
    write(tmp_path / "a.dcm", image_bytes(1))
    assert uids(scan(path)) == ["1.2.3.1.2"]


def test_a_zip_archive_is_read_as_the_folder_that_it_holds(tmp_path):
    members = {f"CT/{n:02}.dcm": image_bytes(n) for n in (3, 1, 2)} | {"CT/notes": b"words"}
    found = scan(write_zip(tmp_path / "study.zip", members))
    for name, content in members.items():
        write(tmp_path / "study" / name, content)
    assert uids(found) == uids(scan(tmp_path / "study")) == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    assert reasons(found, tmp_path) == {"study.zip/CT/notes": "not DICOM"}
    for n, instance in enumerate(found.studies[0].series[0].instances, 1):
        assert instance.path == tmp_path / "study.zip" / "CT" / f"{n:02}.dcm"
        assert read_dataset(instance.file).PixelData == bytes([n, 0]) * 48


def test_archives_in_folders_and_archives_are_read(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"x": image_bytes(2)}).read_bytes()
    (tmp_path / "inner.zip").unlink()
    write(tmp_path / "in" / "a.dcm", image_bytes(1))
    write_zip(tmp_path / "in" / "any name", {"more.zip": inner, "y": image_bytes(3)})
    found = scan(tmp_path / "in")
    assert uids(found) == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    assert found.skipped == ()
    assert found.studies[0].series[0].instances[1].path == tmp_path / "in/any name/more.zip/x"


def test_what_is_wrong_in_an_archive_is_listed_and_the_rest_is_read(tmp_path):
    archive = write_zip(
        tmp_path / "s.zip", {"a": image_bytes(1), "b": image_bytes(2), "../c": image_bytes(3)}
    )
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 16] ^= 1  # of the first entry, the checksum
    archive.write_bytes(content)
    write(tmp_path / "cut.zip", bytes(content[:200]))
    found = scan(tmp_path)
    assert uids(found) == ["1.2.3.1.2"]
    assert reasons(found, tmp_path) == {
        "cut.zip": "damaged archive: its directory cannot be read",
        "s.zip/a": "cannot be read: damaged archive, the file's checksum is wrong",
        "s.zip/c": "unsafe name in an archive: '../c'",
    }


def test_of_a_file_and_its_copy_in_an_archive_the_file_is_kept(tmp_path):
    write_zip(tmp_path / "a.zip", {"x": image_bytes()})
    write(tmp_path / "b", image_bytes())
    found = scan(tmp_path)
    assert [i.path.name for i in found.studies[0].series[0].instances] == ["b"]
    assert reasons(found, tmp_path) == {"a.zip/x": f"same instance as: {tmp_path / 'b'}"}


def test_a_dicomdir_stands_for_its_folder_and_what_it_lists_is_missed(tmp_path):
    write(tmp_path / "CD" / "DIR" / "im1.dcm", image_bytes(1))
    write(tmp_path / "CD" / "unlisted", image_bytes(2))
    listing = write_dicomdir(tmp_path / "CD" / "DIRFILE", "DIR/IM1", "DIR/IM2")
    for given in (listing, tmp_path / "CD", tmp_path):
        found = scan(given)
        assert uids(found) == ["1.2.3.1.1", "1.2.3.1.2"]
        assert reasons(found, tmp_path / "CD") == {
            "DIRFILE": "DICOMDIR: a list of files, not an image",
            "DIR/IM2": f"listed in DICOMDIR but absent: {listing}",
        }


def test_a_dicomdir_in_an_archive_lists_what_is_beside_it(tmp_path):
    listing = write_dicomdir(tmp_path / "DICOMDIR", "A", "B").read_bytes()
    (tmp_path / "DICOMDIR").unlink()
    write_zip(tmp_path / "cd.zip", {"CD/DICOMDIR": listing, "CD/A": image_bytes()})
    assert reasons(scan(tmp_path / "cd.zip"), tmp_path / "cd.zip") == {
        "CD/DICOMDIR": "DICOMDIR: a list of files, not an image",
        "CD/B": f"listed in DICOMDIR but absent: {tmp_path}/cd.zip/CD/DICOMDIR",
    }


def test_a_damaged_dicomdir_ends_nothing(tmp_path):
    write(tmp_path / "A", image_bytes())
    listing = write_dicomdir(tmp_path / "DICOMDIR", "A", "B")
    content = listing.read_bytes()
    listing.write_bytes(content[: content.index(b"\x04\x00\x20\x12")])  # the list is gone
    found = scan(listing)
    assert uids(found) == ["1.2.3.1.1"]
    assert reasons(found, tmp_path) == {
        "DICOMDIR": "DICOMDIR: damaged, what it lists cannot be told"
    }


def test_equal_copies_collapse_to_the_first_by_path(tmp_path):
    write(tmp_path / "b.dcm", image_bytes())
    shutil.copy(tmp_path / "b.dcm", tmp_path / "c.dcm")
    shutil.copy(tmp_path / "b.dcm", tmp_path / "a.dcm")
    found = scan(tmp_path)
    assert [i.path.name for i in found.studies[0].series[0].instances] == ["a.dcm"]
    assert reasons(found, tmp_path) == dict.fromkeys(
        ("b.dcm", "c.dcm"), f"same instance as: {tmp_path / 'a.dcm'}"
    )


def test_of_differing_copies_the_content_decides_not_the_name(tmp_path):
    changed = image_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x0077")
    kept = []
    for first, second in (("a", "b"), ("b", "a")):
        write(tmp_path / first / first, image_bytes())
        write(tmp_path / first / second, changed)
        found = scan(tmp_path / first)
        (instance,) = found.studies[0].series[0].instances
        assert [file.reason for file in found.skipped] == [
            f"same SOPInstanceUID but other content than: {instance.path}"
        ]
        kept.append(int(instance.header.InstanceNumber))
    assert kept[0] == kept[1]


def test_links_are_followed_and_loops_end(tmp_path):
    write(tmp_path / "outside" / "x.dcm", image_bytes())
    scanned = tmp_path / "scanned"
    scanned.mkdir()
    (scanned / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(scanned)
    found = scan(scanned)
    assert [i.path.name for i in found.studies[0].series[0].instances] == ["x.dcm"]
    assert found.skipped == ()


def test_nothing_usable_says_how_many_files_and_why(tmp_path):
    for n in range(3):
        write(tmp_path / f"{n}.txt", b"words")
    (tmp_path / "e").touch()
    with pytest.raises(
        NothingUsableError, match=r"among 4 files in .*: not DICOM \(3\), empty file \(1\)$"
    ) as caught:
        scan(tmp_path)
    assert len(caught.value.skipped) == 4
    (tmp_path / "hollow").mkdir()
    with pytest.raises(NothingUsableError, match="holds no file"):
        scan(tmp_path / "hollow")
    with pytest.raises(NothingUsableError, match="cannot be found"):
        scan(tmp_path / "nowhere")
    with pytest.raises(NothingUsableError, match=r"0\.txt is left out: not DICOM$"):
        scan(tmp_path / "0.txt")
    with pytest.raises(NothingUsableError, match=r"among 2 files in .*s\.zip: not DICOM \(2\)$"):
        scan(write_zip(tmp_path / "s.zip", {"a": b"words", "b": b"words"}))
