"""Files as they are stored: opened for their bytes, shown by their path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

#: What unpacks to less than this is read however well it was packed: an empty mask packs 1000:1.
_ALWAYS_UNPACKED_BYTES = 256 * 2**20
#: What unpacks to more must not have been packed better than this; images reach 10:1.
_MOST_UNPACKED_RATIO = 200


class StoredFile(Protocol):
    """Something with bytes and a path that people know it by.

    Equal files are equal values, and all can be pickled.
    """

    @property
    def path(self) -> Path:
        """Where it lies, for messages; not every stored file can be opened by this path."""
        ...

    @property
    def size(self) -> int:
        """Number of bytes."""
        ...

    @property
    def stamp(self) -> tuple[int, ...]:
        """Numbers that change when somebody replaces the bytes; raises OSError."""
        ...

    def open(self) -> BinaryIO:
        """Open for reading at its start, seekable.

        Opening and every use of the stream raise OSError where the bytes cannot be had. Streams
        share nothing, so that threads and processes may each open the same file.
        """
        ...


@dataclass(frozen=True)
class PlainFile:
    """A file of the file system."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def stamp(self) -> tuple[int, ...]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns, status.st_ino

    def open(self) -> BinaryIO:
        return self.path.open("rb")


def most_unpacked_bytes(packed: int, most: int) -> int:
    """How much may be unpacked from some compressed bytes before they count as a bomb.

    Parameters
    ----------
    packed
        Number of compressed bytes.
    most
        Never more than this.
    """
    return min(most, max(_ALWAYS_UNPACKED_BYTES, packed * _MOST_UNPACKED_RATIO))
