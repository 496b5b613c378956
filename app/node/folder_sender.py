"""Delivery into a folder: one file for each SOP instance, complete or not at all."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.node.delivery import FileHead, FileResult, Meaning, Verdict, failed, result_of
from app.node.destinations import FolderDestination
from operators.errors import OutputError
from operators.outputs import atomic_write

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STORED = Meaning(Verdict.STORED, False, "stored")
_THERE = Meaning(Verdict.STORED, False, "already there")


def file_name(SOPInstanceUID: str) -> str | None:
    """The name of an instance's file; None for what is no UID and could lead elsewhere."""
    if len(SOPInstanceUID) > 64 or not _UID.fullmatch(SOPInstanceUID):
        return None
    return f"{SOPInstanceUID}.dcm"


def copy_to_folder(
    heads: Sequence[FileHead], destination: FolderDestination
) -> Iterator[FileResult]:
    """Copy files once, each to `<folder>/<SOPInstanceUID>.dcm`.

    A file that is there with the same bytes is left alone; one with others is replaced, as any
    archive does with a newer version of an instance.

    Yields
    ------
    FileResult
        One for each file, in order, when it is on the disk.
    """
    if not destination.folder.is_dir():
        text = f"{destination.folder} is no folder (is a share not mounted?)"
        yield from (failed(head, text, retryable=True) for head in heads)
        return
    for head in heads:
        yield _copy(head, destination.folder)


def _copy(head: FileHead, folder: Path) -> FileResult:
    name = file_name(head.SOPInstanceUID)
    if name is None:
        return failed(head, "its SOPInstanceUID is no UID", retryable=False, refused=True)
    target = folder / name
    try:
        if target.is_file() and filecmp.cmp(head.path, target, shallow=False):
            return result_of(head, _THERE, None)
        with head.path.open("rb") as source, atomic_write(target) as stream:
            shutil.copyfileobj(source, stream, 2**20)
    except OutputError as exc:
        return failed(head, str(exc), retryable=True)
    except OSError as exc:
        return failed(head, f"cannot be copied: {exc.strerror or exc}", retryable=True)
    return result_of(head, _STORED, None)
