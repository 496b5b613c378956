"""Instances, series and studies as they were found on disk: headers only, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset

from models.geometry import Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One DICOM file and its header.

    Parameters
    ----------
    path
        Where the file lies.
    header
        The data set without PixelData, with its `file_meta`.
    """

    path: Path
    header: Dataset = field(repr=False)

    @property
    def SOPInstanceUID(self) -> str:
        return str(self.header.SOPInstanceUID)


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
class SeriesVolume:
    """A series as a volume, with the instance that each slice came from.

    Parameters
    ----------
    series
        The series the slices belong to.
    volume
        HU on a grid whose k axis runs along the slice normal.
    instances
        One per slice, in order of k.
    """

    series: Series
    volume: Volume
    instances: tuple[Instance, ...] = field(repr=False)
