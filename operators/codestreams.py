"""What a compressed frame says of itself, read before any memory is given to it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from operators.errors import PixelDataError

_FILL = 0xFF
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_START_OF_TILE_PART = 0x90
#: SOF0 to SOF15 of ITU-T T.81 table B.1 (C4, C8 and CC are other segments of that range), and
#: SOF55 of JPEG-LS, ITU-T T.87 C.2.2.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_PROGRESSIVE = 0xC2
#: Every scan of a progressive image costs a pass over all of it. Ten are usual; the most that can
#: refine 12 bits of a band are some hundred.
_MOST_SCANS = 200

#: The first box of a JP2 file, ITU-T T.800 I.5.1.
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
#: SIZ, ITU-T T.800 A.5.1: from Lsiz to YRsiz of the first component.
_SIZ = struct.Struct(">HH8IH3B")
#: SOT, A.4.2: marker, Lsot, Isot and Psot; TPsot and TNsot follow.
_SOT = struct.Struct(">2sHHI")

_RLE_HEADER = struct.Struct("<16I")


@dataclass(frozen=True, kw_only=True)
class CodestreamHeader:
    """The image as its codestream describes it.

    Parameters
    ----------
    rows, columns
        Size in pixels.
    components
        Samples per pixel.
    precision
        Bits of each sample.
    signed
        Whether samples are signed; JPEG and JPEG-LS cannot say, so they never are.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool = False


def read_jpeg(data: bytes) -> CodestreamHeader:
    """Read the frame header of a JPEG or JPEG-LS image.

    Parameters
    ----------
    data
        An interchange format of ITU-T T.81 annex B or T.87 annex C.

    Raises
    ------
    PixelDataError
        If there is no frame header, or no end of the image after it: entropy-coded data never
        hold that marker, and libjpeg would fill what is missing with grey and say nothing.
    """
    if data[:2] != b"\xff\xd8":
        raise PixelDataError("no JPEG image: it does not begin with a start marker")
    position = 2
    while True:
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        segment = data[position : position + 4]
        if len(segment) < 4 or segment[0] != _FILL:
            raise PixelDataError("JPEG markers are damaged or cut short")
        marker, length = segment[1], int.from_bytes(segment[2:], "big")
        if marker in _FRAME_HEADERS:
            break
        if marker in (_START_OF_SCAN, _END_OF_IMAGE) or length < 2:
            raise PixelDataError("JPEG image without a frame header")
        position += 2 + length
    header = data[position + 4 : position + 10]
    if len(header) < 6 or data.rfind(b"\xff\xd9", position) < 0:
        raise PixelDataError("JPEG image is cut short: it has no end marker")
    if marker == _PROGRESSIVE and data.count(b"\xff\xda", position) > _MOST_SCANS:
        raise PixelDataError(f"JPEG image has more than {_MOST_SCANS} scans")
    precision, rows, columns, components = struct.unpack(">BHHB", header)
    return CodestreamHeader(rows=rows, columns=columns, components=components, precision=precision)


def bare_jpeg_2000(data: bytes) -> bytes:
    """Take a JPEG 2000 codestream out of its JP2 boxes, which DICOM forbids and some writers add.

    Parameters
    ----------
    data
        A codestream (PS3.5 A.4.4), or a JP2 file with one (ITU-T T.800 annex I).

    Raises
    ------
    PixelDataError
        If the boxes hold no codestream.
    """
    if not data.startswith(_JP2_SIGNATURE):
        return data
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = 8
        if length == 1 and position + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, position + 8)
            content = 16
        if kind == b"jp2c":
            return data[position + content : position + length if length else None]
        if length < content:
            break
        position += length
    raise PixelDataError("JP2 file without a codestream")


def read_jpeg_2000(data: bytes) -> CodestreamHeader:
    """Read the SIZ marker of a JPEG 2000 or HTJ2K codestream, and see that all tiles are there.

    Parameters
    ----------
    data
        A codestream of ITU-T T.800 annex A or T.814, without JP2 boxes.

    Raises
    ------
    PixelDataError
        If it does not begin with SOC and SIZ, is subsampled, has no end marker, or lacks a tile:
        OpenJPEG would leave that black and say nothing.
    """
    if data[:4] != b"\xff\x4f\xff\x51" or len(data) < 4 + _SIZ.size:
        raise PixelDataError("no JPEG 2000 codestream: it does not begin with SOC and SIZ")
    length, _, *numbers = _SIZ.unpack_from(data, 4)
    right, bottom, left, top, tile_width, tile_height, tiles_left, tiles_top = numbers[:8]
    components, depth, *steps = numbers[8:]
    if steps != [1, 1] or not tile_width or not tile_height:
        raise PixelDataError("JPEG 2000 codestream is subsampled, or its tiles have no size")
    if data.rfind(b"\xff\xd9", 4 + length) < 0:
        raise PixelDataError("JPEG 2000 codestream is cut short: it has no end marker")
    expected = -(-(right - tiles_left) // tile_width) * -(-(bottom - tiles_top) // tile_height)
    found = len(_tiles(data, 4 + length))
    if found != expected:
        raise PixelDataError(f"JPEG 2000 codestream holds {found} of {expected} tiles")
    return CodestreamHeader(
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=depth >= 0x80,
    )


def _tiles(data: bytes, position: int) -> set[int]:
    """Indices of the tiles whose parts lie wholly in the codestream after `position`."""
    while data[position : position + 1] == b"\xff" and data[position + 1] != _START_OF_TILE_PART:
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    found: set[int] = set()
    while position + _SOT.size <= len(data):
        marker, _, tile, length = _SOT.unpack_from(data, position)
        if marker != b"\xff\x90" or position + length > len(data):
            break
        found.add(tile)
        if length == 0:  # the last part, up to the end marker
            break
        position += max(length, _SOT.size)
    return found


def rle_segments(data: bytes) -> list[memoryview]:
    """Split a frame of RLE Lossless into its segments (PS3.5 G.5), the highest bytes first.

    Raises
    ------
    PixelDataError
        If the header is cut short, or an offset lies outside the data or out of order.
    """
    if len(data) < _RLE_HEADER.size:
        raise PixelDataError(f"RLE header is cut short: {len(data)} bytes of {_RLE_HEADER.size}")
    count, *offsets = _RLE_HEADER.unpack_from(data)
    if not 1 <= count <= 15:
        raise PixelDataError(f"RLE header with {count} segments")
    bounds = [*offsets[:count], len(data)]
    if bounds[0] < _RLE_HEADER.size or bounds != sorted(bounds):
        raise PixelDataError("RLE segments lie outside the data or overlap")
    view = memoryview(data)
    return [view[start:end] for start, end in pairwise(bounds)]
