"""One DICOM file: its header, and where its pixel data lie.

What counts as DICOM: a file with the `DICM` prefix (PS3.10 section 7.1), or one without preamble
whose first element is of group 0002 or 0008, as old archives write; and in both cases only with
SOPClassUID, SOPInstanceUID, StudyInstanceUID and SeriesInstanceUID. Anything else is no usable
object. Nor is an image whose pixel data is absent or shorter than its element says: that shows
from the file's size alone, without reading a pixel. (Compressed pixel data gives its length away
only when it is decoded; `operators.pixels` finds those.)
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.uid import MediaStorageDirectoryStorage

from operators.dicom_stream import PIXEL_DATA, Parsed, parse, read_meta
from operators.elements import DAMAGED_DICOM_ERRORS, values_of
from operators.errors import NothingUsableError
from operators.files import StoredFile

#: Elements that place an object in a study; without one of them it cannot be used.
REQUIRED_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True)
class PixelElement:
    """Where the value of PixelData lies in its file.

    Parameters
    ----------
    offset
        Of its first byte from the start of the file.
    length
        In bytes; None for encapsulated frames of undefined length (PS3.5 A.4).
    """

    offset: int
    length: int | None


def read_header(file: StoredFile) -> tuple[Dataset, PixelElement | None]:
    """Read one DICOM file up to its pixel data.

    Parameters
    ----------
    file
        The file.

    Returns
    -------
    header : pydicom.Dataset
        Without PixelData and what follows it, with its `file_meta`, which always names a
        TransferSyntaxUID: where the file has none, it is the one that the bytes were found to be
        in.
    pixels : PixelElement or None
        None where there is no PixelData, as with pixels in floating point, or the whole data set
        is deflated.

    Raises
    ------
    NothingUsableError
        If this is no usable DICOM object; the text is the reason alone.
    """
    parsed = _read(file, with_pixels=False)
    try:
        pixels = _pixel_element(parsed)
    except NothingUsableError as exc:
        header = parsed.dataset
        series = f"instance {header.SOPInstanceUID} of series {header.SeriesInstanceUID}"
        raise NothingUsableError(f"{exc}; {series}") from exc
    return parsed.dataset, None if parsed.deflated else pixels


def read_dataset(file: StoredFile) -> Dataset:
    """Read one DICOM file with its pixel data; as `read_header` otherwise."""
    return _read(file, with_pixels=True).dataset


def is_dicomdir(file: StoredFile) -> bool:
    """Whether the file meta information says that this is a DICOMDIR (PS3.10 section 8)."""
    try:
        with reasons(), file.open() as stream:
            meta, _ = read_meta(stream, file.size)
            return bool(meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)
    except NothingUsableError:
        return False


@contextmanager
def reasons() -> Iterator[None]:
    """Errors of reading as `NothingUsableError`; other texts may quote values, so none is shown."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (None, errno.EINVAL):  # a length in the file led to before its start
            raise NothingUsableError("broken DICOM: cannot be parsed") from exc
        raise NothingUsableError(f"cannot be read: {exc.strerror}") from exc
    except DAMAGED_DICOM_ERRORS as exc:
        raise NothingUsableError("broken DICOM: cannot be parsed") from exc


def _read(file: StoredFile, with_pixels: bool) -> Parsed:
    with reasons(), file.open() as stream:
        parsed = parse(stream, file.size, with_pixels=with_pixels)
        _check_usable(parsed)
        return parsed


def _check_usable(parsed: Parsed) -> None:
    dataset = parsed.dataset
    missing = [keyword for keyword in REQUIRED_UIDS if not _is_uid(dataset, keyword)]
    if not missing:
        return
    if not len(dataset) and parsed.prefixed:
        raise NothingUsableError("broken DICOM: no data set")
    if "ACR" in str(values_of(dataset, "RecognitionCode")):
        raise NothingUsableError(f"ACR-NEMA, not DICOM: no usable {', '.join(missing)}")
    if len(missing) == len(REQUIRED_UIDS) and not parsed.prefixed:
        raise NothingUsableError("not DICOM")
    raise NothingUsableError(f"incomplete DICOM: no usable {', '.join(missing)}")


def _is_uid(dataset: Dataset, keyword: str) -> bool:
    values = values_of(dataset, keyword)
    # folders are named by UIDs, so nothing but one may pass; leading zeros are common and harmless
    return len(values) == 1 and re.fullmatch(r"\d+(\.\d+)*", str(values[0])) is not None


def _pixel_element(parsed: Parsed) -> PixelElement | None:
    """Where PixelData lies; raises where the file ends before it does."""
    stop = parsed.pixels
    if stop.tag is None:
        _check_end(parsed)
        return None
    length = None if stop.length == _UNDEFINED_LENGTH else stop.length
    found = parsed.size - stop.offset
    if length is not None and found < length:
        raise NothingUsableError(f"pixel data is cut short: {length} bytes expected, {found} found")
    return PixelElement(stop.offset, length) if stop.tag == PIXEL_DATA else None


def _check_end(parsed: Parsed) -> None:
    """Refuse a file that ends within its header, or before the pixels of an image."""
    header = parsed.dataset
    last = header.get_item(max(header.keys()), keep_deferred=True)
    if isinstance(last, RawDataElement) and last.length < _UNDEFINED_LENGTH:
        missing = last.value_tell + last.length - parsed.size
        if missing > 0:
            raise NothingUsableError(
                f"header is cut short: {missing} bytes missing in element {last.tag}"
            )
    if "Rows" in header:
        raise NothingUsableError("no pixel data: image without PixelData")
