"""The list of files of a DICOMDIR (PS3.10 section 8), held against the files that are there.

Files are found by looking for them; the list only tells which ones are absent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from operators.dicom_file import reasons
from operators.dicom_stream import parse
from operators.elements import values_of
from operators.errors import NothingUsableError
from operators.files import StoredFile

_SEPARATORS = re.compile(r"[/\\]")


@dataclass(frozen=True)
class ListedFile:
    """A file as a DICOMDIR lists it (PS3.3 F.3.2.2).

    Parameters
    ----------
    name
        ReferencedFileID, `/` between its components.
    SOPInstanceUID
        ReferencedSOPInstanceUIDInFile; empty where it is missing.
    """

    name: str
    SOPInstanceUID: str


def listed_files(dicomdir: StoredFile) -> tuple[ListedFile, ...]:
    """The files that a DICOMDIR lists, in its order, whatever the offsets in it say.

    Raises
    ------
    NothingUsableError
        If the list cannot be read.
    """
    with reasons(), dicomdir.open() as stream:
        dataset = parse(stream, dicomdir.size, with_pixels=False).dataset
        if "DirectoryRecordSequence" not in dataset:
            raise NothingUsableError("no list of files in it")
        records = list(dataset.DirectoryRecordSequence)
    files = []
    for record in records:
        if name := values_of(record, "ReferencedFileID"):
            uid = values_of(record, "ReferencedSOPInstanceUIDInFile")
            files.append(ListedFile("/".join(map(str, name)), str(uid[0]) if uid else ""))
    return tuple(dict.fromkeys(files))


def absent_files(
    dicomdir: StoredFile, present: Iterable[Path], uids: Collection[str]
) -> Iterator[tuple[Path, str]]:
    """What a DICOMDIR lists and is not there, with the reason to show.

    A file is there if its instance was found anywhere, or a file of its name: as media mangle
    names, without case, without the version of ISO 9660 (`;1`), with or without an extension. A
    list of which nothing is there, as of files moved to one folder, is one finding, not many.

    Parameters
    ----------
    dicomdir
        The DICOMDIR.
    present
        Paths of all files that were found, of whatever kind.
    uids
        Every SOPInstanceUID that was found.

    Raises
    ------
    NothingUsableError
        If the list cannot be read.
    """
    folder = dicomdir.path.parent
    below = (path.relative_to(folder) for path in present if path.is_relative_to(folder))
    names = {_comparable(path.as_posix()) for path in below}
    bare = {_without_extension(name) for name in names}
    listing = listed_files(dicomdir)
    absent = []
    for listed in listing:
        parts = _SEPARATORS.split(listed.name)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            yield dicomdir.path, f"unsafe name in DICOMDIR: {listed.name[:200]!a}"
            continue
        name = _comparable(listed.name)
        known = name in names or name in bare or _without_extension(name) in names
        if not known and listed.SOPInstanceUID not in uids:
            absent.append(folder.joinpath(*parts))
    if len(absent) == len(listing) > 1:
        yield dicomdir.path, f"listed in DICOMDIR but absent: all {len(absent)} files"
    else:
        yield from ((path, f"listed in DICOMDIR but absent: {dicomdir.path}") for path in absent)


def _comparable(name: str) -> str:
    parts = (part.strip() for part in _SEPARATORS.split(name.casefold()))
    return "/".join(re.sub(r"\.?(;\d+)?$", "", part) for part in parts if part not in ("", "."))


def _without_extension(name: str) -> str:
    return re.sub(r"\.[^./]*$", "", name)
