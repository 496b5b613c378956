"""One labelled image of a data set: where its files are, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["nifti", "png", "dicom"]
#: What a data set itself says a record is for; empty where it leaves that open.
Purpose = Literal["", "training", "validation", "test", "unlabelled"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """An image and its labels, not yet read.

    Parameters
    ----------
    name
        Unique in its data set.
    patient
        All records of one person share it.
    kind
        How the files are read.
    image
        A file; of DICOM, the folder that the slices lie in.
    label
        NIfTI, PNG or a DICOM SEG or RTSTRUCT; None where there is none.
    purpose
        By the data set's own lists and folders.
    series
        SeriesInstanceUID where `image` is a folder that may hold several series.
    status
        JSON that says per organ how good its labels are, where there is one.
    """

    name: str
    patient: str
    kind: Kind
    image: Path
    label: Path | None
    purpose: Purpose = ""
    series: str = ""
    status: Path | None = None

    @property
    def states_spacing(self) -> bool:
        """Whether its files say how large a voxel is."""
        return self.kind != "png"

    @property
    def wants_label(self) -> bool:
        """Whether the record is worth nothing without labels."""
        return self.purpose not in ("test", "unlabelled")
