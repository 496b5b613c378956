"""Files of one SOPInstanceUID: one of them is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from operators.files import StoredFile
from operators.series import Instance

_CHUNK_BYTES = 2**20


def keep_one(copies: Iterable[Instance]) -> tuple[Instance | None, list[tuple[Path, str]]]:
    """Choose one of several files with one SOPInstanceUID.

    Parameters
    ----------
    copies
        At least two instances with the same SOPInstanceUID.

    Returns
    -------
    kept : Instance or None
        The first where all are byte for byte equal, otherwise the one with the smallest SHA-256,
        so that names and places of files never decide; None if none can be read to its end.
    others : list of (Path, str)
        The rest, each with the reason why it was left out.
    """
    others = []
    readable: list[tuple[bytes, Instance]] = []
    for copy in copies:
        try:
            readable.append((_digest(copy.file), copy))
        except OSError as exc:
            others.append((copy.path, f"cannot be read: {exc.strerror}"))
    if not readable:
        return None, others
    digest, kept = min(readable, key=lambda pair: pair[0])  # of equal ones the first
    for other, copy in readable:
        if copy is not kept:
            same = other == digest
            kind = "same instance as" if same else "same SOPInstanceUID but other content than"
            others.append((copy.path, f"{kind}: {kept.path}"))
    return kept, others


def _digest(file: StoredFile) -> bytes:
    content = hashlib.sha256()
    with file.open() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            content.update(chunk)
    return content.digest()
