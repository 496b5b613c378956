from __future__ import annotations

import io
import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from operators.decoders import (
    JPEG_FULL_PROGRESSION,
    FrameFormat,
    decode_frame,
)
from operators.errors import PixelDataError
from tests.unit.operators.coded_frames import (
    COLUMNS,
    ROWS,
    Frame,
    ct_like,
    form_of,
)


def rle(frame: Frame) -> bytes:
    planes = frame.astype(">i2").view(np.uint8).reshape(-1, 2).T
    high, low = (imagecodecs.packbits_encode(plane.tobytes()) for plane in planes)
    return struct.pack("<16I", 2, 64, 64 + len(high), *[0] * 13) + high + low


def jpeg_lossless(frame: Frame) -> bytes:
    samples = frame.view(np.uint16)
    return bytes(imagecodecs.jpeg8_encode(samples, lossless=True, bitspersample=16))


def jpeg_ls(frame: Frame) -> bytes:
    return bytes(imagecodecs.jpegls_encode(frame.view(np.uint16)))


def jpeg_2000(frame: Frame) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(frame, level=0, reversible=True, codecformat="J2K"))


def htj2k(frame: Frame) -> bytes:
    if not hasattr(imagecodecs, "htj2k_encode"):
        pytest.skip("this imagecodecs has no HTJ2K encoder")
    return bytes(imagecodecs.htj2k_encode(frame, reversible=True))


STREAMS: dict[str, Callable[[Frame], bytes]] = {
    RLELossless: rle,
    JPEGLosslessSV1: jpeg_lossless,
    JPEGLSLossless: jpeg_ls,
    JPEG2000Lossless: jpeg_2000,
    HTJ2KLossless: htj2k,
}


@pytest.mark.parametrize("syntax", STREAMS)
def test_whole_streams_are_exact(syntax):
    frame = ct_like()
    found = decode_frame(STREAMS[syntax](frame), syntax, form_of(frame, 16))
    np.testing.assert_array_equal(found, frame)


@pytest.mark.parametrize("pad", [1, 2, COLUMNS, 8192])
def test_padding_after_a_native_frame_is_ignored(pad):
    frame = ct_like()
    data = frame.tobytes() + b"\0" * pad
    np.testing.assert_array_equal(
        decode_frame(data, ExplicitVRLittleEndian, form_of(frame, 16)), frame
    )


def test_native_frames_of_another_size_are_refused():
    frame = ct_like()
    with pytest.raises(
        PixelDataError, match=r"Explicit VR .* cut short: 3922 bytes .*, 3816 found"
    ):
        decode_frame(frame[1:].tobytes(), ExplicitVRLittleEndian, form_of(frame, 16))
    with pytest.raises(PixelDataError, match=r"too long: 3816 bytes expected, 3922 found"):
        decode_frame(frame.tobytes(), ExplicitVRLittleEndian, form_of(frame[1:], 16))


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("kept", [0, 1, 2, 3, 20, 60, 0.1, 0.5, 0.9, -64, -3])
def test_truncated_streams_are_refused(syntax, kept):
    frame = ct_like()
    data = STREAMS[syntax](frame)
    end = int(len(data) * kept) if isinstance(kept, float) else kept
    with pytest.raises(
        PixelDataError, match=r"^pixel data in transfer syntax .* cannot be decoded"
    ):
        decode_frame(data[:end], syntax, form_of(frame, 16))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG_FULL_PROGRESSION])
@pytest.mark.parametrize("kept", [0.3, 0.7, -2])
def test_truncated_lossy_jpeg_is_refused(syntax, kept):
    frame = ct_like("u1", 8)
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", progressive=syntax == JPEG_FULL_PROGRESSION)
    data = stream.getvalue()
    decode_frame(data, syntax, form_of(frame, 8))
    with pytest.raises(PixelDataError, match="cut short"):
        decode_frame(data[: int(len(data) * kept) if kept > 0 else kept], syntax, form_of(frame, 8))


@pytest.mark.parametrize("syntax", STREAMS)
def test_garbage_is_refused(syntax):
    frame = ct_like()
    rng = np.random.default_rng(0)
    begin = STREAMS[syntax](frame)[:4]
    for length in (0, 1, 10, 64, 100, 5000):
        noise = rng.bytes(length)
        for data in (noise, begin + noise, b"\0" * length, b"\xff" * length):
            with pytest.raises(PixelDataError):
                decode_frame(data, syntax, form_of(frame, 16))


@pytest.mark.parametrize("syntax", STREAMS)
def test_damaged_headers_never_end_the_process(syntax):
    frame = ct_like()
    data = STREAMS[syntax](frame)
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(0, 120, 2):
            damaged[place] = rng.integers(256)
        try:
            found = decode_frame(bytes(damaged), syntax, form_of(frame, 16))
        except PixelDataError:
            continue
        assert found.shape == frame.shape


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize(
    ("rows", "columns"), [(ROWS + 1, COLUMNS), (ROWS - 1, COLUMNS), (ROWS, 54)]
)
def test_a_header_of_another_size_is_refused(syntax, rows, columns):
    form = FrameFormat(rows=rows, columns=columns, bits_allocated=16, bits_stored=16, signed=True)
    with pytest.raises(PixelDataError):
        decode_frame(STREAMS[syntax](ct_like()), syntax, form)


@pytest.mark.parametrize("syntax", [s for s in STREAMS if s != RLELossless])
def test_rows_are_never_taken_for_columns(syntax):
    form = FrameFormat(rows=COLUMNS, columns=ROWS, bits_allocated=16, bits_stored=16, signed=True)
    with pytest.raises(PixelDataError, match="expected 53 x 37 pixels of 1 sample, found 37 x 53"):
        decode_frame(STREAMS[syntax](ct_like()), syntax, form)


@pytest.mark.parametrize("syntax", [s for s in STREAMS if s != RLELossless])
def test_a_codestream_that_claims_to_be_giant_is_refused_unread(syntax):
    frame = ct_like()
    data = STREAMS[syntax](frame)
    if syntax in (JPEG2000Lossless, HTJ2KLossless):
        sizes = [struct.pack(">2I", *size) for size in ((COLUMNS, ROWS), (65535, 65535))]
    else:
        sizes = [struct.pack(">2H", *size) for size in ((ROWS, COLUMNS), (65535, 65535))]
    giant = data.replace(*sizes)
    assert giant != data
    with pytest.raises(PixelDataError, match="found 65535 x 65535 of 1"):
        decode_frame(giant, syntax, form_of(frame, 16))


def test_a_giant_frame_has_no_format():
    with pytest.raises(PixelDataError, match="found 65535 x 65535"):
        FrameFormat(rows=65535, columns=65535, bits_allocated=16, bits_stored=16, signed=True)


@pytest.mark.parametrize(
    ("bits_allocated", "bits_stored", "message"),
    [(12, 12, "BitsAllocated 8, 16 or 32, found 12"), (16, 17, "1 to 16"), (8, 0, "found 0")],
)
def test_impossible_formats_are_refused(bits_allocated, bits_stored, message):
    with pytest.raises(PixelDataError, match=message):
        FrameFormat(
            rows=1,
            columns=1,
            bits_allocated=bits_allocated,
            bits_stored=bits_stored,
            signed=False,
        )


def test_colour_and_samples_too_wide_are_refused():
    colour = bytes(imagecodecs.jpeg8_encode(np.zeros((ROWS, COLUMNS, 3), np.uint8)))
    form = form_of(ct_like("u1", 8), 8)
    with pytest.raises(PixelDataError, match="of 1 sample, found 37 x 53 of 3"):
        decode_frame(colour, JPEGBaseline8Bit, form)
    with pytest.raises(PixelDataError, match="at most 8 bits a sample, found 16"):
        decode_frame(jpeg_lossless(ct_like()), JPEGLosslessSV1, form)


def test_a_missing_tile_is_refused_not_left_black():
    frame = ct_like()
    data = jpeg_2000(frame)
    tile_size = data.index(struct.pack(">2I", COLUMNS, ROWS), 20)
    tiled = data[:tile_size] + struct.pack(">2I", 32, 32) + data[tile_size + 8 :]
    with pytest.raises(PixelDataError, match="holds 1 of 4 tiles"):
        decode_frame(tiled, JPEG2000Lossless, form_of(frame, 16))


def test_rle_offsets_outside_the_data_are_refused():
    frame = ct_like()
    data = bytearray(rle(frame))
    for offset in (0, 63, len(data) + 1, 2**32 - 6):
        struct.pack_into("<I", data, 8, offset)
        with pytest.raises(PixelDataError, match="outside the data or overlap"):
            decode_frame(bytes(data), RLELossless, form_of(frame, 16))


def test_rle_of_another_sample_size_is_refused():
    form = form_of(ct_like("u1", 8), 8)
    with pytest.raises(PixelDataError, match="expected 1 RLE segments, found 2"):
        decode_frame(rle(ct_like()), RLELossless, form)


def test_a_progressive_jpeg_of_endless_scans_is_refused():
    frame = ct_like("u1", 8)
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data[data.rfind(b"\xff\xda") : -2]
    with pytest.raises(PixelDataError, match="more than 200 scans"):
        decode_frame(data[:-2] + 300 * scan + b"\xff\xd9", JPEG_FULL_PROGRESSION, form_of(frame, 8))
