from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from app.errors import InstanceRefusedError
from app.node.identifiers import MOST_HEADERS, Identifiers, read_identifiers

UIDS = Identifiers(CTImageStorage, "1.2.3.40", "1.2.3.4", "1.2.3.5")


def ct(**changes: str) -> Dataset:
    header = Dataset()
    for keyword, value in {**vars(UIDS), **changes}.items():
        setattr(header, keyword, value)
    header.PatientID = "X"
    header.Rows = 2
    header.PixelData = bytes(8)
    header["PixelData"].VR = "OW"
    return header


def encoded(header: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    buffer = DicomFileLike(io.BytesIO())
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(buffer, header)
    content = buffer.parent.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflate.compress(content) + deflate.flush()
    return bytes(content)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEGLSLossless,
    ],
)
def test_the_uids_are_read_in_every_encoding(syntax: str) -> None:
    assert read_identifiers(encoded(ct(), syntax), syntax) == UIDS


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_uids_inside_sequences_are_not_those_of_the_instance(syntax: str, undefined: bool) -> None:
    inner, middle = Dataset(), Dataset()
    inner.StudyInstanceUID = "9.9"
    middle.ReferencedStudySequence = Sequence([inner])
    middle["ReferencedStudySequence"].is_undefined_length = undefined
    header = ct()
    header.ReferencedSeriesSequence = Sequence([middle, Dataset()])
    header.ReferencedStudySequence = Sequence([middle])
    for element in header:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    assert read_identifiers(encoded(header, syntax), syntax) == UIDS


def test_a_sequence_of_unknown_vr_is_implicit_inside() -> None:
    inner = (
        bytes.fromhex("feff00e0ffffffff")  # item of undefined length
        + bytes.fromhex("20000d00")
        + (4).to_bytes(4, "little")
        + b"9.9\0"
        + bytes.fromhex("feff0de000000000feffdde000000000")
    )
    unknown = bytes.fromhex("09000110") + b"UN\0\0" + b"\xff" * 4 + inner
    whole = encoded(ct())
    at = whole.index(bytes.fromhex("10002000"))  # PatientID
    assert read_identifiers(whole[:at] + unknown + whole[at:], ExplicitVRLittleEndian) == UIDS


@pytest.mark.parametrize("keyword", list(vars(UIDS)))
def test_an_absent_uid_is_named(keyword: str) -> None:
    header = ct()
    delattr(header, keyword)
    with pytest.raises(InstanceRefusedError, match=keyword):
        read_identifiers(encoded(header), ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "uid", ["", "../../etc/passwd", "1.2.3/4", "1..2", ".1", "1.", "1.2\n", "9" * 65, "1.2.é"]
)
def test_what_is_no_uid_is_refused(uid: str) -> None:
    whole = encoded(ct())
    value = uid.encode("latin-1")
    value += b"\0" * (len(value) % 2)
    start = whole.index(bytes.fromhex("20000d00"))
    end = whole.index(bytes.fromhex("20000e00"))
    element = bytes.fromhex("20000d00") + b"UI" + len(value).to_bytes(2, "little") + value
    with pytest.raises(InstanceRefusedError, match="StudyInstanceUID"):
        read_identifiers(whole[:start] + element + whole[end:], ExplicitVRLittleEndian)


def test_padding_with_spaces_is_taken_off() -> None:
    whole = encoded(ct(StudyInstanceUID="1.2.3")).replace(b"1.2.3\0", b"1.2.3 ")
    found = read_identifiers(whole, ExplicitVRLittleEndian)
    assert found.StudyInstanceUID == "1.2.3"


def test_a_data_set_cut_anywhere_before_the_end_of_its_uids_is_refused() -> None:
    whole = encoded(ct())
    end = whole.index(bytes.fromhex("20000e00")) + 8 + len("1.2.3.5\0")
    for length in range(end):
        with pytest.raises(InstanceRefusedError):
            read_identifiers(whole[:length], ExplicitVRLittleEndian)
    assert read_identifiers(whole[:end], ExplicitVRLittleEndian) == UIDS


def test_endless_headers_are_not_followed() -> None:
    with pytest.raises(InstanceRefusedError, match=str(MOST_HEADERS)):
        read_identifiers(bytes.fromhex("0800100000000000") * 10**5, ImplicitVRLittleEndian)


def test_sequences_nested_without_end_are_refused() -> None:
    nested = bytes.fromhex("08001111fffffffffeff00e0ffffffff") * 20_000
    with pytest.raises(InstanceRefusedError):
        read_identifiers(nested, ImplicitVRLittleEndian)


def test_what_does_not_inflate_is_refused() -> None:
    with pytest.raises(InstanceRefusedError, match="inflate"):
        read_identifiers(b"\xff" * 100, DeflatedExplicitVRLittleEndian)


def test_real_files_tell_the_same_as_a_full_reader(shared_data: Path) -> None:
    read = 0
    for path in sorted((shared_data / "dicom_stress").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        if content[128:132] != b"DICM":
            continue
        header = dcmread(path, stop_before_pixels=True)
        if "SOPInstanceUID" not in header:
            continue  # a DICOMDIR
        start = 132 + 12 + header.file_meta.FileMetaInformationGroupLength
        found = read_identifiers(content[start:], header.file_meta.TransferSyntaxUID)
        assert vars(found) == {keyword: header[keyword].value for keyword in vars(found)}
        read += 1
    assert read > 200
