"""From the bytes of one DICOM file to a data set, with bounded memory whatever they claim.

`pydicom.dcmread` would allocate the length that any element states, and inflate a deflated data
set whatever it unpacks to; so its parts are called from here.
"""

from __future__ import annotations

import io
import re
import zlib
from dataclasses import dataclass
from typing import BinaryIO, cast

import pydicom.config
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from operators.errors import NothingUsableError
from operators.files import most_unpacked_bytes

# pydicom's warnings about odd values quote them, and they may be a patient's
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

#: A deflated data set (PS3.5 A.5) that inflates to more is refused.
MAX_INFLATED_BYTES = 2**30

PIXEL_DATA = Tag("PixelData")
_PIXEL_TAGS = frozenset((PIXEL_DATA, Tag("FloatPixelData"), Tag("DoubleFloatPixelData")))

_PREFIX_END = 132
#: Group 0002 or 0008 in little endian, or group 0008 in big endian.
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_CHUNK_BYTES = 2**16


@dataclass
class PixelStop:
    """Where the pixel data of a data set begins, and whether reading ends there or after it.

    What follows pixel data is never read: padding, signatures, or garbage that would replace
    elements of the header.

    Parameters
    ----------
    stream
        What the data set is read from.
    with_pixels
        Whether pixel data is read.
    tag, length, offset
        Of the pixel data once it was met: the bytes it claims to have, and the place of the first.
    """

    stream: BinaryIO
    with_pixels: bool
    tag: int | None = None
    length: int = 0
    offset: int = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if self.tag is not None:
            return True
        if tag not in _PIXEL_TAGS:
            return False
        self.tag, self.length, self.offset = int(tag), length, self.stream.tell()
        return not self.with_pixels


@dataclass(frozen=True)
class Parsed:
    """What was read of one DICOM file.

    Parameters
    ----------
    dataset
        With its `file_meta`, which always names a TransferSyntaxUID: where the file has none, it
        is the one that the bytes were found to be in.
    pixels
        Where its pixel data begins.
    size
        Bytes of the file, or of what a deflated file inflates to.
    prefixed
        Whether the file has the `DICM` prefix.
    """

    dataset: Dataset
    pixels: PixelStop
    size: int
    prefixed: bool

    @property
    def deflated(self) -> bool:
        syntax = self.dataset.file_meta.TransferSyntaxUID
        return bool(syntax == DeflatedExplicitVRLittleEndian)


def read_meta(stream: BinaryIO, size: int) -> tuple[FileMetaDataset, bool]:
    """Read the file meta information (PS3.10 section 7.1) from the start of a file.

    Returns
    -------
    meta : FileMetaDataset
        Empty where the file has none. The stream is left where the data set begins.
    prefixed : bool
        Whether the file has the `DICM` prefix.

    Raises
    ------
    NothingUsableError
        If the file does not begin as DICOM does.
    """
    start = stream.read(_PREFIX_END)
    prefixed = start[128:] == b"DICM"
    if not prefixed and start[:2] not in _BARE_STARTS:
        raise NothingUsableError("not DICOM")
    stream.seek(_PREFIX_END if prefixed else 0)
    group = stream.read(2)
    stream.seek(-len(group), io.SEEK_CUR)
    if group != b"\x02\x00":
        return FileMetaDataset(), prefixed
    meta = read_dataset(
        bounded(stream, size), False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    )
    return FileMetaDataset(meta), prefixed


def parse(stream: BinaryIO, size: int, *, with_pixels: bool) -> Parsed:
    """Read one DICOM file up to its pixel data, or with it.

    Raises
    ------
    NothingUsableError
        If this is no DICOM, or a bomb.
    OSError and `operators.elements.DAMAGED_DICOM_ERRORS`
        If the bytes cannot be had, or not be understood.
    """
    meta, prefixed = read_meta(stream, size)
    syntax = meta.get("TransferSyntaxUID") or None
    if not isinstance(syntax, UID):  # several, or of another kind
        syntax = None
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _inflated(stream, size - stream.tell())
        size = stream.getbuffer().nbytes
    source = bounded(stream, size)
    implicit, little = _encoding(source) if syntax is None else _stated_encoding(syntax)
    stop = PixelStop(source, with_pixels)
    dataset = read_dataset(source, implicit, little, stop_when=stop)
    if syntax is None:
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        implicit = bool(dataset.original_encoding[0])
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    dataset.file_meta = meta
    return Parsed(dataset, stop, size, prefixed)


def bounded(stream: BinaryIO, size: int) -> BinaryIO:
    """A stream to read from that is never asked for more bytes than it has left.

    A file allocates memory for as many as it is asked for, and damaged files claim gigabytes.

    Parameters
    ----------
    stream
        From which the result reads.
    size
        Number of its bytes.
    """
    return cast(BinaryIO, _Bounded(stream, size))


class _Bounded:
    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read
        self._size = size

    def read(self, count: int) -> bytes:
        if count > _CHUNK_BYTES:
            count = min(count, max(0, self._size - self.tell()))
        return self._read(count)


def _inflated(stream: BinaryIO, packed: int) -> io.BytesIO:
    """The rest of a stream, inflated."""
    most = most_unpacked_bytes(packed, MAX_INFLATED_BYTES)
    inflator = zlib.decompressobj(-zlib.MAX_WBITS)  # no header and no checksum
    plain = io.BytesIO()
    while not inflator.eof:
        chunk = inflator.unconsumed_tail or stream.read(_CHUNK_BYTES)
        data = inflator.decompress(chunk, _CHUNK_BYTES)
        if not chunk and not data:
            raise NothingUsableError("deflated data set is cut short")
        if plain.tell() + len(data) > most:
            raise NothingUsableError(
                f"deflated data set is too large: over {most} bytes from {packed}"
            )
        plain.write(data)
    plain.seek(0)
    return plain


def _stated_encoding(syntax: object) -> tuple[bool, bool]:
    """Whether a transfer syntax is implicit, and little endian (PS3.5 A.4: all but two are)."""
    return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian


def _encoding(source: BinaryIO) -> tuple[bool, bool]:
    """Whether a data set seems implicit, and little endian; from its first element."""
    head = source.read(6)
    source.seek(-len(head), io.SEEK_CUR)
    if not re.fullmatch(rb"[A-Z]{2}", head[4:6]):
        return True, True
    return False, not (head[0] == 0 and head[1] > 0)
