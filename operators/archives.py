"""Zip archives: their members are read from where they lie; nothing is unpacked to the disk.

Every member opens the archive for itself at its own place, so that threads and processes share
nothing and the archive's directory is read once, by `members_of`. Names of members are only ever
shown.

A member is unpacked to memory as a whole whenever it is opened, and its checksum compared: so no
header is believed of which the archive itself says that it is damaged. (Headers alone would take
0.4 instead of 2.1 ms for a deflated CT slice; those of a chosen series are unpacked anyway.)
"""

from __future__ import annotations

import errno
import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from operators.files import StoredFile, most_unpacked_bytes

#: 2,000 slices of 512 x 512 in one object.
MAX_MEMBER_BYTES = 2**30
#: An archive within an archive is read too, but not those within it.
MAX_INNER_ARCHIVE_BYTES = 2**28
#: The directory of an archive takes many times its size in memory; this is 200,000 members.
MAX_DIRECTORY_BYTES = 2**24

#: Larger members, of many frames or archives, are opened again and again: the last one is kept.
_KEPT_BYTES = 2**22
_keeping = RLock()

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field
_ENCRYPTED_FLAG = 1
_BROKEN_ARCHIVE_ERRORS = (
    BadZipFile,
    OSError,
    ArithmeticError,
    EOFError,
    LookupError,
    NotImplementedError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class ZipMember:
    """A file in a zip archive, stored or deflated.

    Parameters
    ----------
    archive
        The archive.
    name
        As the archive states it: shown, and nothing else.
    size, packed_size
        Bytes of the file, and of what the archive holds of it.
    crc32
        Checksum of the file.
    compress_type
        `zipfile.ZIP_STORED` or `zipfile.ZIP_DEFLATED`.
    header_offset
        Place of its local header in the archive.
    """

    archive: StoredFile
    name: str
    size: int
    packed_size: int
    crc32: int
    compress_type: int
    header_offset: int

    @property
    def path(self) -> Path:
        """The archive's path with the member's name below it, made harmless."""
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in self.name)
        parts = [part for part in re.split(r"[/\\]", shown) if part not in ("", ".", "..")]
        return self.archive.path.joinpath(*parts)

    @property
    def stamp(self) -> tuple[int, ...]:
        return self.size, self.crc32  # compared with the bytes at every opening

    def open(self) -> BinaryIO:
        if self.size <= _KEPT_BYTES:
            return io.BytesIO(_content(self))
        with _keeping:  # of several threads one unpacks, the others wait for it
            return io.BytesIO(_kept_content(self))


def is_archive(file: StoredFile) -> bool:
    """Whether a file begins as a zip archive does; False where it cannot be read."""
    try:
        with file.open() as stream:
            return stream.read(4) in (b"PK\3\4", b"PK\5\6", b"PK\7\x08")
    except OSError:
        return False


def members_of(archive: StoredFile) -> Iterator[tuple[StoredFile, str | None]]:
    """The files in a zip archive in order of name, each with the reason why it cannot be read.

    Where the archive itself cannot be read, or has no files, it takes their place.
    """
    members: list[ZipInfo] = []
    problem = _problem_of_inner(archive) if isinstance(archive, ZipMember) else None
    if not problem:
        try:
            with archive.open() as stream, ZipFile(_directory(stream)) as opened:
                members = [info for info in opened.infolist() if not info.filename.endswith("/")]
            problem = None if members else "empty archive"
        except _BROKEN_ARCHIVE_ERRORS:
            problem = "damaged archive: its directory cannot be read"
    if problem:
        yield archive, problem
        return
    archive_size = archive.size
    for info in sorted(members, key=lambda info: (info.filename, info.header_offset)):
        member = ZipMember(
            archive=archive,
            name=info.filename,
            size=info.file_size,
            packed_size=info.compress_size,
            crc32=info.CRC,
            compress_type=info.compress_type,
            header_offset=info.header_offset,
        )
        yield member, _problem_of(info, archive_size)


def _problem_of_inner(archive: ZipMember) -> str | None:
    if isinstance(archive.archive, ZipMember):
        return "archive too deep: in an archive within an archive"
    if archive.size > MAX_INNER_ARCHIVE_BYTES:
        return (
            f"archive too large: {archive.size} bytes within an archive, "
            f"at most {MAX_INNER_ARCHIVE_BYTES} are read"
        )
    return None


def _problem_of(info: ZipInfo, archive_size: int) -> str | None:
    size, packed = info.file_size, info.compress_size
    most = most_unpacked_bytes(packed, MAX_MEMBER_BYTES)
    if not _is_safe(info.filename):
        return f"unsafe name in an archive: {info.filename[:200]!a}"
    if info.flag_bits & _ENCRYPTED_FLAG:
        return "encrypted: cannot be read without a password"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"unknown compression: method {info.compress_type} of an archive"
    if not size:
        return "empty file"
    if not 0 <= info.header_offset <= archive_size - packed:
        return "damaged archive: this file would lie outside of it"
    if size > most:
        return f"unpacks to too much: {size} bytes from {packed}, at most {most} are read"
    return None


def _is_safe(name: str) -> bool:
    """Whether a name is one of a file below a folder; both separators are in use."""
    parts = re.split(r"[/\\]", name)
    return parts[0] != "" and ".." not in parts and re.match(r"[A-Za-z]:", name) is None


@lru_cache(maxsize=1)
def _kept_content(member: ZipMember) -> bytes:
    return _content(member)


def _content(member: ZipMember) -> bytes:
    """All bytes of a member; OSError where they are not those that its archive says."""
    with member.archive.open() as stream:
        stream.seek(member.header_offset)
        header = stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
            raise OSError(errno.EIO, "damaged archive, no file where its directory says")
        stream.seek(sum(_LOCAL_HEADER.unpack(header)[1:]), io.SEEK_CUR)
        content = stream.read(member.packed_size)
    if member.compress_type == ZIP_DEFLATED:
        try:  # one byte more than there should be, to see whether there is more
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.size + 1)
        except zlib.error as exc:
            raise OSError(errno.EIO, "damaged archive, the file cannot be unpacked") from exc
    if len(content) != member.size:
        raise OSError(
            errno.EIO, f"damaged archive, {member.size} bytes expected, {len(content)} found"
        )
    if zlib.crc32(content) != member.crc32:
        raise OSError(errno.EIO, "damaged archive, the file's checksum is wrong")
    return content


class _Directory:
    """A stream for `ZipFile`, which reads an archive's directory in one piece."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read

    def read(self, count: int = -1) -> bytes:
        too_many = MAX_DIRECTORY_BYTES + 1
        data = self._read(min(count, too_many) if count >= 0 else too_many)
        if len(data) == too_many:
            raise BadZipFile
        return data


def _directory(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, _Directory(stream))
