"""DICOM files made of bytes as they were received, and read back for the index."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID

from app.errors import InstanceRefusedError
from app.node.identifiers import read_identifiers
from app.node.stored import Origin, StoredInstance, study_key
from operators.dicom_stream import read_meta
from operators.errors import NothingUsableError

_PREAMBLE = bytes(128) + b"DICM"
_NAME = re.compile(r"[0-9a-f]{32}-(?P<version>[1-9][0-9]*)\.dcm")
_SCHEME = "dicom://"
#: As much of a file as holds the UIDs of any real instance; more is read only if this is too little
_START_BYTES = 2**18
_numbers = itertools.count()


def file_name(SOPInstanceUID: str, version: int) -> str:
    """Name the file of an instance: no character of it comes from the network."""
    return f"{hashlib.sha256(SOPInstanceUID.encode()).hexdigest()[:32]}-{version}.dcm"


def file_header(
    SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str, origin: Origin
) -> bytes:
    """Make what precedes the data set of a DICOM file (PS3.10 section 7.1).

    Who sent the instance and which workflow it is for are part of it, so that the files alone
    tell everything that the index holds.
    """
    before, after = _meta_parts(SOPClassUID, TransferSyntaxUID, origin)
    value = SOPInstanceUID.encode("ascii")
    value += b"\0" * (len(value) % 2)
    instance = struct.pack("<HH2sH", 0x0002, 0x0003, b"UI", len(value)) + value
    meta = before + instance + after
    return _PREAMBLE + struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(meta)) + meta


@lru_cache(maxsize=512)
def _meta_parts(SOPClassUID: str, TransferSyntaxUID: str, origin: Origin) -> tuple[bytes, bytes]:
    """The elements before MediaStorageSOPInstanceUID, and those after it."""
    before = FileMetaDataset()
    before.FileMetaInformationVersion = b"\x00\x01"
    before.MediaStorageSOPClassUID = UID(SOPClassUID)
    after = FileMetaDataset()
    after.TransferSyntaxUID = UID(TransferSyntaxUID)
    after.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    after.ImplementationVersionName = "VISCERA"
    after.SourceApplicationEntityTitle = origin.calling_ae
    after.ReceivingApplicationEntityTitle = origin.workflow
    after.SendingPresentationAddress = _SCHEME + origin.address
    return _encoded(before), _encoded(after)


def _encoded(meta: FileMetaDataset) -> bytes:
    buffer = io.BytesIO()
    write_file_meta_info(DicomFileLike(buffer), meta, enforce_standard=False)
    return buffer.getvalue()


def write_durably(
    target: Path, partial_folder: Path, parts: Sequence[bytes | memoryview], arrived: float
) -> int:
    """Write a file so that it is there completely, or not at all, whatever happens.

    Parameters
    ----------
    target
        Its folder exists and is in the same file system as `partial_folder`.
    partial_folder
        Where it is written before it takes its name.
    parts
        Its contents.
    arrived
        Seconds since the epoch; becomes the time of its last change.

    Returns
    -------
    int
        Bytes of the file. It and its name are on stable storage then.

    Raises
    ------
    OSError
        If it cannot be written. Nothing is left behind.
    """
    partial = partial_folder / f"{next(_numbers)}.part"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            size = sum(_write_all(descriptor, memoryview(part)) for part in parts)
            nanoseconds = round(arrived * 1e9)
            os.utime(descriptor, ns=(nanoseconds, nanoseconds))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(partial, target)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
    sync_folder(target.parent)
    return size


def _write_all(descriptor: int, part: memoryview) -> int:
    written = 0
    while written < len(part):
        written += os.write(descriptor, part[written:])
    return written


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to stable storage."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds_same(instance: StoredInstance, data: bytes | memoryview, TransferSyntaxUID: str) -> bool:
    """Whether a stored instance is this data set, byte for byte.

    Raises
    ------
    OSError
        If its file cannot be read.
    """
    if instance.TransferSyntaxUID != TransferSyntaxUID:
        return False
    try:
        content = instance.path.read_bytes()
    except FileNotFoundError:  # removed by hand: what comes now replaces it
        return False
    return memoryview(content)[_data_set_start(content) :] == data


def read_stored(path: Path) -> StoredInstance:
    """Read a file that `write_durably` wrote, for the index.

    Raises
    ------
    InstanceRefusedError
        If it is no such file.
    OSError
        If it cannot be read.
    """
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise InstanceRefusedError("file with a name that the store does not give")
    status = path.stat()
    with path.open("rb") as stream:
        start = stream.read(_START_BYTES)
        try:
            return _described(path, int(name["version"]), start, status)
        except InstanceRefusedError:
            if len(start) == status.st_size:
                raise
            return _described(path, int(name["version"]), start + stream.read(), status)


def _described(path: Path, version: int, content: bytes, status: os.stat_result) -> StoredInstance:
    try:
        meta, _ = read_meta(io.BytesIO(content), len(content))
        TransferSyntaxUID = str(meta.TransferSyntaxUID)
        origin = Origin(
            str(meta.ReceivingApplicationEntityTitle),
            str(meta.SourceApplicationEntityTitle),
            str(meta.SendingPresentationAddress).removeprefix(_SCHEME),
        )
    except (NothingUsableError, AttributeError) as exc:
        raise InstanceRefusedError("file without the header that the store writes") from exc
    data = memoryview(content)[_data_set_start(content) :]
    found = read_identifiers(data, TransferSyntaxUID)
    return StoredInstance(
        study_key=study_key(origin.workflow, found.StudyInstanceUID),
        StudyInstanceUID=found.StudyInstanceUID,
        SeriesInstanceUID=found.SeriesInstanceUID,
        SOPInstanceUID=found.SOPInstanceUID,
        SOPClassUID=found.SOPClassUID,
        TransferSyntaxUID=TransferSyntaxUID,
        origin=origin,
        path=path,
        arrived=status.st_mtime_ns / 1e9,
        size_bytes=status.st_size,
        version=version,
    )


def _data_set_start(content: bytes) -> int:
    """Where the data set begins, by the group length that `file_header` wrote."""
    length_end = len(_PREAMBLE) + 12
    if len(content) < length_end:
        raise InstanceRefusedError("file without the header that the store writes")
    return int(length_end + struct.unpack_from("<L", content, length_end - 4)[0])
