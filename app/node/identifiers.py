"""Which instance of which study an encoded data set is, read from its first elements only."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from app.errors import InstanceRefusedError

#: No more element headers than this are looked at, nor more of a deflated data set inflated.
MOST_HEADERS = 50_000
MOST_INFLATED_BYTES = 2**22

_KEYWORDS = {
    0x0008_0016: "SOPClassUID",
    0x0008_0018: "SOPInstanceUID",
    0x0020_000D: "StudyInstanceUID",
    0x0020_000E: "SeriesInstanceUID",
}
_LAST_TAG = max(_KEYWORDS)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MOST_UID_CHARACTERS = 64

_ITEM_GROUP = 0xFFFE
_ITEM = 0xE000
_UNDEFINED = 0xFFFF_FFFF
#: Value representations whose length takes four bytes, after two reserved ones (PS3.5 7.1.2).
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


@dataclass(frozen=True)
class Identifiers:
    """The UIDs of an instance, each a valid UID of at most 64 characters."""

    SOPClassUID: str
    SOPInstanceUID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str


@dataclass(frozen=True)
class _Encoding:
    implicit: bool
    order: str

    @cached_property
    def short(self) -> struct.Struct:
        """Header of an element with a length of two bytes: most are."""
        return struct.Struct(f"{self.order}HH2sH")


_IMPLICIT = _Encoding(True, "<")
_EXPLICIT = _Encoding(False, "<")
_BIG_ENDIAN = _Encoding(False, ">")


def read_identifiers(data: bytes | memoryview, TransferSyntaxUID: str) -> Identifiers:
    """Read the UIDs of an instance without decoding anything else.

    Parameters
    ----------
    data
        An encoded data set (PS3.5 section 7) without file meta information.
    TransferSyntaxUID
        How it is encoded.

    Raises
    ------
    InstanceRefusedError
        If a UID is absent or none, or the data set ends or makes no sense before it.
    """
    if TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        data = _inflated_start(data)
    found: dict[str, str] = {}
    for tag, value in _elements(memoryview(data), _encoding(TransferSyntaxUID)):
        if tag in _KEYWORDS:
            found[_KEYWORDS[tag]] = checked_uid(_KEYWORDS[tag], value.tobytes())
        if tag >= _LAST_TAG:
            break
    absent = [keyword for keyword in _KEYWORDS.values() if keyword not in found]
    if absent:
        raise InstanceRefusedError(f"data set without {', '.join(absent)}")
    return Identifiers(**found)


def checked_uid(keyword: str, value: bytes) -> str:
    """Take a UID out of its padded bytes.

    Raises
    ------
    InstanceRefusedError
        If it is not one (PS3.5 section 9.1). Leading zeros of a component, though wrong, occur
        and do no harm.
    """
    text = value.decode("latin-1").rstrip("\0 ")
    if len(text) > _MOST_UID_CHARACTERS or not _UID.fullmatch(text):
        raise InstanceRefusedError(f"{keyword} is not a UID")
    return text


def _encoding(TransferSyntaxUID: str) -> _Encoding:
    if TransferSyntaxUID == ImplicitVRLittleEndian:
        return _IMPLICIT
    return _BIG_ENDIAN if TransferSyntaxUID == ExplicitVRBigEndian else _EXPLICIT


def _inflated_start(data: bytes | memoryview) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MOST_INFLATED_BYTES)
    except zlib.error as exc:
        raise InstanceRefusedError("deflated data set that does not inflate") from exc


def _elements(data: memoryview, encoding: _Encoding) -> Iterator[tuple[int, memoryview]]:
    """Give the UIDs and what comes from the last of them on, all of the outermost level."""
    at = 0
    outer: list[_Encoding] = []  # of the sequences and items of undefined length around `at`
    for _ in range(MOST_HEADERS):
        if at == len(data) and not outer:
            return
        _check_room(data, at, 8)
        group, element, vr, length = encoding.short.unpack_from(data, at)
        if group == _ITEM_GROUP and element != _ITEM:
            if not outer:
                raise InstanceRefusedError("data set with a delimiter outside a sequence")
            encoding = outer.pop()
            at += 8
            continue
        start = at + 8
        if encoding.implicit or group == _ITEM_GROUP or vr in _LONG_VRS:
            vr, length, start = _header(data, at, encoding, is_item=group == _ITEM_GROUP)
        at = start
        if length == _UNDEFINED:
            outer.append(encoding)
            encoding = _IMPLICIT if vr == b"UN" else encoding  # PS3.5 6.2.2
            continue
        _check_room(data, at, length)
        at += length
        tag = group << 16 | element
        if not outer and (tag in _KEYWORDS or tag >= _LAST_TAG):
            yield tag, data[start:at]
    raise InstanceRefusedError(f"data set with more than {MOST_HEADERS} elements before its UIDs")


def _header(
    data: memoryview, at: int, encoding: _Encoding, is_item: bool
) -> tuple[bytes, int, int]:
    """Value representation, length of the value, and where it starts."""
    if encoding.implicit or is_item:
        return b"", struct.unpack_from(f"{encoding.order}L", data, at + 4)[0], at + 8
    vr = data[at + 4 : at + 6].tobytes()
    if vr not in _LONG_VRS:
        return vr, struct.unpack_from(f"{encoding.order}H", data, at + 6)[0], at + 8
    _check_room(data, at, 12)
    return vr, struct.unpack_from(f"{encoding.order}L", data, at + 8)[0], at + 12


def _check_room(data: memoryview, at: int, length: int) -> None:
    if at + length > len(data):
        raise InstanceRefusedError("data set ends inside an element")
