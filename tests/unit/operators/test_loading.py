from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from operators.errors import NothingUsableError
from operators.loading import numbers_of, read_file, scan_folder, values_of


def write_image(
    path: Path,
    number: int = 1,
    series: str = "1.2.3.1",
    study: str = "1.2.3",
    syntax: str = ExplicitVRLittleEndian,
    meta: bool = True,
) -> Path:
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{series}.{number}"
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = series
    image.InstanceNumber = number
    image.Rows, image.Columns, image.BitsAllocated = 8, 6, 16
    image["PixelData"] = image_pixels(number)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    if meta:
        dcmwrite(path, image, enforce_file_format=True)
    else:
        del image.file_meta.TransferSyntaxUID
        implicit = syntax == ImplicitVRLittleEndian
        dcmwrite(path, image, implicit_vr=implicit, little_endian=True)
    return path


def image_pixels(number: int):
    holder = Dataset()
    holder.add_new("PixelData", "OW", np.full((8, 6), number, np.int16).tobytes())
    return holder["PixelData"]


def reasons(folder: Path) -> dict[str, str]:
    return {file.path.name: file.reason for file in scan_folder(folder).skipped}


def test_studies_and_series_come_in_order_of_their_uids_not_of_files(tmp_path):
    names = iter("fcabed")
    for study, series in (("1.9", "1.9.2"), ("1.9", "1.9.1"), ("1.1", "1.1.1")):
        for number in (2, 1):
            write_image(tmp_path / next(names) / "x", number, series, study)
    studies = scan_folder(tmp_path).studies
    assert [s.StudyInstanceUID for s in studies] == ["1.1", "1.9"]
    assert [s.SeriesInstanceUID for s in studies[1].series] == ["1.9.1", "1.9.2"]
    assert [i.SOPInstanceUID for i in studies[1].series[0].instances] == ["1.9.1.1", "1.9.1.2"]


def test_headers_hold_no_pixels(tmp_path):
    write_image(tmp_path / "a.dcm")
    header = scan_folder(tmp_path).studies[0].series[0].header
    assert "PixelData" not in header
    assert header.Rows == 8
    assert len(read_file(tmp_path / "a.dcm", pixels=True).PixelData) == 96


def test_files_that_are_no_dicom_are_listed_with_the_reason(tmp_path):
    write_image(tmp_path / "good.dcm")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "notes.txt").write_text("words " * 100)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").write_bytes(bytes(4000))
    (tmp_path / "looks.like").write_bytes(b"\x08\x00" + bytes(500))
    assert reasons(tmp_path) == {
        "empty.dcm": "empty file",
        "notes.txt": "not DICOM",
        "dangling": "cannot be read: No such file or directory",
        "pipe": "not a regular file",
        "zeros": "not DICOM",
        "looks.like": "not DICOM",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_files_and_folders_without_permission_are_listed(tmp_path):
    write_image(tmp_path / "good.dcm")
    write_image(tmp_path / "secret.dcm", 2).chmod(0)
    write_image(tmp_path / "closed" / "x.dcm", 3)
    (tmp_path / "closed").chmod(0)
    found = reasons(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert found == {
        "secret.dcm": "cannot be read: Permission denied",
        "closed": "cannot be read: Permission denied",
    }


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_an_object_lacking_a_uid_is_broken(tmp_path, keyword):
    write_image(tmp_path / "good.dcm")
    image = read_file(write_image(tmp_path / "bad.dcm", 2), pixels=True)
    delattr(image, keyword)
    dcmwrite(tmp_path / "bad.dcm", image)
    assert reasons(tmp_path) == {"bad.dcm": f"broken DICOM: no usable {keyword}"}


def test_a_dicomdir_is_named_as_such(tmp_path):
    image = read_file(write_image(tmp_path / "good.dcm"), pixels=True)
    image.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dcmwrite(tmp_path / "DICOMDIR", image)
    assert reasons(tmp_path) == {"DICOMDIR": "DICOMDIR: a list of files, not an image"}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_preamble_is_read_with_its_real_encoding(tmp_path, syntax):
    write_image(tmp_path / "bare", syntax=syntax, meta=False)
    assert (tmp_path / "bare").read_bytes()[:2] == b"\x08\x00"
    header = scan_folder(tmp_path).studies[0].series[0].header
    assert header.file_meta.TransferSyntaxUID == syntax


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_truncated_pixel_data_shows_without_reading_it(tmp_path, syntax):
    write_image(tmp_path / "good.dcm", syntax=ExplicitVRLittleEndian)
    path = write_image(tmp_path / "bad.dcm", 2, syntax=syntax)
    path.write_bytes(path.read_bytes()[:-10])
    assert reasons(tmp_path)["bad.dcm"] == (
        "pixel data is cut short: 96 bytes expected, 86 found; instance 1.2.3.1.2 of series 1.2.3.1"
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_header_cut_anywhere_never_passes_for_an_image(tmp_path):
    whole = write_image(tmp_path / "good.dcm").read_bytes()
    rows = whole.index(b"\x28\x00\x10\x00US")  # once Rows is there it must be followed by pixels
    for end in range(rows + 10, len(whole)):
        (tmp_path / "cut.dcm").write_bytes(whole[:end])
        with pytest.raises(NothingUsableError, match=r"cut short|no pixel data|broken"):
            read_file(tmp_path / "cut.dcm")
    for end in range(1, rows):
        (tmp_path / "cut.dcm").write_bytes(whole[:end])
        try:
            header = read_file(tmp_path / "cut.dcm")
        except NothingUsableError:
            continue
        assert "Rows" not in header


def test_a_deflated_object_is_read(tmp_path):
    write_image(tmp_path / "a.dcm", syntax=DeflatedExplicitVRLittleEndian)
    assert scan_folder(tmp_path).studies[0].series[0].header.Rows == 8


def test_equal_copies_collapse_to_the_first_by_path(tmp_path):
    write_image(tmp_path / "b.dcm")
    shutil.copy(tmp_path / "b.dcm", tmp_path / "c.dcm")
    shutil.copy(tmp_path / "b.dcm", tmp_path / "a.dcm")
    scan = scan_folder(tmp_path)
    assert [i.path.name for i in scan.studies[0].series[0].instances] == ["a.dcm"]
    assert {f.path.name: f.reason for f in scan.skipped} == dict.fromkeys(
        ("b.dcm", "c.dcm"), f"same instance as: {tmp_path / 'a.dcm'}"
    )


def test_of_differing_copies_the_content_decides_not_the_name(tmp_path):
    kept = []
    for first, second in (("a", "b"), ("b", "a")):
        folder = tmp_path / first
        write_image(folder / first)
        image = read_file(write_image(folder / second), pixels=True)
        image.InstanceNumber = 77
        dcmwrite(folder / second, image)
        scan = scan_folder(folder)
        (lost,) = scan.skipped
        (instance,) = scan.studies[0].series[0].instances
        assert lost.reason == f"same SOPInstanceUID but other content than: {instance.path}"
        kept.append(int(instance.header.InstanceNumber))
    assert kept[0] == kept[1]


def test_links_are_followed_and_loops_end(tmp_path):
    write_image(tmp_path / "outside" / "x.dcm")
    scanned = tmp_path / "scanned"
    scanned.mkdir()
    (scanned / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(scanned)
    scan = scan_folder(scanned)
    assert [i.path.name for i in scan.studies[0].series[0].instances] == ["x.dcm"]
    assert scan.skipped == ()


def test_nothing_usable_says_how_many_files_and_why(tmp_path):
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text("words")
    (tmp_path / "e").touch()
    with pytest.raises(
        NothingUsableError, match=r"among 4 files in .*: not DICOM \(3\), empty file \(1\)$"
    ):
        scan_folder(tmp_path)
    (tmp_path / "hollow").mkdir()
    with pytest.raises(NothingUsableError, match="holds no file"):
        scan_folder(tmp_path / "hollow")
    with pytest.raises(NothingUsableError, match="is not a folder"):
        scan_folder(tmp_path / "nowhere")


def test_values_are_what_can_be_understood():
    header = Dataset()
    header.ImageType = ["ORIGINAL", "PRIMARY "]
    header.SliceThickness = "0"
    header.SeriesDescription = ""
    header.add_new("PixelSpacing", "DS", ["0.5", "0.7"])
    assert values_of(header, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert values_of(header, "SliceThickness") == (0,)
    assert values_of(header, "SeriesDescription") == ()
    assert values_of(header, "Modality") == ()
    assert numbers_of(header, "PixelSpacing", 2) == (0.5, 0.7)
    assert numbers_of(header, "PixelSpacing", 3) is None
    assert numbers_of(header, "ImageType", 2) is None


def test_an_element_that_is_no_number_gives_none(tmp_path):
    path = write_image(tmp_path / "a.dcm")
    image = read_file(path, pixels=True)
    image.SliceThickness = "1.25"
    dcmwrite(path, image)
    path.write_bytes(path.read_bytes().replace(b"1.25", b"thin"))
    assert numbers_of(read_file(path), "SliceThickness", 1) is None


def test_an_element_that_cannot_be_parsed_has_no_value():
    header = Dataset()
    tag = Tag("RevolutionTime")
    header[tag] = RawDataElement(tag, "FD", 6, b"\1\2\3\4\5\6", 0, False, True)
    assert values_of(header, "RevolutionTime") == ()
