from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from operators.dicom_stream import Parsed, parse, read_meta
from operators.elements import DAMAGED_DICOM_ERRORS
from operators.errors import NothingUsableError

MIB = 2**20
LONG = (b"OB", b"OW", b"UN", b"SQ", b"OF", b"OD")


def explicit(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    return head + struct.pack("<HI" if vr in LONG else "<H", *([0] * (vr in LONG)), length) + value


def implicit(group: int, number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


def big_endian(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack(">HH2sH", group, number, vr, len(value)) + value


def meta(syntax: str | None) -> bytes:
    """Preamble, prefix and file meta information."""
    start = bytes(128) + b"DICM" + explicit(2, 2, b"UI", b"1.2\0")
    return start if syntax is None else start + explicit(2, 16, b"UI", syntax.encode())


def deflated(dataset: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return meta(DeflatedExplicitVRLittleEndian) + packer.compress(dataset) + packer.flush()


MODALITY = explicit(8, 0x60, b"CS", b"CT")
ROWS = explicit(0x28, 0x10, b"US", b"\x08\0")
PIXELS = explicit(0x7FE0, 0x10, b"OW", b"pixels")


def parsed(content: bytes, with_pixels: bool = False) -> Parsed:
    return parse(io.BytesIO(content), len(content), with_pixels=with_pixels)


def peak_bytes(content: bytes) -> int:
    """Memory that reading takes at most, from a file as the file system has them."""
    stream = io.BufferedReader(io.BytesIO(content))  # unlike BytesIO it allocates what is asked
    tracemalloc.start()
    with suppress(NothingUsableError, OSError, *DAMAGED_DICOM_ERRORS):
        parse(stream, len(content), with_pixels=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    ("dataset", "syntax"),
    [
        (implicit(8, 0x60, b"CT") + implicit(0x28, 0x10, b"\x08\0"), ImplicitVRLittleEndian),
        (MODALITY + ROWS, ExplicitVRLittleEndian),
        (
            big_endian(8, 0x60, b"CS", b"CT") + big_endian(0x28, 0x10, b"US", b"\0\x08"),
            ExplicitVRBigEndian,
        ),
    ],
)
def test_every_encoding_is_read_with_and_without_its_name(dataset, syntax):
    for start in (meta(syntax), meta(None), meta(None)[132:], b""):
        found = parsed(start + dataset).dataset
        assert (found.Modality, found.Rows) == ("CT", 8)
        assert found.file_meta.TransferSyntaxUID == syntax


def test_a_deflated_data_set_is_inflated():
    found = parsed(deflated(MODALITY + ROWS + PIXELS))
    assert (found.dataset.Modality, found.dataset.Rows, found.deflated) == ("CT", 8, True)
    assert found.size == len(MODALITY + ROWS + PIXELS)
    with_pixels = parsed(deflated(MODALITY + ROWS + PIXELS), with_pixels=True)
    assert with_pixels.dataset.PixelData == b"pixels"


@pytest.mark.parametrize("uid", [b"", b"1.2\\1.3\0", b"\0\0"])
def test_a_transfer_syntax_that_is_none_counts_as_missing(uid):
    start = bytes(128) + b"DICM" + explicit(2, 16, b"UI", uid)
    assert parsed(start + MODALITY).dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.filterwarnings("ignore:Expected explicit VR")
def test_an_implicit_data_set_that_claims_to_be_explicit_is_read():
    found = parsed(meta(ExplicitVRLittleEndian) + implicit(8, 0x60, b"CT")).dataset
    assert found.Modality == "CT"
    assert found.original_encoding == (True, True)


def test_where_pixel_data_lies_is_found_without_reading_it():
    start = meta(ExplicitVRLittleEndian) + MODALITY
    stop = parsed(start + PIXELS).pixels
    assert (stop.tag, stop.length, stop.offset) == (0x7FE00010, 6, len(start) + 12)
    assert "PixelData" not in parsed(start + PIXELS).dataset


@pytest.mark.parametrize("number", [8, 9])
def test_pixels_in_floating_point_end_the_header(number):
    pixels = explicit(0x7FE0, number, b"OF" if number == 8 else b"OD", bytes(8))
    found = parsed(meta(ExplicitVRLittleEndian) + MODALITY + pixels)
    assert list(found.dataset.keys()) == [0x00080060]
    assert found.pixels.tag == 0x7FE00000 + number


@pytest.mark.parametrize(
    "after",
    [
        bytes(64),
        b"\xff" * 64,
        b"words of a text " * 9,
        explicit(0xFFFC, 0xFFFC, b"OB", bytes(8)),
        explicit(8, 0x60, b"CS", b"MR") + explicit(0x7FE0, 0x10, b"OW", b"others"),
        PIXELS[:7],
    ],
)
def test_what_follows_pixel_data_changes_nothing(after):
    found = parsed(meta(ExplicitVRLittleEndian) + MODALITY + PIXELS + after, with_pixels=True)
    assert list(found.dataset.keys()) == [0x00080060, 0x7FE00010]
    assert (found.dataset.Modality, found.dataset.PixelData) == ("CT", b"pixels")


def test_sequences_of_undefined_length_are_read():
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + MODALITY
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    sequence = explicit(8, 0x1140, b"SQ", b"", 0xFFFFFFFF) + item * 2
    sequence += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    found = parsed(meta(ExplicitVRLittleEndian) + sequence + ROWS).dataset
    assert [item.Modality for item in found.ReferencedImageSequence] == ["CT", "CT"]
    assert found.Rows == 8


def test_what_does_not_begin_as_dicom_is_none():
    for content in (b"", b"words" * 99, bytes(4000), b"\x04\0" + bytes(200)):
        with pytest.raises(NothingUsableError, match=r"^not DICOM$"):
            parsed(content)


def test_the_file_meta_information_can_be_read_alone():
    found, prefixed = read_meta(io.BytesIO(meta("1.2.3.4\0") + MODALITY), 10**6)
    assert (found.TransferSyntaxUID, prefixed) == ("1.2.3.4", True)
    found, prefixed = read_meta(io.BytesIO(MODALITY), 10**6)
    assert (len(found), prefixed) == (0, False)


@pytest.mark.parametrize("length", [0x7FFFFFF0, 0xFFFFFFF0])
@pytest.mark.parametrize("vr", [b"OB", b"UN", b"SQ"])
def test_a_claimed_length_takes_no_memory(vr, length):
    damaged = explicit(9, 0x10, vr, bytes(50), length)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + damaged
    start = meta(ExplicitVRLittleEndian) + MODALITY
    assert peak_bytes(start + damaged) < MIB
    assert peak_bytes(start + explicit(8, 0x1140, b"SQ", b"", 0xFFFFFFFF) + item) < MIB
    assert peak_bytes(start + explicit(0x7FE0, 0x10, b"OW", bytes(50), length)) < MIB
    assert peak_bytes(bytes(128) + b"DICM" + explicit(2, 0x102, vr, b"1", length)) < MIB


@pytest.mark.filterwarnings("ignore:End of file reached")
def test_encapsulated_fragments_that_claim_gigabytes_take_no_memory():
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFF0) + bytes(50)
    pixels = explicit(0x7FE0, 0x10, b"OB", b"", 0xFFFFFFFF) + fragment
    assert peak_bytes(meta(ExplicitVRLittleEndian) + MODALITY + pixels) < MIB


def test_a_deflate_bomb_is_refused_in_bounded_memory():
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(MODALITY + explicit(0x7FE0, 0x10, b"OW", b"", 2**31))
    packed += packer.flush(zlib.Z_FULL_FLUSH)
    packed += (packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)) * 300
    bomb = meta(DeflatedExplicitVRLittleEndian) + packed
    assert len(bomb) < MIB
    tracemalloc.start()
    with pytest.raises(
        NothingUsableError,
        match=rf"^deflated data set is too large: over 268435456 bytes from {len(packed)}$",
    ):
        parsed(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 600 * MIB


def test_a_deflated_data_set_that_is_cut_short_or_damaged_is_refused():
    whole = deflated(MODALITY + ROWS + explicit(0x7FE0, 0x10, b"OW", bytes(range(256)) * 9))
    with pytest.raises(NothingUsableError, match=r"^deflated data set is cut short$"):
        parsed(whole[:-10])
    with pytest.raises(zlib.error):
        parsed(whole[: len(meta(DeflatedExplicitVRLittleEndian))] + b"\xff" * 90)


def test_what_follows_a_deflated_data_set_changes_nothing():
    assert parsed(deflated(MODALITY) + b"\0garbage").dataset.Modality == "CT"
