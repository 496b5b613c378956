"""Walk a folder for its files, whatever it holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from operators.files import PlainFile


def files_below(folder: Path) -> Iterator[tuple[PlainFile, str | None]]:
    """Every file below a folder in order of name, with the reason where it cannot be opened.

    Symbolic links are followed, each directory once. A folder that cannot be listed comes too.
    """
    problems: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=problems.append):
        entered = os.stat(parent)
        if (entered.st_dev, entered.st_ino) in seen:  # a link to a folder walked already
            folders.clear()
            continue
        seen.add((entered.st_dev, entered.st_ino))
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            yield PlainFile(path), unopenable(path)
    for problem in problems:
        yield PlainFile(Path(problem.filename or folder)), f"cannot be read: {problem.strerror}"


def unopenable(path: Path) -> str | None:
    """The reason why this is no file to open, or None."""
    try:
        status = path.stat()
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return "not a regular file"
    return None if status.st_size else "empty file"
