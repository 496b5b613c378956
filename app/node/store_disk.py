"""Room on the disk, who uses the folder, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.errors import StoreError, StoreFullError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class StoreSettings(BaseModel):
    """When the store has no room any more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: With less free space than this, new associations are rejected.
    min_free_bytes: int = Field(default=5 * 2**30, ge=0)
    #: With less than this, instances are refused too: the node itself needs room to end its jobs.
    reserved_bytes: int = Field(default=2**29, ge=0)


def free_bytes(folder: Path) -> int:
    """Space that an ordinary user may still fill."""
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def lock_folder(folder: Path) -> int:
    """Keep other processes from using a folder until the returned descriptor is closed.

    Raises
    ------
    StoreError
        If another process uses it.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(descriptor)
        raise StoreError(f"another process uses {folder}") from exc
    return descriptor


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raise StoreFullError for a full disk, and StoreError for its other failures."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _NO_ROOM:
            raise StoreFullError("the file system is full") from exc
        raise StoreError(f"the file system failed: {exc.strerror}") from exc
    except sqlite3.Error as exc:
        if "full" in str(exc):  # Python 3.10 gives no error code
            raise StoreFullError("the file system is full") from exc
        raise StoreError(f"the index failed: {exc}") from exc
