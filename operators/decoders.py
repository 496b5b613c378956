"""One frame of pixel data, from bytes in any transfer syntax to an array of stored values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
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

from operators.codestreams import (
    CodestreamHeader,
    bare_jpeg_2000,
    read_jpeg,
    read_jpeg_2000,
    rle_segments,
)
from operators.errors import PixelDataError

#: Far above any CT matrix, so that a damaged header asks for no more memory than this.
MOST_PIXELS = 2**26

#: Absent from pydicom's constants; the JPEG ones, long retired, live on in archives (PS3.6 A.1).
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
JPEG_SPECTRAL_SELECTION = "1.2.840.10008.1.2.4.53"
JPEG_FULL_PROGRESSION = "1.2.840.10008.1.2.4.55"


@dataclass(frozen=True, kw_only=True)
class FrameFormat:
    """What the Image Pixel module says of a monochrome frame (PS3.3 C.7.6.3).

    Parameters
    ----------
    rows, columns
        Size in pixels.
    bits_allocated
        8, 16 or 32.
    bits_stored
        The low bits of each sample that count; those above may hold anything.
    signed
        Whether PixelRepresentation is 1.
    as_words
        Whether PixelData has value representation OW. It matters to 8-bit big-endian data alone,
        whose bytes then lie swapped in pairs (PS3.5 7.3, until big endian was retired).

    Raises
    ------
    PixelDataError
        If no frame can have this form.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    as_words: bool = False

    def __post_init__(self) -> None:
        if self.bits_allocated not in (8, 16, 32):
            raise PixelDataError(f"expected BitsAllocated 8, 16 or 32, found {self.bits_allocated}")
        if not 1 <= self.bits_stored <= self.bits_allocated:
            raise PixelDataError(
                f"expected BitsStored 1 to {self.bits_allocated}, found {self.bits_stored}"
            )
        if self.rows < 1 or self.columns < 1 or self.rows * self.columns > MOST_PIXELS:
            raise PixelDataError(
                f"expected 1 to {MOST_PIXELS} pixels, found {self.rows} x {self.columns}"
            )

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of a stored value, in this machine's byte order."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // 8}")


@dataclass(frozen=True)
class Decoder:
    """A library's way to decode one frame.

    Parameters
    ----------
    name
        The library and its codec, for reports.
    package
        The distribution on PyPI, and the module, that it needs.
    decode
        From the bytes of a frame to `(rows, columns)` stored values. Raises PixelDataError.
    """

    name: str
    package: str
    decode: Callable[[bytes, FrameFormat], NDArray[np.generic]]

    def is_available(self) -> bool:
        """Whether its package is installed."""
        return find_spec(self.package) is not None


def decoder_for(TransferSyntaxUID: str) -> Decoder:
    """Name the decoder of a transfer syntax: the fastest measured that says when data are bad.

    Raises
    ------
    PixelDataError
        If there is none, or its package is missing.
    """
    decoder = _DECODERS.get(TransferSyntaxUID)
    if decoder is None:
        raise PixelDataError(f"no decoder exists for {_named(TransferSyntaxUID)}")
    if not decoder.is_available():
        raise PixelDataError(
            f"no decoder is installed for {_named(TransferSyntaxUID)}; install {decoder.package}"
        )
    return decoder


def decode_frame(data: bytes, TransferSyntaxUID: str, form: FrameFormat) -> NDArray[np.generic]:
    """Decode one monochrome frame. Threads may call it at once: the codecs release the GIL.

    Parameters
    ----------
    data
        The bytes of the frame, its fragments joined; a deflated data set is already inflated.
        Padding after its end is ignored.
    TransferSyntaxUID
        How they are encoded (PS3.5 section 10).
    form
        What the data set says of the frame.

    Returns
    -------
    numpy.ndarray
        `(rows, columns)` stored values, int8, int16, int32, uint8, uint16 or uint32. It may be
        a read-only view of `data`.

    Raises
    ------
    PixelDataError
        If there is no decoder, or the data are damaged, cut short or of another size than `form`.

    Notes
    -----
    No codestream carries a checksum: bytes that changed inside compressed data, its length and
    markers being right, may decode to wrong values in every library.
    """
    decoder = decoder_for(TransferSyntaxUID)
    try:
        return decoder.decode(data, form)
    except PixelDataError as exc:
        raise PixelDataError(
            f"pixel data in {_named(TransferSyntaxUID)} cannot be decoded: {exc}"
        ) from exc


def _named(TransferSyntaxUID: str) -> str:
    return f"transfer syntax {UID(TransferSyntaxUID).name} ({TransferSyntaxUID})"


# --- native and RLE


def _native(data: bytes, form: FrameFormat) -> NDArray[np.generic]:
    return _samples(data, form.dtype.newbyteorder("<"), form)


def _native_big_endian(data: bytes, form: FrameFormat) -> NDArray[np.generic]:
    if form.as_words and form.bits_allocated == 8:
        even = len(data) - len(data) % 2
        data = np.frombuffer(data[:even], ">u2").astype("<u2").tobytes()
    return _samples(data, form.dtype.newbyteorder(">"), form)


def _samples(data: bytes, dtype: np.dtype[Any], form: FrameFormat) -> NDArray[np.generic]:
    _check_amount(data, dtype.itemsize, form)
    stored = np.frombuffer(data, dtype, form.rows * form.columns)
    native = stored.astype(form.dtype, copy=False).reshape(form.rows, form.columns)
    return _low_bits(native, form.bits_stored, form)


def _rle(data: bytes, form: FrameFormat) -> NDArray[np.generic]:
    segments = rle_segments(data)
    if len(segments) != form.bits_allocated // 8:
        raise PixelDataError(
            f"expected {form.bits_allocated // 8} RLE segments, found {len(segments)}"
        )
    pixels = form.rows * form.columns
    planes = np.empty((pixels, len(segments)), np.uint8)
    for plane, segment in enumerate(reversed(segments)):
        # its dicomrle_decode is no faster, but believes the offsets and reads outside the data
        unpacked = _run("packbits_decode", segment, out=pixels + form.columns)
        _check_amount(unpacked, 1, form)
        planes[:, plane] = np.frombuffer(unpacked, np.uint8, pixels)
    stored = planes.view(form.dtype.newbyteorder("<")).astype(form.dtype, copy=False)
    return _low_bits(stored.reshape(form.rows, form.columns), form.bits_stored, form)


def _check_amount(data: bytes, bytes_per_pixel: int, form: FrameFormat) -> None:
    """Padding is ignored; another row that is not padding means that Rows or Columns is wrong."""
    row = form.columns * bytes_per_pixel
    expected = form.rows * row
    if len(data) < expected:
        raise PixelDataError(f"cut short: {expected} bytes expected, {len(data)} found")
    if len(data) >= expected + row and any(data[expected:]):
        raise PixelDataError(f"too long: {expected} bytes expected, {len(data)} found")


# --- codestreams with a header of their own


def _jpeg(data: bytes, form: FrameFormat) -> NDArray[np.generic]:
    _check_header(read_jpeg(data), form)
    return _low_bits(_run("jpeg8_decode", data), form.bits_stored, form)


def _jpeg_ls(data: bytes, form: FrameFormat) -> NDArray[np.generic]:
    header = read_jpeg(data)
    _check_header(header, form)
    # it codes unsigned samples alone: the sign is its own highest bit, whatever BitsStored says
    bits = header.precision if form.signed else form.bits_allocated
    return _low_bits(_run("jpegls_decode", data), bits, form)


def _jpeg_2000(data: bytes, form: FrameFormat) -> NDArray[np.generic]:
    codestream = bare_jpeg_2000(data)
    header = read_jpeg_2000(codestream)
    _check_header(header, form)
    # some writers code signed samples as unsigned ones, or the reverse: only the bits are right
    bits = form.bits_allocated if header.signed == form.signed else header.precision
    return _low_bits(_run("jpeg2k_decode", codestream), bits, form)


def _check_header(header: CodestreamHeader, form: FrameFormat) -> None:
    if (header.rows, header.columns, header.components) != (form.rows, form.columns, 1):
        raise PixelDataError(
            f"expected {form.rows} x {form.columns} pixels of 1 sample, found "
            f"{header.rows} x {header.columns} of {header.components}"
        )
    if header.precision > form.bits_allocated:
        raise PixelDataError(
            f"expected at most {form.bits_allocated} bits a sample, found {header.precision}"
        )


# --- what they share


def _run(codec: str, data: bytes | memoryview, **options: int) -> Any:
    """Call a function of imagecodecs, which is imported with the first compressed frame only."""
    import imagecodecs

    try:
        return getattr(imagecodecs, codec)(data, **options)
    except (RuntimeError, ValueError) as exc:  # the base of its codecs' errors, and a bad array
        raise PixelDataError(" ".join(str(exc).split())[:200]) from exc


def _low_bits(stored: NDArray[Any], bits: int, form: FrameFormat) -> NDArray[np.generic]:
    """Take the low bits of each sample for a number of the wanted type (PS3.5 8.1.1)."""
    if stored.shape != (form.rows, form.columns):
        raise PixelDataError(f"expected {form.rows} x {form.columns} pixels, found {stored.shape}")
    same_size = stored.dtype.itemsize == form.dtype.itemsize
    values: NDArray[Any] = stored.view(form.dtype) if same_size else stored.astype(form.dtype)
    spare = form.bits_allocated - bits
    if spare:
        values = values << spare
        values >>= spare
    return values


_NUMPY = Decoder("NumPy", "numpy", _native)
# OpenJPH decodes HTJ2K in 0.6 of OpenJPEG's time, but imagecodecs swallows its errors and hands
# out a half-empty frame.
_OPENJPEG = Decoder("imagecodecs JPEG2K (OpenJPEG)", "imagecodecs", _jpeg_2000)
_LIBJPEG = Decoder("imagecodecs JPEG8 (libjpeg-turbo)", "imagecodecs", _jpeg)
_CHARLS = Decoder("imagecodecs JPEGLS (CharLS)", "imagecodecs", _jpeg_ls)

_DECODERS = {
    ImplicitVRLittleEndian: _NUMPY,
    ExplicitVRLittleEndian: _NUMPY,
    ENCAPSULATED_UNCOMPRESSED: _NUMPY,
    DeflatedExplicitVRLittleEndian: _NUMPY,
    ExplicitVRBigEndian: Decoder("NumPy, bytes swapped", "numpy", _native_big_endian),
    RLELossless: Decoder("imagecodecs PackBits", "imagecodecs", _rle),
    JPEGBaseline8Bit: _LIBJPEG,
    JPEGExtended12Bit: _LIBJPEG,
    JPEG_SPECTRAL_SELECTION: _LIBJPEG,
    JPEG_FULL_PROGRESSION: _LIBJPEG,
    JPEGLossless: _LIBJPEG,
    JPEGLosslessSV1: _LIBJPEG,
    JPEGLSLossless: _CHARLS,
    JPEGLSNearLossless: _CHARLS,
    JPEG2000Lossless: _OPENJPEG,
    JPEG2000: _OPENJPEG,
    HTJ2KLossless: _OPENJPEG,
    HTJ2KLosslessRPCL: _OPENJPEG,
    HTJ2K: _OPENJPEG,
}
