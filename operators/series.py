"""Instances, frames, series and studies as they were found: headers only, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from operators.dicom_file import PixelElement
from operators.files import StoredFile


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One DICOM object: its file and its header.

    Parameters
    ----------
    file
        What it is stored in.
    header
        The data set without PixelData, with its `file_meta`.
    pixels
        Where PixelData lies in the file; None where there is none, or the data set is deflated.
    stamp
        Of the file when its header was read; empty where nobody asks whether it changed.
    """

    file: StoredFile
    header: Dataset = field(repr=False)
    pixels: PixelElement | None = None
    stamp: tuple[int, ...] = ()

    @property
    def path(self) -> Path:
        """Where it lies, for messages."""
        return self.file.path

    @property
    def SOPInstanceUID(self) -> str:
        return str(self.header.SOPInstanceUID)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One image plane: a single-frame instance, or one frame of a multi-frame instance.

    Parameters
    ----------
    instance
        What it belongs to.
    number
        From 1 (PS3.3 C.7.6.16.2.1); 1 for a single-frame instance too.
    header
        Its attributes under the keywords of a single-frame CT image, whatever functional group a
        multi-frame instance keeps them in.
    """

    instance: Instance
    number: int
    header: Dataset = field(repr=False)

    @property
    def SOPInstanceUID(self) -> str:
        return self.instance.SOPInstanceUID

    @property
    def name(self) -> str:
        """For messages: the SOPInstanceUID, and the frame where there are several."""
        several = self.header is not self.instance.header
        return f"{self.SOPInstanceUID} frame {self.number}" if several else self.SOPInstanceUID


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """The instances of one series, sorted by SOPInstanceUID so that no order of files shows."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    instances: tuple[Instance, ...] = field(repr=False)

    @property
    def header(self) -> Dataset:
        """The header of the first instance, for attributes that a whole series shares."""
        return self.instances[0].header


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """The series of one study, sorted by SeriesInstanceUID."""

    StudyInstanceUID: str
    series: tuple[Series, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """Frames of one series that may form one volume.

    Parameters
    ----------
    series
        Where they come from.
    frames
        At least one CT image, in order of SOPInstanceUID and frame.
    part
        What tells these frames from the others of their series, such as `AcquisitionNumber 2`;
        empty where they are all its images. Unique within the series.
    notes
        What was done to come to these frames, in sentences for people; no patient data.
    """

    series: Series
    frames: tuple[Frame, ...] = field(repr=False)
    part: str = ""
    notes: tuple[str, ...] = ()

    @property
    def header(self) -> Dataset:
        """The header of the first frame, for attributes that all share."""
        return self.frames[0].header

    @property
    def name(self) -> str:
        """For messages: the SeriesInstanceUID, and the part where it is one."""
        uid = self.series.SeriesInstanceUID
        return f"{uid} ({self.part})" if self.part else uid
