"""Files that are there completely or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from operators.errors import OutputError

#: What file systems answer that cannot flush a folder (network and FUSE mounts).
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when it has been written to the end.

    The bytes go to a hidden file in the same folder, are flushed to the disk and then renamed, so
    that no reader ever sees half a file, not even after a power cut. An existing file is replaced.

    Parameters
    ----------
    path
        Final name; its folder must exist.

    Yields
    ------
    BinaryIO
        The stream to write to.

    Raises
    ------
    OutputError
        If the file cannot be written (full disk, no permission, no such folder); neither the file
        nor a remainder of it stays behind, and what had the name before is untouched.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # mode x rather than mkstemp: the user's umask applies, as for any other output file
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        _remove(part)
        raise OutputError(f"{path} could not be written: {exc.strerror or exc}") from exc
    except BaseException:  # an interrupt must not leave the remainder behind either
        _remove(part)
        raise


def _remove(part: Path) -> None:
    """Remove what was begun, unless the very reason for the error forbids that too."""
    with suppress(OSError):
        part.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the folder's entry of a renamed file, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder for results where there is none; raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{path} could not be created: {exc.strerror or exc}") from exc
