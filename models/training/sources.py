"""Where training cases come from: the `sources` of a bundle's `configs/train.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.data.listing import is_hidden
from models.data.patients import patient_in
from models.data.problems import mirror_fault
from models.data.reading import state_of
from models.errors import TrainingError
from models.geometry import LabelMap, Volume, VolumeGeometry
from models.json_files import read_object
from models.training.cases import Case, read_labels, read_pair

#: Reads a folder of DICOM slices; given by the caller, since this package knows arrays alone.
FolderReader = Callable[[Path], Volume]


def read_sources(
    sources: Sequence[Mapping[str, Any]],
    root: Path,
    numbers: Mapping[str, int],
    read_folder: FolderReader,
) -> list[Case]:
    """Read every case of `sources`.

    Parameters
    ----------
    sources
        Each a folder of pairs `<name>_ct.nii.gz`, `<name>_label.nii.gz` and, where there is one,
        `<name>_status.json`:
        `{"pairs": folder, "include": [...], "exclude": [...], "patient_pattern": regex,
        "labels": {...}, "status": {...}, "unlabelled_when": {...}}`;
        or one case, whose image is NIfTI or a folder of DICOM:
        `{"image": path, "label": path, "name": ..., "labels": {...}}`.
        `labels` gives the value of each organ in the file; organs it does not name are unlabelled.
    root
        Folder that the paths start from.
    numbers
        Network class of each organ.
    read_folder
        Reads an image that is a folder.

    Raises
    ------
    TrainingError
        If a file is missing or cannot be used, labels are mirrored, or a source names an organ that
        the network does not have.
    """
    cases: list[Case] = []
    for source in sources:
        strangers = sorted(set(source["labels"]) - set(numbers))
        if strangers:
            raise TrainingError(f"expected organs of the network, found {', '.join(strangers)}")
        if "pairs" in source:
            cases += _read_pairs(source, root / source["pairs"], numbers)
        else:
            cases.append(_read_single(source, root, numbers, read_folder))
    return cases


def check_sources(sources: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that every source says all that it has to; raises TrainingError."""
    for number, source in enumerate(sources):
        needed = ("labels",) if "pairs" in source else ("image", "label", "name", "labels")
        missing = [key for key in needed if key not in source]
        if missing:
            raise TrainingError(f"sources[{number}]: expected {', '.join(missing)}, found none")


def _read_pairs(source: Mapping[str, Any], folder: Path, numbers: Mapping[str, int]) -> list[Case]:
    images = sorted(path for path in folder.glob("*_ct.nii.gz") if not is_hidden(path))
    if not images:
        raise TrainingError(f"expected files *_ct.nii.gz in {folder}, found none")
    cases = []
    for image in images:
        name = image.name.removesuffix("_ct.nii.gz")
        if name in source.get("exclude", ()) or name not in source.get("include", (name,)):
            continue
        volume, labels = read_pair(image, folder / f"{name}_label.nii.gz")
        states = folder / f"{name}_status.json"
        missing = _unlabelled_by_status(source, states) if states.exists() else set()
        cases.append(_case(name, volume, labels, source, numbers, missing))
    return cases


def _unlabelled_by_status(source: Mapping[str, Any], where: Path) -> set[str]:
    """Organs whose status, in a file, says that they may be there without a label."""
    status = read_object(where, TrainingError)
    when: Mapping[str, Sequence[str]] = source.get("unlabelled_when", {})
    return {
        organ
        for organ, key in source.get("status", {}).items()
        if key is not None and organ in source["labels"]
        if state_of(status, key, where) in when.get(organ, when.get("*", ()))
    }


def _read_single(
    source: Mapping[str, Any], root: Path, numbers: Mapping[str, int], read_folder: FolderReader
) -> Case:
    image, label = root / source["image"], root / source["label"]
    if image.is_dir():
        volume = read_folder(image)
        labels = _onto(read_labels(label), volume)
    else:
        volume, labels = read_pair(image, label)
    return _case(source["name"], volume, labels, source, numbers, set())


def _onto(label_map: LabelMap, volume: Volume) -> LabelMap:
    """The labels with axes reversed where a volume on the same grid runs the other way."""
    if label_map.geometry.agrees_with(volume.geometry, tolerance_mm=0.1):
        return label_map
    near = label_map.geometry.to_index(volume.geometry.to_lps((0, 0, 0)))
    reversed_axes = [axis for axis in range(3) if near[axis] > 0.5]
    turned = np.flip(label_map.labels, tuple(reversed_axes)).copy()
    affine = label_map.geometry.affine_lps.copy()
    for axis in reversed_axes:
        last = label_map.geometry.shape[axis] - 1
        affine[:3, 3] += affine[:3, 2 - axis] * last
        affine[:3, 2 - axis] *= -1
    return LabelMap(labels=turned, geometry=VolumeGeometry(shape=turned.shape, affine_lps=affine))


def _case(
    name: str,
    volume: Volume,
    labels: LabelMap,
    source: Mapping[str, Any],
    numbers: Mapping[str, int],
    missing: set[str],
) -> Case:
    labelled = {organ: value for organ, value in source["labels"].items() if organ not in missing}
    case = Case.from_volume(
        volume,
        labels,
        name=name,
        patient=_patient(name, source.get("patient_pattern", ".*")),
        classes={value: numbers[organ] for organ, value in labelled.items()},
        unlabelled=[number for organ, number in numbers.items() if organ not in labelled],
    )
    if (fault := mirror_fault(case.labels, numbers)) is not None:
        raise TrainingError(f"{name}: expected {fault[0]}, found {fault[1]}")
    return case


def _patient(name: str, pattern: str) -> str:
    """The person a case shows, by its name; see `models.data.patients`."""
    patient = patient_in(name, pattern)
    if patient is None:
        raise TrainingError(f"expected a case name that starts like {pattern!r}, found {name!r}")
    return patient
