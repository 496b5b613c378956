from __future__ import annotations

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.pixels.encoders import JPEGLSLosslessEncoder, RLELosslessEncoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from operators import decoders
from operators.decoders import (
    ENCAPSULATED_UNCOMPRESSED,
    FrameFormat,
    decode_frame,
    decoder_for,
)
from operators.errors import PixelDataError
from tests.unit.operators.coded_frames import (
    COLUMNS,
    KINDS,
    ROWS,
    Frame,
    check,
    ct_like,
    form_of,
    plugins_of_pydicom,
    pydicom_values,
)

# --- encoders


def by_pydicom(encoder: object, frame: Frame, bits_stored: int, **options: object) -> bytes:
    return encoder.encode(
        frame,
        rows=frame.shape[0],
        columns=frame.shape[1],
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
        bits_allocated=8 * frame.itemsize,
        bits_stored=bits_stored,
        pixel_representation=int(frame.dtype.kind == "i"),
        **options,
    )


def rle(frame: Frame, bits_stored: int = 16) -> bytes:
    return by_pydicom(RLELosslessEncoder, frame, bits_stored, encoding_plugin="pydicom")


def low_bits(frame: Frame, bits: int) -> Frame:
    """The bits that count, as the unsigned samples that JPEG and JPEG-LS code."""
    return frame.view(f"u{frame.itemsize}") & np.array(2**bits - 1, f"u{frame.itemsize}")


def jpeg_lossless(frame: Frame, bits: int = 16, predictor: int = 1) -> bytes:
    return bytes(
        imagecodecs.jpeg8_encode(
            low_bits(frame, bits), lossless=True, predictor=predictor, bitspersample=bits
        )
    )


def jpeg_2000(frame: Frame, bits: int = 16, **options: object) -> bytes:
    options = {
        "level": 0,
        "reversible": True,
        "codecformat": "J2K",
        "bitspersample": bits,
    } | options
    return bytes(imagecodecs.jpeg2k_encode(frame, **options))


def htj2k(frame: Frame, **options: object) -> bytes:
    if not hasattr(imagecodecs, "htj2k_encode"):
        pytest.skip("this imagecodecs has no HTJ2K encoder")
    return bytes(imagecodecs.htj2k_encode(frame, **({"reversible": True} | options)))


def jpeg_ls(frame: Frame, bits: int = 16) -> bytes:
    return by_pydicom(JPEGLSLosslessEncoder, frame, bits)


STREAMS: dict[str, Callable[[Frame], bytes]] = {
    RLELossless: rle,
    JPEGLosslessSV1: jpeg_lossless,
    JPEGLSLossless: jpeg_ls,
    JPEG2000Lossless: jpeg_2000,
    HTJ2KLossless: htj2k,
}


# --- native


@pytest.mark.parametrize(("dtype", "bits"), [*KINDS, ("i1", 7), ("u4", 24), ("i4", 32)])
def test_native_frames_in_either_byte_order(dtype, bits):
    frame = ct_like(dtype, bits)
    form = form_of(frame, bits)
    pad = b"\0" * (frame.nbytes % 2)
    for syntax in (
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        ENCAPSULATED_UNCOMPRESSED,
    ):
        check(frame.astype(frame.dtype.newbyteorder("<")).tobytes() + pad, syntax, form, frame)
    big = frame.astype(frame.dtype.newbyteorder(">"))
    check(big.tobytes() + pad, ExplicitVRBigEndian, form, frame)


def test_eight_bit_big_endian_words_lie_in_swapped_pairs():
    frame = ct_like("u1", 8)
    padded = frame.tobytes() + b"\0"
    form = FrameFormat(
        rows=ROWS, columns=COLUMNS, bits_allocated=8, bits_stored=8, signed=False, as_words=True
    )
    swapped = np.frombuffer(padded, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
    check(swapped, ExplicitVRBigEndian, form, frame)
    check(padded, ExplicitVRLittleEndian, form, frame)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLosslessSV1]
)
def test_bits_above_bits_stored_do_not_count(syntax, signed):
    frame = ct_like("i2" if signed else "u2", 12)
    rubbish = np.random.default_rng(3).integers(0, 16, frame.shape, np.uint16) << 12
    dirty = low_bits(frame, 12) | rubbish
    if syntax == ExplicitVRBigEndian:
        data = dirty.astype(">u2").tobytes()
    else:
        data = STREAMS.get(syntax, np.ndarray.tobytes)(dirty)
    check(data, syntax, form_of(frame, 12), frame)


# --- lossless


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_rle_is_exact(dtype, bits):
    frame = ct_like(dtype, bits)
    check(rle(frame, bits), RLELossless, form_of(frame, bits), frame)


@pytest.mark.parametrize("dtype", ["u4", "i4"])
def test_rle_of_32_bits_is_exact(dtype):
    frame = ct_like(dtype, 24)
    planes = frame.astype(f">{dtype}").view(np.uint8).reshape(-1, 4).T
    segments = [imagecodecs.packbits_encode(plane.tobytes()) for plane in planes]
    offsets = np.cumsum([64, *map(len, segments[:-1])])
    data = struct.pack("<16I", 4, *offsets, *[0] * 11) + b"".join(segments)
    check(data, RLELossless, form_of(frame, 24), frame)


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_jpeg_lossless_is_exact(dtype, bits, predictor):
    frame = ct_like(dtype, bits)
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    check(jpeg_lossless(frame, bits, predictor), syntax, form_of(frame, bits), frame)


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_jpeg_ls_is_exact(dtype, bits):
    frame = ct_like(dtype, bits)
    check(jpeg_ls(frame, bits), JPEGLSLossless, form_of(frame, bits), frame)


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_jpeg_2000_is_exact(dtype, bits):
    frame = ct_like(dtype, bits)
    check(jpeg_2000(frame, bits), JPEG2000Lossless, form_of(frame, bits), frame)
    check(jpeg_2000(frame, bits, codecformat="JP2"), JPEG2000, form_of(frame, bits), frame)


def test_jpeg_2000_of_several_tiles_is_exact():
    frame = ct_like("u2", 16)
    stream = io.BytesIO()  # tiles as wide as the frame: Pillow writes narrower ones wrongly
    Image.fromarray(frame).save(stream, "JPEG2000", tile_size=(COLUMNS, 16), no_jp2=True)
    assert stream.getvalue().count(b"\xff\x90\x00\x0a") == 3
    check(stream.getvalue(), JPEG2000Lossless, form_of(frame, 16), frame)
    tiled = htj2k(frame, tile=(32, 16))
    assert tiled.count(b"\xff\x90\x00\x0a") == 6
    check(tiled, HTJ2KLossless, form_of(frame, 16), frame)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_htj2k_is_exact(dtype, bits, syntax):
    frame = ct_like(dtype, bits)
    check(htj2k(frame), syntax, form_of(frame, bits), frame)


@pytest.mark.parametrize("signed", [False, True])
def test_sign_of_a_jpeg_2000_codestream_may_differ_from_the_header(signed):
    frame = ct_like("i2" if signed else "u2", 12)
    bits = low_bits(frame, 12)
    other = bits if signed else (bits.view(np.int16) << 4) >> 4
    assert other.dtype.kind != frame.dtype.kind
    check(jpeg_2000(other, 12), JPEG2000Lossless, form_of(frame, 12), frame)


def test_jpeg_2000_of_8_bits_in_16_keeps_its_sign():
    frame = ct_like("i1", 8)
    wide = frame.astype(np.int16)
    check(jpeg_2000(frame, 8), JPEG2000Lossless, form_of(wide, 8), wide)
    check(jpeg_2000(frame.view(np.uint8), 8), JPEG2000Lossless, form_of(wide, 8), wide)


# --- lossy


def test_jpeg_baseline_stays_near():
    frame = ct_like("u1", 8)
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95)
    found = decode_frame(stream.getvalue(), JPEGBaseline8Bit, form_of(frame, 8))
    assert np.abs(found[8:16].astype(int) - frame[8:16]).max() <= 4
    np.testing.assert_array_equal(
        found, pydicom_values(stream.getvalue(), JPEGBaseline8Bit, form_of(frame, 8))
    )


def test_near_lossless_jpeg_ls_of_signed_samples_keeps_its_bound():
    frame = ct_like("i2", 16) // 4  # away from the end of the range, where it could wrap round
    data = bytes(imagecodecs.jpegls_encode(low_bits(frame, 16), level=3))
    found = decode_frame(data, JPEGLSNearLossless, form_of(frame, 16))
    assert np.abs(found.astype(int) - frame).max() == 3
    np.testing.assert_array_equal(
        found, pydicom_values(data, JPEGLSNearLossless, form_of(frame, 16))
    )


def test_lossy_jpeg_2000_stays_near():
    frame = ct_like("i2", 12)
    data = jpeg_2000(frame, 12, reversible=False, level=70)
    found = decode_frame(data, JPEG2000, form_of(frame, 12))
    assert 0 < np.abs(found.astype(int) - frame).max() <= 8
    if plugins_of_pydicom(JPEG2000):
        np.testing.assert_array_equal(found, pydicom_values(data, JPEG2000, form_of(frame, 12)))


def test_lossy_htj2k_stays_near():
    frame = ct_like("i2", 16)
    data = htj2k(frame, reversible=False, level=1e-4)
    found = decode_frame(data, HTJ2K, form_of(frame, 16))
    assert 0 < np.abs(found.astype(int) - frame).max() <= 64


# --- which decoder


def test_an_unknown_syntax_is_named():
    expected = (
        r"^no decoder exists for transfer syntax MPEG2 Main .* \(1\.2\.840\.10008\.1\.2\.4\.100\)$"
    )
    with pytest.raises(PixelDataError, match=expected):
        decode_frame(b"", MPEG2MPML, form_of(ct_like(), 16))
    with pytest.raises(PixelDataError, match=r"^no decoder exists for transfer syntax 1\.2\.3"):
        decoder_for("1.2.3")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(decoders, "find_spec", lambda name: None)
    with pytest.raises(PixelDataError, match=r"JPEG-LS .*4\.80\); install imagecodecs$"):
        decoder_for(JPEGLSLossless)


def test_every_decoder_says_what_it_is():
    assert decoder_for(ExplicitVRLittleEndian).name == "NumPy"
    assert "CharLS" in decoder_for(JPEGLSLossless).name
    assert "libjpeg-turbo" in decoder_for(JPEGExtended12Bit).name
    assert "OpenJPEG" in decoder_for(HTJ2K).name
    assert decoder_for(RLELossless).package == "imagecodecs"


def test_threads_may_decode_at_once():
    frames = [ct_like() + np.int16(n) for n in range(8)]
    work = [(STREAMS[s](frame), s, form_of(frame, 16)) for frame in frames for s in STREAMS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda args: decode_frame(*args), work))
    for n, values in enumerate(found):
        np.testing.assert_array_equal(values, frames[n // len(STREAMS)])
