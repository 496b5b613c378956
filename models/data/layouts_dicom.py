"""Data sets of DICOM: labels as SEG or RTSTRUCT beside the CT, or RSNA 2023's NIfTI labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from models.data.listing import is_hidden, nifti_files, nifti_stem
from models.data.records import Record
from models.errors import TrainingError
from models.geometry import LabelMap, Volume

_PREFIX = slice(128, 132)
#: Files looked at before a folder counts as one without DICOM.
_LOOKED_AT = 500


class DicomReader(Protocol):
    """What reads DICOM; given by the caller, since this package knows arrays alone.

    Every method raises TrainingError where files cannot be used.
    """

    @property
    def settings(self) -> object:
        """Whatever decides what comes out, in types that JSON has."""
        ...

    def find(self, folder: Path) -> list[Record]:
        """CT series with the objects that label them; names and patients hold UIDs only."""
        ...

    def read_volume(self, record: Record) -> Volume:
        """The CT of a record."""
        ...

    def read_labels(self, record: Record, volume: Volume) -> tuple[LabelMap, frozenset[int]]:
        """Labels on the grid of the CT, and the label values that the object speaks of.

        An organ that the object does not have may be in the patient all the same.
        """
        ...


def holds_dicom(folder: Path) -> bool:
    """Whether one of the first files below a folder has the prefix of DICOM (PS3.10 7.1)."""
    for number, path in enumerate(_files_below(folder)):
        if number >= _LOOKED_AT:
            return False
        with path.open("rb") as stream:
            if stream.read(_PREFIX.stop)[_PREFIX] == b"DICM":
                return True
    return False


def find_dicom(folder: Path, dicom: DicomReader | None) -> list[Record]:
    """Series with SEG or RTSTRUCT objects, whatever their files are called."""
    if dicom is None:
        raise TrainingError(f"{folder}: expected a reader of DICOM, found none")
    return dicom.find(folder)


def find_rsna(folder: Path) -> list[Record]:
    """RSNA 2023: `segmentations/<series>.nii` and `train_images/<patient>/<series>/<n>.dcm`.

    Series without a segmentation are left out: they are 4,500 of 4,700.
    """
    records = []
    for label in nifti_files(folder / "segmentations"):
        series = nifti_stem(label) or ""
        places = sorted((folder / "train_images").glob(f"*/{series}"))
        image = places[0] if places else folder / "train_images" / "*" / series
        records.append(
            Record(
                name=series,
                patient=image.parent.name if places else series,
                kind="dicom",
                image=image,
                label=label,
                purpose="training",
            )
        )
    return records


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if is_hidden(path):
            continue
        if path.is_dir():
            yield from _files_below(path)
        elif path.is_file():
            yield path
