"""What the node knows of a stored instance and of a study."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Where an instance came from, and for which workflow.

    Parameters
    ----------
    workflow
        AE title that was called; it names the workflow.
    calling_ae
        AE title of the sender.
    address
        IP address of the sender.
    """

    workflow: str
    calling_ae: str
    address: str


@dataclass(frozen=True, kw_only=True)
class StoredInstance:
    """One instance on disk.

    Parameters
    ----------
    study_key
        See `study_key`.
    StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID
        As the data set has them, without padding.
    TransferSyntaxUID
        Of the data set as it was sent and stored.
    origin
        Who sent it, and for which workflow.
    path
        The DICOM file.
    arrived
        When it was stored, in seconds since the epoch.
    size_bytes
        Of the file.
    version
        1, and one more for each other content that came under the same SOPInstanceUID.
    taken
        The version of the study that was the first to hold it, 0 where none does yet.
    is_new
        False where the same bytes were stored before and nothing was written.
    """

    study_key: str
    StudyInstanceUID: str
    SeriesInstanceUID: str
    SOPInstanceUID: str
    SOPClassUID: str
    TransferSyntaxUID: str
    origin: Origin
    path: Path
    arrived: float
    size_bytes: int
    version: int = 1
    taken: int = field(default=0, compare=False)
    is_new: bool = field(default=True, compare=False)


@dataclass(frozen=True, kw_only=True)
class StoredStudy:
    """One study of one workflow, as far as it has arrived; older versions do not count.

    Parameters
    ----------
    study_key
        See `study_key`.
    workflow
        AE title that was called.
    StudyInstanceUID
        As the data sets have it.
    series
        Number of instances by SeriesInstanceUID.
    origins
        Everyone who sent a part of it.
    first_arrival, last_arrival
        In seconds since the epoch. The same bytes sent again do not count as an arrival.
    size_bytes
        Of its files.
    open_associations
        How many associations that sent a part of it are still open.
    """

    study_key: str
    workflow: str
    StudyInstanceUID: str
    series: Mapping[str, int]
    origins: tuple[Origin, ...]
    first_arrival: float
    last_arrival: float
    size_bytes: int
    open_associations: int = 0

    @property
    def instances(self) -> int:
        """Number of its instances."""
        return sum(self.series.values())


def study_key(workflow: str, StudyInstanceUID: str) -> str:
    """Name a study of a workflow in a way that is safe as a file name.

    Returns
    -------
    str
        32 hexadecimal digits: names from the network never become paths.
    """
    return hashlib.sha256(f"{workflow}\0{StudyInstanceUID}".encode()).hexdigest()[:32]
