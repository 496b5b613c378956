"""Find the DICOM objects of a folder by their headers; pixels stay on disk.

What counts as DICOM: a file with the `DICM` prefix (PS3.10 section 7.1), or one without preamble
whose first element is of group 0002 or 0008 in little endian, as old archives write; and in both
cases only with SOPClassUID, SOPInstanceUID, StudyInstanceUID and SeriesInstanceUID. Anything else
is listed with the reason and left out. So is an image whose pixel data is absent or shorter than
its element says: that shows from the file's size alone, without reading a pixel. (Compressed pixel
data gives its length away only when it is decoded; `operators.pixels` finds those.)
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import math
import os
import re
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pydicom.config
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from operators.errors import NothingUsableError
from operators.series import Instance, Series, Study

# pydicom's warnings about odd values quote them, and they may be a patient's
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

#: Elements that place an object in a study; without one of them it cannot be used.
REQUIRED_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

#: What pydicom raises on damaged bytes, on reading a file or later on reading one of its elements.
DAMAGED_DICOM_ERRORS = (
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NameError,  # pydicom 3.0.2 meets a truncated sequence with an unbound variable
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out, and why; `reason` reads `kind: detail` or just `kind`."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Scan:
    """What a folder holds: studies by StudyInstanceUID, left-out files by path."""

    studies: tuple[Study, ...] = field(repr=False)
    skipped: tuple[SkippedFile, ...] = field(repr=False)


def scan_folder(folder: Path) -> Scan:
    """Read the header of every DICOM object below a folder.

    Symbolic links are followed, each directory once. Of several files with one SOPInstanceUID one
    is kept: the first by path where they are byte for byte equal, otherwise the one with the
    smallest SHA-256, so that names and places of files never decide.

    Parameters
    ----------
    folder
        Searched with all folders below it.

    Returns
    -------
    Scan
        The same for the same files, whatever order the file system lists them in.

    Raises
    ------
    NothingUsableError
        If no file could be used; says how many there were, and the commonest reasons.
    """
    if not folder.is_dir():
        raise NothingUsableError(f"no usable DICOM object: {folder} is not a folder")
    skipped: list[SkippedFile] = []
    found: dict[str, list[Instance]] = {}
    for path, problem in _walk(folder):
        try:
            if problem:
                raise NothingUsableError(problem)
            instance = Instance(path=path, header=read_file(path))
        except NothingUsableError as exc:
            skipped.append(SkippedFile(path, str(exc)))
        else:
            found.setdefault(instance.SOPInstanceUID, []).append(instance)
    kept = [_keep_one(copies, skipped) for copies in found.values()]
    if not kept:
        raise NothingUsableError(_nothing_usable(folder, skipped), tuple(skipped))
    return Scan(_grouped(kept), tuple(sorted(skipped, key=lambda file: str(file.path))))


def read_file(path: Path, *, pixels: bool = False) -> Dataset:
    """Read one DICOM file.

    Parameters
    ----------
    path
        The file.
    pixels
        Whether to read PixelData too; without it no byte of it is read.

    Returns
    -------
    pydicom.Dataset
        With its `file_meta`, which always names a TransferSyntaxUID: where the file has none, it
        is the one that the bytes were found to be in.

    Raises
    ------
    NothingUsableError
        If this is no usable DICOM object; the text is the reason alone.
    """
    try:
        with path.open("rb") as stream:
            return _read_stream(stream, pixels)
    except OSError as exc:
        if exc.errno in (None, errno.EINVAL):  # a length in the file led to before its start
            raise NothingUsableError("broken DICOM: cannot be parsed") from exc
        raise NothingUsableError(f"cannot be read: {exc.strerror}") from exc
    except DAMAGED_DICOM_ERRORS as exc:  # its text may quote values, so it is not shown
        raise NothingUsableError("broken DICOM: cannot be parsed") from exc


def values_of(header: Dataset, element: str | BaseTag) -> tuple[Any, ...]:
    """The values of an element; none where it is absent, empty, a sequence or nonsense.

    Parameters
    ----------
    header
        A data set.
    element
        DICOM keyword or tag. Text comes without padding.
    """
    try:
        if element not in header or header[element].VR == "SQ":
            return ()
        value = header[element].value
    except DAMAGED_DICOM_ERRORS:  # elements are parsed on first use, so a bad one shows only here
        return ()
    values = tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)
    values = tuple(v.strip(" \0") if type(v) is str else v for v in values)
    return () if all(v is None or str(v) == "" for v in values) else values


def numbers_of(header: Dataset, element: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers of an element, or None."""
    values = values_of(header, element)
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Every file below a folder in order of name, with the reason where it cannot be opened."""
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
            yield Path(parent, name), _unopenable(Path(parent, name))
    for problem in problems:
        yield Path(problem.filename or folder), f"cannot be read: {problem.strerror}"


def _unopenable(path: Path) -> str | None:
    try:
        status = path.stat()
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return "not a regular file"
    return None if status.st_size else "empty file"


def _read_stream(stream: BinaryIO, pixels: bool) -> Dataset:
    start = stream.read(132)
    has_prefix = start[128:] == b"DICM"
    if not has_prefix and start[:2] not in (b"\x02\x00", b"\x08\x00"):
        raise NothingUsableError("not DICOM")
    stream.seek(0)
    dataset = dcmread(stream, stop_before_pixels=not pixels, force=not has_prefix)
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise NothingUsableError("DICOMDIR: a list of files, not an image")
    missing = [keyword for keyword in REQUIRED_UIDS if not _is_uid(dataset, keyword)]
    if len(missing) == len(REQUIRED_UIDS) and not has_prefix:
        raise NothingUsableError("not DICOM")
    if missing:
        raise NothingUsableError(f"broken DICOM: no usable {', '.join(missing)}")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    if not pixels and (cut := _cut_short(stream, dataset)):
        series = f"instance {dataset.SOPInstanceUID} of series {dataset.SeriesInstanceUID}"
        raise NothingUsableError(f"{cut}; {series}")
    return dataset


def _is_uid(dataset: Dataset, keyword: str) -> bool:
    values = values_of(dataset, keyword)
    # folders are named by UIDs, so nothing but one may pass; leading zeros are common and harmless
    return len(values) == 1 and re.fullmatch(r"\d+(\.\d+)*", str(values[0])) is not None


def _cut_short(stream: BinaryIO, header: Dataset) -> str | None:
    """What is missing at the end of a file that was read up to its pixel data; None if nothing."""
    if header.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        return None  # the file's size says nothing about a deflated data set
    size = os.fstat(stream.fileno()).st_size
    head = stream.read(12)
    if len(head) >= 8:
        implicit, little = header.original_encoding
        order = "<" if little else ">"
        short = not implicit and head[4:6] not in _LONG_VRS
        if short or (not implicit and len(head) < 12):
            return "pixel data is cut short: its length is missing"
        length = struct.unpack(f"{order}I", head[4:8] if implicit else head[8:12])[0]
        left = size - (stream.tell() - len(head) + (8 if implicit else 12))
        if length != _UNDEFINED_LENGTH and left < length:
            return f"pixel data is cut short: {length} bytes expected, {left} found"
        return None
    last = header.get_item(max(header.keys()))
    if isinstance(last, RawDataElement) and last.length < _UNDEFINED_LENGTH:
        missing = last.value_tell + last.length - size
        if missing > 0:
            return f"header is cut short: {missing} bytes missing in element {last.tag}"
    return "no pixel data: image without PixelData" if "Rows" in header else None


def _keep_one(copies: list[Instance], skipped: list[SkippedFile]) -> Instance:
    if len(copies) == 1:
        return copies[0]
    kept = copies[0]
    if not all(filecmp.cmp(kept.path, copy.path, shallow=False) for copy in copies[1:]):
        kept = min(copies, key=lambda copy: hashlib.sha256(copy.path.read_bytes()).digest())
    for copy in copies:
        if copy is not kept:
            same = filecmp.cmp(kept.path, copy.path, shallow=False)
            kind = "same instance as" if same else "same SOPInstanceUID but other content than"
            skipped.append(SkippedFile(copy.path, f"{kind}: {kept.path}"))
    return kept


def _grouped(instances: list[Instance]) -> tuple[Study, ...]:
    tree: dict[str, dict[str, list[Instance]]] = {}
    for instance in sorted(instances, key=lambda instance: instance.SOPInstanceUID):
        header = instance.header
        study = tree.setdefault(str(header.StudyInstanceUID), {})
        study.setdefault(str(header.SeriesInstanceUID), []).append(instance)
    return tuple(
        Study(
            StudyInstanceUID=study_uid,
            series=tuple(
                Series(
                    StudyInstanceUID=study_uid,
                    SeriesInstanceUID=series_uid,
                    instances=tuple(members),
                )
                for series_uid, members in sorted(series.items())
            ),
        )
        for study_uid, series in sorted(tree.items())
    )


def _nothing_usable(folder: Path, skipped: list[SkippedFile]) -> str:
    if not skipped:
        return f"no usable DICOM object: {folder} holds no file"
    kinds = Counter(file.reason.partition(":")[0] for file in skipped)
    reasons = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common(5))
    return f"no usable DICOM object among {len(skipped)} files in {folder}: {reasons}"
