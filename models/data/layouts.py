"""Which data set a folder holds, and the records in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models.data.dataset_json import label_names
from models.data.label_values import LABEL_VALUES
from models.data.layouts_dicom import DicomReader, find_dicom, find_rsna, holds_dicom
from models.data.layouts_nifti import find_btcv, find_flare22, find_msd, find_pairs
from models.data.layouts_png import find_png
from models.data.patients import patient_in
from models.data.records import Record
from models.errors import TrainingError
from models.json_files import read_object

_FINDERS: Mapping[str, Callable[[Path], list[Record]]] = {
    "btcv": find_btcv,
    "rsna": find_rsna,
    "msd": find_msd,
    "pairs": find_pairs,
    "png": find_png,
    "flare22": find_flare22,
}
#: In the order in which they are tried: the most particular first.
LAYOUTS = (*_FINDERS, "dicom")


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A folder, the layout that it is in, and its records by name, numbers as numbers.

    Parameters
    ----------
    label_values
        Value of each organ by name, where the layout or its `dataset.json` states them.
    """

    folder: Path
    layout: str
    records: tuple[Record, ...]
    label_values: Mapping[str, int]


def open_data_set(
    folder: Path,
    layout: str | None = None,
    *,
    patient_pattern: str | None = None,
    dicom: DicomReader | None = None,
) -> DataSet:
    """Find out what a folder holds.

    Parameters
    ----------
    folder
        Top folder of the data set.
    layout
        One of `LAYOUTS`; None takes the first that fits.
    patient_pattern
        Regular expression; what it matches from the start of a record's name is the patient, or
        its first group where it has one. None leaves that to the layout.
    dicom
        Reads DICOM, for the layouts `dicom` and `rsna`.

    Raises
    ------
    TrainingError
        If the folder holds no such data set.
    """
    if not folder.is_dir():
        raise TrainingError(f"expected a folder with a data set, found none at {folder}")
    if layout is not None and layout not in LAYOUTS:
        raise TrainingError(f"expected a layout of {', '.join(LAYOUTS)}, found {layout!r}")
    for name in LAYOUTS if layout is None else (layout,):
        records = _find(name, folder, dicom)
        if records:
            if patient_pattern is not None:
                records = [_of_patient(record, patient_pattern) for record in records]
            records.sort(key=lambda r: (natural(r.name), r.purpose, str(r.image)))
            return DataSet(
                folder=folder,
                layout=name,
                records=tuple(records),
                label_values=_label_values(name, folder),
            )
    raise TrainingError(f"{folder}: {_nothing_found(folder, layout, dicom)}")


def _nothing_found(folder: Path, layout: str | None, dicom: DicomReader | None) -> str:
    """What was expected, and what the folder may be instead."""
    if layout is None:
        wanted = f"expected a data set of a known layout ({', '.join(LAYOUTS)}), found none"
        others = []
    else:
        wanted = f"expected a data set in the layout {layout}, found none"
        others = [name for name in LAYOUTS if name != layout and _find(name, folder, dicom)]
    if others:
        return f"{wanted}; it looks like {others[0]}"
    inside = [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_dir()
        and any(_find(name, path, dicom) for name in ([layout] if layout else _FINDERS))
    ]
    return f"{wanted}; there is one in its folder {inside[0]}" if inside else wanted


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts names as people count: `slice 9` before `slice 10`."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts)


def _find(name: str, folder: Path, dicom: DicomReader | None) -> list[Record]:
    if name == "dicom":
        return find_dicom(folder, dicom) if holds_dicom(folder) else []
    return _FINDERS[name](folder)


def _label_values(layout: str, folder: Path) -> Mapping[str, int]:
    path = folder / "dataset.json"
    if layout == "msd" and path.is_file():
        return label_names(read_object(path, TrainingError))
    return LABEL_VALUES.get(layout, {})


def _of_patient(record: Record, pattern: str) -> Record:
    patient = patient_in(record.name, pattern)
    if patient is None:
        raise TrainingError(
            f"expected a name that starts like {pattern!r}, found the record {record.name!r}"
        )
    return replace(record, patient=patient)
