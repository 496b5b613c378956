from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
)

from operators.dicom_file import PixelElement, is_dicomdir, read_dataset, read_header
from operators.errors import NothingUsableError
from operators.files import PlainFile

REASONS = r"^(not DICOM|(broken|incomplete) DICOM: .*|.* cut short: .*|no pixel data: .*)$"


def image() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.3.1.1"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = 8, 6, 16
    dataset.add_new("PixelData", "OW", np.full((8, 6), 7, np.int16).tobytes())
    return dataset


def write(path: Path, dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> PlainFile:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.1.1"
    dataset.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, dataset, enforce_file_format=True)
    return PlainFile(path)


def reason(file: PlainFile) -> str:
    with pytest.raises(NothingUsableError) as caught:
        read_header(file)
    return str(caught.value)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_a_header_holds_no_pixels_but_says_where_they_lie(tmp_path, syntax):
    file = write(tmp_path / "a", image(), syntax)
    header, pixels = read_header(file)
    assert (header.Rows, "PixelData" in header) == (8, False)
    assert header.file_meta.TransferSyntaxUID == syntax
    assert pixels == PixelElement(file.size - 96, 96)
    assert len(read_dataset(file).PixelData) == 96


def test_encapsulated_pixel_data_has_no_length(tmp_path):
    dataset = image()
    fragments = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\x04\0\0\0data\xfe\xff\xdd\xe0\0\0\0\0"
    dataset.add_new("PixelData", "OB", fragments[:-8])
    dataset["PixelData"].is_undefined_length = True
    file = write(tmp_path / "a", dataset, JPEG2000Lossless)
    assert read_header(file)[1] == PixelElement(file.size - len(fragments), None)


def test_a_deflated_image_is_read_and_its_pixels_have_no_place(tmp_path):
    file = write(tmp_path / "a", image(), DeflatedExplicitVRLittleEndian)
    header, pixels = read_header(file)
    assert (header.Rows, pixels) == (8, None)
    assert len(read_dataset(file).PixelData) == 96


def test_a_deflated_image_without_pixels_is_refused(tmp_path):
    dataset = image()
    del dataset.PixelData
    found = reason(write(tmp_path / "a", dataset, DeflatedExplicitVRLittleEndian))
    assert found.startswith("no pixel data: image without PixelData; instance 1.2.3.1.1 of series")


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_pixels_in_floating_point_are_no_pixel_data(tmp_path, keyword):
    dataset = image()
    del dataset.PixelData
    setattr(dataset, keyword, bytes(8 * 6 * 8))
    header, pixels = read_header(write(tmp_path / "a", dataset))
    assert (header.Rows, keyword in header, pixels) == (8, False, None)


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_an_object_lacking_a_uid_is_incomplete(tmp_path, keyword):
    dataset = image()
    delattr(dataset, keyword)
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    with (tmp_path / "a").open("ab") as stream:
        dcmwrite(stream, dataset, implicit_vr=False, little_endian=True)
    assert reason(PlainFile(tmp_path / "a")) == f"incomplete DICOM: no usable {keyword}"


@pytest.mark.parametrize("uid", ["../1.2", "1.2/3", "1..2", ""])
def test_a_uid_that_is_none_is_incomplete(tmp_path, uid):
    file = write(tmp_path / "a", image())
    content = file.path.read_bytes()
    at = content.index(b"\x20\x00\x0e\x00UI") + 8
    padded = uid.encode().ljust(8, b"\0")
    file.path.write_bytes(content[:at] + padded + content[at + 8 :])
    assert reason(file) == "incomplete DICOM: no usable SeriesInstanceUID"


def test_file_meta_information_alone_is_broken(tmp_path):
    assert reason(write(tmp_path / "a", Dataset())) == "broken DICOM: no data set"


def test_acr_nema_is_named_as_such(tmp_path):
    old = Dataset()
    old.add_new(0x00080010, "SH", "ACR-NEMA 2.0")
    old.Rows, old.Columns = 8, 6
    dcmwrite(tmp_path / "a", old, implicit_vr=True, little_endian=True)
    assert reason(PlainFile(tmp_path / "a")).startswith("ACR-NEMA, not DICOM: no usable SOPClass")


@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_preamble_is_read_with_its_real_encoding(tmp_path, implicit):
    dcmwrite(tmp_path / "bare", image(), implicit_vr=implicit, little_endian=True)
    assert (tmp_path / "bare").read_bytes()[:2] == b"\x08\x00"
    header, pixels = read_header(PlainFile(tmp_path / "bare"))
    assert pixels is not None
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    assert (header.file_meta.TransferSyntaxUID, pixels.length) == (syntax, 96)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_truncated_pixel_data_shows_without_reading_it(tmp_path, syntax):
    file = write(tmp_path / "bad", image(), syntax)
    file.path.write_bytes(file.path.read_bytes()[:-10])
    assert reason(file) == (
        "pixel data is cut short: 96 bytes expected, 86 found; instance 1.2.3.1.1 of series 1.2.3.1"
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_header_cut_anywhere_never_passes_for_an_image(tmp_path):
    whole = write(tmp_path / "whole", image()).path.read_bytes()
    rows = whole.index(b"\x28\x00\x10\x00US")  # once Rows is there it must be followed by pixels
    cut = PlainFile(tmp_path / "cut")
    for end in range(rows + 10, len(whole)):
        cut.path.write_bytes(whole[:end])
        with pytest.raises(NothingUsableError, match=REASONS):
            read_header(cut)
    for end in range(1, rows):
        cut.path.write_bytes(whole[:end])
        try:
            header, _ = read_header(cut)
        except NothingUsableError:
            continue
        assert "Rows" not in header


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_flipped_byte_anywhere_ends_in_a_header_or_a_reason(tmp_path, syntax):
    whole = write(tmp_path / "whole", image(), syntax).path.read_bytes()
    changed = PlainFile(tmp_path / "changed")
    for at in range(len(whole) - 96):
        for value in (0xFF, whole[at] ^ 0x21):
            changed.path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            for read in (read_header, read_dataset):
                with suppress(NothingUsableError):
                    read(changed)


def test_a_file_that_cannot_be_opened_is_named_with_the_reason(tmp_path):
    with pytest.raises(NothingUsableError, match=r"^cannot be read: No such file or directory$"):
        read_dataset(PlainFile(tmp_path / "gone"))


def test_a_dicomdir_is_recognised_by_its_content(tmp_path):
    assert not is_dicomdir(write(tmp_path / "a", image()))
    listing = image()
    listing.SOPClassUID = MediaStorageDirectoryStorage
    assert is_dicomdir(write(tmp_path / "b", listing))
    assert not is_dicomdir(PlainFile(tmp_path / "nowhere"))
