"""The bytes of one frame of pixel data, read from their place in the file."""

from __future__ import annotations

from typing import BinaryIO

from pydicom.encaps import get_frame
from pydicom.uid import UID, ExplicitVRBigEndian, UncompressedTransferSyntaxes

from operators.decoders import FrameFormat
from operators.dicom_file import PixelElement, read_dataset
from operators.dicom_stream import bounded
from operators.elements import DAMAGED_DICOM_ERRORS, numbers_of, values_of
from operators.errors import PixelDataError
from operators.series import Frame

#: In explicit VR, OB and OW are followed by two bytes without meaning and four of the value's
#: length; then comes the value (PS3.5 7.1.2).
_VR_TO_VALUE_BYTES = 8


def is_encapsulated(TransferSyntaxUID: str) -> bool:
    """Whether pixel data comes in fragments: in all transfer syntaxes but four (PS3.5 A.4)."""
    return TransferSyntaxUID not in UncompressedTransferSyntaxes


def lies_in_words(frame: Frame) -> bool:
    """Whether 8-bit pixels lie swapped in pairs: those of big-endian OW (PS3.5 7.3).

    Raises
    ------
    PixelDataError
        If the file cannot be read.
    """
    instance = frame.instance
    if (
        instance.header.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
        or instance.pixels is None
        or numbers_of(instance.header, "BitsAllocated", 1) != (8.0,)
    ):
        return False
    try:
        with instance.file.open() as stream:
            stream.seek(instance.pixels.offset - _VR_TO_VALUE_BYTES)
            return stream.read(2) == b"OW"
    except OSError as exc:
        raise PixelDataError(f"cannot be read: {exc.strerror or exc}") from exc


def read_frame(frame: Frame, form: FrameFormat) -> bytes:
    """Read one frame as it is stored, compressed or not.

    Parameters
    ----------
    frame
        The frame.
    form
        Its size, which uncompressed pixel data is cut by.

    Returns
    -------
    bytes
        Uncompressed: rows x columns pixels, and one more where words are to be whole. Compressed:
        the code stream, all its fragments joined (PS3.5 A.4), whether there is an offset table or
        not.

    Raises
    ------
    PixelDataError
        If there are none, or fewer than the header says, or the file has changed.
    """
    instance = frame.instance
    syntax = instance.header.file_meta.TransferSyntaxUID
    try:
        if instance.stamp and instance.file.stamp != instance.stamp:
            raise PixelDataError("the file changed since it was listed")
        if instance.pixels is None:
            return _inflated(frame, form)
        with instance.file.open() as stream:
            stream.seek(instance.pixels.offset)
            if is_encapsulated(syntax):
                return _encapsulated(stream, instance.file.size, frame)
            return _native(stream, instance.pixels, frame.number, form, syntax)
    except OSError as exc:
        raise PixelDataError(f"cannot be read: {exc.strerror or exc}") from exc


def _native(
    stream: BinaryIO, pixels: PixelElement, number: int, form: FrameFormat, syntax: str
) -> bytes:
    if pixels.length is None:
        raise PixelDataError(f"compressed pixel data in a file that claims {UID(syntax).name}")
    size = form.rows * form.columns * (form.bits_allocated // 8)
    start = (number - 1) * size
    if form.as_words and start % 2:
        raise PixelDataError(f"frame {number} begins within a word of big-endian pixel data")
    if form.as_words:
        size += size % 2
    if start + size > pixels.length:
        raise PixelDataError(
            f"pixel data is cut short: {start + size} bytes expected, {pixels.length} found"
        )
    stream.seek(start, 1)
    data = stream.read(size)
    if len(data) < size:
        raise PixelDataError(f"the file changed: {size} bytes expected, {len(data)} found")
    return data


def _encapsulated(stream: BinaryIO, size: int, frame: Frame) -> bytes:
    header = frame.instance.header
    count = int((numbers_of(header, "NumberOfFrames", 1) or (1.0,))[0])
    offsets = values_of(header, "ExtendedOffsetTable")
    lengths = values_of(header, "ExtendedOffsetTableLengths")
    table = (offsets[0], lengths[0]) if offsets and lengths else None
    try:
        return get_frame(
            bounded(stream, size), frame.number - 1, number_of_frames=count, extended_offsets=table
        )
    except DAMAGED_DICOM_ERRORS as exc:
        raise PixelDataError(f"frame {frame.number} cannot be found in the pixel data") from exc


def _inflated(frame: Frame, form: FrameFormat) -> bytes:
    """From a deflated data set, which is read as a whole."""
    data = read_dataset(frame.instance.file).get("PixelData")
    if not isinstance(data, bytes):
        raise PixelDataError("no pixel data")
    size = form.rows * form.columns * (form.bits_allocated // 8)
    found = data[(frame.number - 1) * size : frame.number * size]
    if len(found) < size:
        raise PixelDataError(
            f"pixel data is cut short: {frame.number * size} bytes expected, {len(data)} found"
        )
    return found
