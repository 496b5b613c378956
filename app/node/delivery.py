"""What became of files that were sent, and the one table of what an answer means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID


class Verdict(str, Enum):
    """What became of one file at the destination."""

    STORED = "stored"
    #: Stored, and something was changed or left out by the destination.
    WARNING = "warning"
    #: Not taken: the destination said that it does not want, or cannot take, such an object.
    REFUSED = "refused"
    #: Not stored, or not known to be.
    FAILED = "failed"


@dataclass(frozen=True)
class Meaning:
    """What an answer means for a file."""

    verdict: Verdict
    retryable: bool
    text: str


_S, _W, _R, _F = Verdict.STORED, Verdict.WARNING, Verdict.REFUSED, Verdict.FAILED

#: Statuses of C-STORE (PS3.4 B.2.3, PS3.7 annex C), also used as reasons of failure and warning
#: in STOW-RS (PS3.18 I.2) and storage commitment (PS3.3 C.14): first, last, meaning. What passes
#: by itself is worth another try: a full disk, a busy server, a cancelled operation.
_DIMSE = (
    (0x0000, 0x0000, Meaning(_S, False, "stored")),
    (0x0001, 0x0001, Meaning(_W, False, "stored, an optional attribute was not supported")),
    (0x0107, 0x0107, Meaning(_W, False, "stored, an attribute list was in error")),
    (0x0110, 0x0110, Meaning(_F, True, "processing failure")),
    # of an object whose UID follows from its content, this is the copy that was to arrive
    (0x0111, 0x0111, Meaning(_W, False, "already there: duplicate SOP instance")),
    (0x0112, 0x0112, Meaning(_F, True, "no such object instance")),
    (0x0116, 0x0116, Meaning(_W, False, "stored, an attribute value was out of range")),
    (0x0117, 0x0117, Meaning(_F, False, "invalid object instance")),
    (0x0118, 0x0118, Meaning(_R, False, "no such SOP class")),
    (0x0119, 0x0119, Meaning(_F, False, "class and instance conflict")),
    (0x0122, 0x0122, Meaning(_R, False, "SOP class not supported")),
    (0x0124, 0x0124, Meaning(_R, False, "not authorised")),
    (0x0131, 0x0131, Meaning(_F, True, "duplicate transaction UID")),
    (0x0105, 0x0121, Meaning(_F, False, "the request was in error")),
    (0x0210, 0x0210, Meaning(_F, True, "duplicate invocation")),
    (0x0211, 0x0212, Meaning(_R, False, "operation not recognised")),
    (0x0213, 0x0213, Meaning(_R, True, "out of resources")),
    (0xA700, 0xA7FF, Meaning(_R, True, "out of resources")),
    (0xA900, 0xA9FF, Meaning(_F, False, "data set does not match its SOP class")),
    (0xB000, 0xB000, Meaning(_W, False, "stored, data elements were coerced")),
    (0xB006, 0xB006, Meaning(_W, False, "stored, data elements were discarded")),
    (0xB007, 0xB007, Meaning(_W, False, "stored, data set does not match its SOP class")),
    (0xB000, 0xBFFF, Meaning(_W, False, "stored with a warning")),
    (0xC000, 0xCFFF, Meaning(_F, False, "data set cannot be understood")),
    (0xFE00, 0xFE00, Meaning(_F, True, "cancelled")),
)
#: HTTP statuses of a store request (PS3.18 10.5.3, RFC 9110); those that answer for each instance
#: of their own (200, 202, 409) are read from the answer's body instead.
_HTTP = (
    (400, 400, Meaning(_F, False, "bad request")),
    (401, 401, Meaning(_R, False, "not authenticated")),
    (403, 403, Meaning(_R, False, "not authorised")),
    (404, 404, Meaning(_F, False, "no such service at this URL")),
    (408, 408, Meaning(_F, True, "the server waited too long for the request")),
    (409, 409, Meaning(_F, False, "conflict")),
    (413, 413, Meaning(_R, False, "too large for the server")),
    (415, 415, Meaning(_R, False, "media type or transfer syntax not supported")),
    (425, 425, Meaning(_F, True, "too early")),
    (429, 429, Meaning(_R, True, "too many requests")),
    (501, 501, Meaning(_R, False, "the server does not store")),
    (505, 505, Meaning(_R, False, "HTTP version not supported")),
    (500, 599, Meaning(_F, True, "server error")),
    (300, 499, Meaning(_F, False, "request not accepted")),
)


def meaning_of_status(code: int) -> Meaning:
    """What a status of DIMSE means; one that no standard names fails and is worth another try."""
    for first, last, meaning in _DIMSE:
        if first <= code <= last:
            return meaning
    return Meaning(Verdict.FAILED, True, "unknown status")


def meaning_of_http(code: int) -> Meaning:
    """What an HTTP status means for everything that its request held."""
    for first, last, meaning in _HTTP:
        if first <= code <= last:
            return meaning
    return Meaning(Verdict.FAILED, True, "unknown HTTP status")


@dataclass(frozen=True, kw_only=True)
class FileHead:
    """What the file meta information says of a file (PS3.10 7.1)."""

    path: Path
    SOPClassUID: UID
    SOPInstanceUID: UID
    TransferSyntaxUID: UID


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """What became of one file in one try.

    Parameters
    ----------
    path
        As given.
    SOPInstanceUID
        Empty where the file could not be read.
    SOPClassUID
        Empty where the file could not be read.
    verdict
        What became of it.
    retryable
        Whether another try may end otherwise.
    text
        In words, without patient data.
    code
        DIMSE status or HTTP status; None where nothing was answered.
    """

    path: Path
    SOPInstanceUID: str = ""
    SOPClassUID: str = ""
    verdict: Verdict
    retryable: bool
    text: str
    code: int | None = None

    @property
    def delivered(self) -> bool:
        return self.verdict in (Verdict.STORED, Verdict.WARNING)

    def __str__(self) -> str:
        return f"{self.SOPInstanceUID or self.path}: {self.verdict.value}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of the files of one try, in the order they were given.

    A file that could not be read, and one that was acknowledged before, has its result too.
    """

    destination: str
    results: tuple[FileResult, ...] = field(repr=False)

    @property
    def delivered(self) -> bool:
        """Whether the destination has all of them."""
        return all(result.delivered for result in self.results)

    @property
    def retryable(self) -> bool:
        """Whether another try is worth making: some file may still arrive."""
        return any(result.retryable for result in self.results if not result.delivered)

    @property
    def done(self) -> frozenset[str]:
        """SOPInstanceUIDs that the destination has acknowledged, not to be sent again."""
        return frozenset(result.SOPInstanceUID for result in self.results if result.delivered)

    @property
    def failures(self) -> tuple[FileResult, ...]:
        return tuple(result for result in self.results if not result.delivered)


def result_of(head: FileHead, meaning: Meaning, code: int | None, text: str = "") -> FileResult:
    """The result of a file, from what its DIMSE status means; `text` is said in addition."""
    number = "" if code is None else f" ({code:#06x})"
    return _result(head, meaning, code, meaning.text + number + (f": {text}" if text else ""))


def http_result(head: FileHead, code: int) -> FileResult:
    """The result of a file whose whole request got one HTTP status."""
    meaning = meaning_of_http(code)
    return _result(head, meaning, code, f"{meaning.text} (HTTP {code})")


def _result(head: FileHead, meaning: Meaning, code: int | None, text: str) -> FileResult:
    return FileResult(
        path=head.path,
        SOPInstanceUID=head.SOPInstanceUID,
        SOPClassUID=head.SOPClassUID,
        verdict=meaning.verdict,
        retryable=meaning.retryable,
        text=text,
        code=code,
    )


def failed(head: FileHead, text: str, *, retryable: bool, refused: bool = False) -> FileResult:
    """The result of a file that got no answer of its own."""
    verdict = Verdict.REFUSED if refused else Verdict.FAILED
    return result_of(head, Meaning(verdict, retryable, text), None)


def read_head(path: Path) -> FileHead | FileResult:
    """Read the file meta information, or say why that cannot be done."""
    try:
        meta = read_file_meta_info(path)
        return FileHead(
            path=path,
            SOPClassUID=UID(meta.MediaStorageSOPClassUID),
            SOPInstanceUID=UID(meta.MediaStorageSOPInstanceUID),
            TransferSyntaxUID=UID(meta.TransferSyntaxUID),
        )
    except OSError as exc:
        text = f"cannot be read: {exc.strerror or type(exc).__name__}"
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError):
        text = "no DICOM file with complete file meta information"
    return FileResult(path=path, verdict=Verdict.FAILED, retryable=False, text=text)
