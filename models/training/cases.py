"""Labelled volumes to learn from, with what is known and unknown in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.data.nifti import open_nifti
from models.data.problems import hu_fault, to_hu
from models.errors import TrainingError
from models.geometry import LabelMap, Volume, VolumeGeometry
from models.orientation import AxisOrder

#: Label of voxels whose class nobody knows: no part in a loss or a metric.
UNKNOWN = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One labelled volume in canonical order (z to the head, y to the back, x to the left).

    Parameters
    ----------
    name, patient
        Its own name, and the person's: cases of one patient always share a fold.
    hu, labels
        `(D, H, W)` int16 HU and uint8 network classes, `UNKNOWN` where nobody knows.
    spacing_mm
        In array order.
    unlabelled
        Classes that may be there but are not labelled: in this case background means
        "background or one of these".
    spacing_stated
        Whether the files state `spacing_mm`; PNG do not, and a pixel stands for 1 mm.
    """

    name: str
    patient: str
    hu: NDArray[np.int16] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    spacing_mm: tuple[float, float, float]
    unlabelled: frozenset[int]
    spacing_stated: bool = True

    @classmethod
    def from_volume(
        cls,
        volume: Volume,
        label_map: LabelMap,
        *,
        name: str,
        patient: str,
        classes: Mapping[int, int],
        unlabelled: Sequence[int] = (),
        spacing_stated: bool = True,
    ) -> Case:
        """Bring a volume and its labels into canonical order.

        Parameters
        ----------
        classes
            Network class of each label value; other values become background.
        unlabelled
            Network classes that this case does not label.

        Raises
        ------
        TrainingError
            If labels and image lie on different grids.
        """
        if not volume.geometry.agrees_with(label_map.geometry, tolerance_mm=0.1):
            raise TrainingError(f"{name}: image and labels lie on different grids")
        table = np.zeros(256, np.uint8)
        for value, number in classes.items():
            table[value] = number
        table[UNKNOWN] = UNKNOWN
        order = AxisOrder.closest(volume.geometry)
        return cls(
            name=name,
            patient=patient,
            hu=np.array(order.apply(volume.hu), order="C"),  # a copy: a volume's own is read-only
            labels=table[np.ascontiguousarray(order.apply(label_map.labels))],
            spacing_mm=order.geometry(volume.geometry).spacing_mm,
            unlabelled=frozenset(unlabelled),
            spacing_stated=spacing_stated,
        )

    @property
    def volume(self) -> Volume:
        """The image on a grid of its own that starts at the origin."""
        geometry = VolumeGeometry.from_spacing(self.hu.shape, self.spacing_mm)
        return Volume(hu=self.hu.view(), geometry=geometry)  # a volume makes its array read-only


def read_pair(image: Path, label: Path) -> tuple[Volume, LabelMap]:
    """Read an image and its labels from NIfTI, HU rounded to int16.

    Raises
    ------
    TrainingError
        If one of them cannot be read, see `open_nifti`, the image is none in HU, or a label is
        none.
    """
    file = open_nifti(image)
    hu, extent = to_hu(file.read())
    if (fault := hu_fault(extent)) is not None:
        raise TrainingError(f"{image}: expected {fault[0]}, found {fault[1]}")
    return Volume(hu=hu, geometry=file.geometry), read_labels(label)


def read_labels(path: Path) -> LabelMap:
    """Read labels from NIfTI; raises TrainingError as `read_pair`."""
    file = open_nifti(path)
    return LabelMap(labels=as_labels(file.read(), path), geometry=file.geometry)


def as_labels(values: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Label values as contiguous uint8; raises TrainingError where that would change one."""
    labels = np.ascontiguousarray(values).astype(np.uint8)
    if not np.array_equal(labels, values):
        raise TrainingError(f"{path}: expected whole label values of 0 to 255, found others")
    return labels


class OfPatient(Protocol):
    """A case, or a record of one."""

    @property
    def patient(self) -> str: ...


def folds(cases: Sequence[OfPatient], count: int) -> list[list[str]]:
    """Deal patients into `count` folds of near equal numbers of cases, always the same way.

    Returns
    -------
    The patients of each fold.
    """
    patients = sorted({case.patient for case in cases})
    if not 2 <= count <= len(patients):
        raise TrainingError(f"expected 2 to {len(patients)} folds, found {count}")
    sizes = {patient: sum(case.patient == patient for case in cases) for patient in patients}
    dealt: list[list[str]] = [[] for _ in range(count)]
    for patient in sorted(patients, key=lambda p: (-sizes[p], p)):
        lightest = min(dealt, key=lambda fold: sum(sizes[p] for p in fold))
        lightest.append(patient)
    return dealt
