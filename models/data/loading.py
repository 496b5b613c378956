"""Read the files of one record and judge them, collecting all that is wrong."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.layouts_dicom import DicomReader
from models.data.nifti import NiftiFile, open_nifti
from models.data.png import Shade, read_greys, read_mask
from models.data.problems import (
    UNKNOWN_VALUE,
    Problem,
    Severity,
    grey_fault,
    grid_fault,
    hu_fault,
    to_hu,
    value_counts,
    value_fault,
)
from models.data.records import Record
from models.errors import TrainingError
from models.geometry import LabelMap, Volume, VolumeGeometry
from models.orientation import AxisOrder
from models.training.cases import as_labels

#: Spacing of slices that state none.
PNG_SPACING_MM = 1.0
#: sform and qform of one file may differ by rounding.
_FORMS_TOLERANCE_MM = 0.1


@dataclass(kw_only=True, eq=False)
class Loaded:
    """What one record's files hold.

    Parameters
    ----------
    record
        The record.
    volume, label_map
        On one grid; None where they cannot be had.
    spoken_of
        Label values that a DICOM object speaks of; None where labels are complete.
    counts
        Voxels of each label value but 0.
    problems
        All that was found to be wrong.
    """

    record: Record
    volume: Volume | None = None
    label_map: LabelMap | None = None
    spoken_of: frozenset[int] | None = None
    counts: Mapping[int, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def blame(
        self, kind: str, path: Path, fault: tuple[str, str] | None, severity: Severity = "error"
    ) -> None:
        """Note a fault, where there is one."""
        if fault is not None:
            self.problems.append(
                Problem(
                    kind=kind,
                    record=self.record.name,
                    path=path,
                    expected=fault[0],
                    found=fault[1],
                    severity=severity,
                )
            )


def load(
    record: Record,
    *,
    known: Collection[int] | None = None,
    window_hu: tuple[float, float] = (-160.0, 240.0),
    shades: Mapping[Shade, int] | None = None,
    dicom: DicomReader | None = None,
) -> Loaded:
    """Read an image and its labels as far as they can be read.

    Parameters
    ----------
    record
        Whose files to read.
    known
        Label values that may occur besides 0 and 255; None allows any.
    window_hu
        HU of black and white in PNG slices.
    shades
        As `models.data.png.read_mask` takes it.
    dicom
        Reads DICOM.

    Returns
    -------
    Loaded
        Nothing is raised for files that cannot be used: `problems` tells of them.
    """
    loaded = Loaded(record=record)
    if not record.image.exists():
        # images without labels are listed by many data sets and left behind by many people
        severity: Severity = "error" if record.wants_label else "warning"
        loaded.blame("missing image", record.image, ("an image", "none"), severity)
    if record.label is None and record.wants_label:
        loaded.blame("missing label", record.image, ("a label of this image", "none"))
    if record.label is not None and not record.label.exists():
        loaded.blame("missing label", record.label, ("a label", "none"))
    if loaded.problems and not record.image.exists():
        return loaded
    try:
        if record.kind == "png":
            _load_png(loaded, window_hu, shades)
        elif record.kind == "nifti":
            _load_nifti(loaded)
        else:
            _load_dicom(loaded, dicom)
    except TrainingError as exc:
        loaded.blame("unreadable", record.image, ("", str(exc)))
    if loaded.label_map is not None and record.label is not None:
        loaded.counts = value_counts(loaded.label_map.labels)
        loaded.blame("unknown label value", record.label, value_fault(loaded.counts, known))
        if record.kind != "png" and not set(loaded.counts) - {UNKNOWN_VALUE}:
            loaded.blame("empty label", record.label, ("a labelled organ", "background alone"))
    return loaded


def _has_label(record: Record) -> bool:
    return record.label is not None and record.label.exists()


def _load_nifti(loaded: Loaded) -> None:
    record = loaded.record
    image = open_nifti(record.image)
    _judge_header(loaded, image)
    hu, extent = to_hu(image.read())
    loaded.blame("no Hounsfield units", record.image, hu_fault(extent))
    loaded.volume = Volume(hu=hu, geometry=image.geometry)
    if not _has_label(record) or record.label is None:
        return
    label = open_nifti(record.label)
    _judge_header(loaded, label)
    fault = grid_fault(image.geometry, label.geometry)
    loaded.blame("another grid", record.label, fault)
    if fault is None:
        values = as_labels(label.read(), record.label)
        loaded.label_map = LabelMap(labels=values, geometry=image.geometry)


def _judge_header(loaded: Loaded, file: NiftiFile) -> None:
    if not file.placed:
        fault = ("an sform or qform that places the image", "neither")
        loaded.blame("no orientation", file.path, fault, "warning")
    if file.forms_apart_mm > _FORMS_TOLERANCE_MM:
        apart = f"corners {file.forms_apart_mm:.2f} mm apart"
        if not math.isfinite(file.forms_apart_mm):
            apart = "a qform that is no rotation: the sform is used"
        fault = ("one grid by sform and qform", apart)
        loaded.blame("two orientations", file.path, fault, "warning")


def _load_png(
    loaded: Loaded, window_hu: tuple[float, float], shades: Mapping[Shade, int] | None
) -> None:
    record = loaded.record
    greys = read_greys(record.image)
    low, high = window_hu
    hu = np.rint(low + greys * np.float32(high - low)).astype(np.int16)[None]
    geometry = VolumeGeometry.from_spacing(hu.shape, (PNG_SPACING_MM,) * 3)
    loaded.volume = Volume(hu=hu, geometry=geometry)
    if not _has_label(record) or record.label is None:
        return
    labels = read_mask(record.label, shades)[None]
    if labels.shape != hu.shape:
        fault = (f"the image's shape {hu.shape[1:]}", f"{labels.shape[1:]}")
        loaded.blame("another grid", record.label, fault)
        return
    loaded.label_map = LabelMap(labels=np.ascontiguousarray(labels), geometry=geometry)
    if ((labels > 0) & (labels != UNKNOWN_VALUE)).any():  # without an organ it may be dark
        loaded.blame("no windowed greys", record.image, grey_fault(greys))


def _load_dicom(loaded: Loaded, dicom: DicomReader | None) -> None:
    record = loaded.record
    if dicom is None:
        raise TrainingError(f"{record.image}: expected a reader of DICOM, found none")
    volume = dicom.read_volume(record)
    loaded.volume = volume
    if not _has_label(record) or record.label is None:
        return
    if record.label.name.endswith((".nii", ".nii.gz")):
        label = open_nifti(record.label)
        labels = as_labels(label.read(), record.label)
        turned, geometry = _turned_to(labels, label.geometry, volume.geometry)
        fault = grid_fault(volume.geometry, geometry)
        loaded.blame("another grid", record.label, fault)
        if fault is None:
            loaded.label_map = LabelMap(labels=turned, geometry=volume.geometry)
    else:
        loaded.label_map, loaded.spoken_of = dicom.read_labels(record, volume)


def _turned_to(
    labels: NDArray[Any], source: VolumeGeometry, target: VolumeGeometry
) -> tuple[NDArray[Any], VolumeGeometry]:
    """Labels with axes permuted and flipped to run as those of another grid do."""
    there, here = AxisOrder.closest(source), AxisOrder.closest(target)
    turned = np.ascontiguousarray(here.invert(there.apply(labels)))
    # the axes of `target` in terms of `source`: permute and flip, without moving a voxel
    axes = tuple(int(np.flatnonzero(np.array(here.source_axis) == axis)[0]) for axis in range(3))
    order = AxisOrder(
        source_axis=tuple(there.source_axis[n] for n in axes),  # type: ignore[arg-type]
        flipped=tuple(there.flipped[n] != here.flipped[n] for n in axes),  # type: ignore[arg-type]
    )
    return turned, order.geometry(source)
