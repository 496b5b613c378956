"""Fetch studies from an archive: what there is, what arrived, and what is missing."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import UID

from app.errors import (
    FetchError,
)
from app.node.destinations import Source
from app.node.folder_sender import file_name
from operators.errors import OutputError
from operators.outputs import atomic_write, make_folder

log = logging.getLogger(__name__)

#: Printable ASCII without the wild cards and the separator of values (PS3.4 C.2.2.2).
_ACCESSION = re.compile(r"[ -)+->@-\[\]-~]{1,16}")


@dataclass(frozen=True, kw_only=True)
class StudyQuery:
    """Which studies are meant: one by its UID, or all of one accession number.

    Raises
    ------
    FetchError
        Unless exactly one of both is given, and is what it should be.
    """

    StudyInstanceUID: str = ""
    AccessionNumber: str = ""

    def __post_init__(self) -> None:
        if bool(self.StudyInstanceUID) == bool(self.AccessionNumber):
            raise FetchError("expected a study UID or an accession number", retryable=False)
        if self.StudyInstanceUID and file_name(self.StudyInstanceUID) is None:
            raise FetchError(f"expected a UID, found {self.StudyInstanceUID!r}", retryable=False)
        if self.AccessionNumber and not _ACCESSION.fullmatch(self.AccessionNumber):
            raise FetchError(
                "expected an accession number of 1 to 16 ASCII characters without wild cards",
                retryable=False,
            )


@dataclass(frozen=True, kw_only=True)
class ListedSeries:
    """A series as an archive lists it, with the SOP class of each instance by its UID."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    Modality: str
    instances: dict[str, UID] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class FetchedSeries:
    """What arrived of a series.

    Parameters
    ----------
    StudyInstanceUID, SeriesInstanceUID, Modality
        As the archive lists it.
    expected
        How many instances it lists.
    missing
        SOPInstanceUIDs of those that did not arrive.
    text
        What the archive said of its failure; empty where it said none.
    """

    StudyInstanceUID: str
    SeriesInstanceUID: str
    Modality: str
    expected: int
    missing: tuple[str, ...] = ()
    text: str = ""

    @property
    def received(self) -> int:
        return self.expected - len(self.missing)

    def __str__(self) -> str:
        said = f": {self.text}" if self.text else ""
        return (
            f"{self.SeriesInstanceUID} {self.Modality} {self.received} of {self.expected} "
            f"instances{said}"
        )


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What arrived, by series."""

    source: str
    series: tuple[FetchedSeries, ...]

    @property
    def expected(self) -> int:
        return sum(series.expected for series in self.series)

    @property
    def received(self) -> int:
        return sum(series.received for series in self.series)

    @property
    def complete(self) -> bool:
        return self.received == self.expected


class Intake:
    """Writes instances that were asked for into a folder, their bytes as they came.

    Files are `<folder>/<StudyInstanceUID>/<SeriesInstanceUID>/<SOPInstanceUID>.dcm`. Threads may
    share it: each instance has a file of its own.

    Parameters
    ----------
    folder
        Made if absent.
    listed
        What is expected; nothing else is taken.

    Raises
    ------
    FetchError
        If the archive lists what is no UID.
    """

    def __init__(self, folder: Path, listed: Sequence[ListedSeries]) -> None:
        self._received: set[str] = set()
        self._files: dict[str, Path] = {}
        for series in listed:
            for uid in series.instances:
                names = (series.StudyInstanceUID, series.SeriesInstanceUID, uid)
                if None in map(file_name, names):
                    raise FetchError(f"expected UIDs, found {names}", retryable=False)
                self._files[uid] = folder.joinpath(*names[:2], f"{uid}.dcm")

    def expects(self, SOPInstanceUID: str) -> bool:
        return SOPInstanceUID in self._files

    def store(self, SOPInstanceUID: str, data: bytes) -> Path:
        """Keep the bytes of one file; raises OutputError, KeyError if nobody asked for it."""
        path = self._files[SOPInstanceUID]
        make_folder(path.parent)
        with atomic_write(path) as stream:
            stream.write(data)
        self._received.add(SOPInstanceUID)
        return path

    def result(self, series: ListedSeries, text: str = "") -> FetchedSeries:
        """What arrived of a series until now."""
        missing = tuple(uid for uid in series.instances if uid not in self._received)
        return FetchedSeries(
            StudyInstanceUID=series.StudyInstanceUID,
            SeriesInstanceUID=series.SeriesInstanceUID,
            Modality=series.Modality,
            expected=len(series.instances),
            missing=missing,
            text=text,
        )


def fetch(query: StudyQuery, source: Source, into: Path) -> Fetched:
    """Fetch all instances of the studies that a query means.

    Parameters
    ----------
    query
        Which studies.
    source
        The archive, and the way its studies come: C-GET, C-MOVE to ourselves, or WADO-RS.
    into
        Folder for the files; what an earlier fetch left there is replaced.

    Returns
    -------
    Fetched
        Counts of every series. An instance that the archive does not hand out, or that could not
        be kept, is missing in it; the others are there.

    Raises
    ------
    StudyNotFoundError
        If there is no such study.
    FetchError, AssociationError, WebError
        If the archive cannot be asked, or answers with an error.
    OutputError
        If the folder cannot be made.
    PeerSettingsError
        If certificates or secrets of the source cannot be read.
    """
    # here, because both know the values of this module
    from app.node.dimse_fetch import fetch_by_dimse
    from app.node.web_fetch import fetch_by_web

    make_folder(into)
    if source.kind == "dicomweb":
        series = fetch_by_web(query, source, into)
    else:
        series = fetch_by_dimse(query, source, into)
    for part in series:
        level = logging.INFO if not part.missing else logging.WARNING
        log.log(level, "%s: %s", source, part)
    return Fetched(source=source.name or str(source), series=tuple(series))


def kept(intake: Intake, SOPInstanceUID: str, data: bytes) -> str:
    """Store an instance; returns why that failed, or an empty text."""
    try:
        intake.store(SOPInstanceUID, data)
    except OutputError as exc:
        return str(exc)
    return ""
