"""What a data set holds, one record at a time: measures, a slice to look at, and problems."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.layouts_dicom import DicomReader
from models.data.loading import Loaded, load
from models.data.problems import UNKNOWN_VALUE, Problem, mirror_fault
from models.data.records import Record
from models.geometry import VolumeGeometry
from models.orientation import AxisOrder

_BINS = 1 << 16
_OFFSET = 1 << 15
PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """The slice of a record that shows the most of its labels, or its middle.

    Parameters
    ----------
    hu, labels
        `(H, W)` int16 and uint8, patient's right on the left, front on top.
    spacing_mm
        Between rows, between columns.
    """

    record: Record
    hu: NDArray[np.int16] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of one record.

    Parameters
    ----------
    shape, spacing_mm
        Canonical order; None where the image could not be read.
    voxels
        Of each label value.
    volume_ml
        Of each label value; empty for slices, which state no spacing.
    """

    record: Record
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    voxels: Mapping[int, int]
    volume_ml: Mapping[int, float]


@dataclass(eq=False)
class Inspection:
    """What was found in all records; grows with `add`."""

    measured: list[Measured] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _hu_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, loaded: Loaded, label_values: Mapping[str, int]) -> Look | None:
        """Take note of one record; returns the slice to look at, where there is one."""
        record, volume = loaded.record, loaded.volume
        if volume is None:
            self.problems += loaded.problems
            self.measured.append(
                Measured(record=record, shape=None, spacing_mm=None, voxels={}, volume_ml={})
            )
            return None
        order = AxisOrder.closest(volume.geometry)
        canonical = order.geometry(volume.geometry)
        hu = order.apply(volume.hu)
        for plane in hu:
            shifted = plane.ravel().astype(np.int64) + _OFFSET
            self._hu_counts += np.bincount(shifted, minlength=_BINS)
        labels = np.zeros(canonical.shape, np.uint8)
        if loaded.label_map is not None and record.label is not None:
            labels = order.apply(loaded.label_map.labels)
            loaded.blame("mirrored", record.label, mirror_fault(labels, label_values))
        self.problems += loaded.problems
        self.measured.append(_measured(loaded, canonical))
        k = _best_slice(labels)
        return Look(
            record=record,
            hu=np.array(hu[k]),
            labels=np.array(labels[k]),
            spacing_mm=canonical.spacing_mm[1:],
        )

    def hu_percentiles(self) -> dict[float, int]:
        """HU below which a share (in percent) of all voxels of all images lie."""
        total = int(self._hu_counts.sum())
        if not total:
            return {}
        below = np.cumsum(self._hu_counts)
        return {p: int(np.searchsorted(below, p / 100 * total)) - _OFFSET for p in PERCENTILES}


def inspect_records(
    records: Sequence[Record],
    label_values: Mapping[str, int],
    *,
    known: Collection[int] | None = None,
    dicom: DicomReader | None = None,
    on_look: Callable[[Look], None] | None = None,
    **options: Any,
) -> Inspection:
    """Read every record once, and say all that is wrong.

    Parameters
    ----------
    label_values
        Value of each organ.
    known
        Label values that may occur; None for those of `label_values`, or any where there are none.
    on_look
        Given each record's slice to look at, in order.
    options
        `window_hu` and `shades`, as `models.data.loading.load` takes them.

    Returns
    -------
    Inspection
        Nothing is raised for files that cannot be used.
    """
    if known is None:
        known = frozenset(label_values.values()) or None
    inspection = Inspection()
    for record in records:
        look = inspection.add(load(record, known=known, dicom=dicom, **options), label_values)
        if look is not None and on_look is not None:
            on_look(look)
    there = {value for measured in inspection.measured for value in measured.voxels}
    if not there - {UNKNOWN_VALUE}:
        faulty = {problem.record for problem in inspection.problems}
        whole = [record for record in records if record.name not in faulty]
        inspection.problems += _nothing_labelled(whole, is_unknown=UNKNOWN_VALUE in there)
    inspection.problems += shared_problems(records)
    return inspection


def shared_problems(records: Iterable[Record]) -> list[Problem]:
    """Names that occur twice, patients on both sides of the data set's own split, or unknown."""
    records = list(records)
    problems = [*_slices_without_patients(records), *_volumes_without_patients(records)]
    first_of: dict[str, Record] = {}
    sides: dict[str, dict[str, Record]] = {}
    for record in records:
        first = first_of.setdefault(record.name, record)
        if first is not record:
            problems.append(
                _shared("name twice", record, "a name of its own", f"that of {first.image}")
            )
        side = sides.setdefault(record.patient, {})
        side.setdefault(record.purpose, record)
    for patient, side in sorted(sides.items()):
        found = sorted(purpose for purpose in side if purpose in ("training", "validation", "test"))
        if len(found) > 1:
            record = side[found[-1]]
            problems.append(
                _shared(
                    "patient on both sides",
                    record,
                    f"the patient {patient} in one of training, validation and test",
                    " and ".join(found),
                )
            )
    return problems


def _shared(kind: str, record: Record, expected: str, found: str) -> Problem:
    return Problem(kind=kind, record=record.name, path=record.image, expected=expected, found=found)


def _nothing_labelled(records: Iterable[Record], *, is_unknown: bool) -> list[Problem]:
    """Slices may be empty, all but one of them."""
    found = "background in all"
    if is_unknown:
        found = (
            f"background and {UNKNOWN_VALUE} in all, and {UNKNOWN_VALUE} means unknown: nothing is "
            f'learnt from it unless a recipe gives it a value, as data.shades={{"0": 0, "255": 1}}'
        )
    return [
        _shared("empty label", record, "a labelled organ in some mask", found)
        for record in records
        if record.kind == "png" and record.label is not None and record.wants_label
    ][:1]


def _slices_without_patients(records: Sequence[Record]) -> list[Problem]:
    """A warning where no two slices are of one patient, as where `slice000.png` says nothing."""
    slices = [record for record in records if record.kind == "png"]
    if len(slices) < 2 or len({record.patient for record in slices}) < len(slices):
        return []
    expected = (
        "slices of one patient in a sub-folder of their own, or --set data.patient_pattern=REGEX "
        "(without a model --patient-pattern REGEX)"
    )
    found = f"{len(slices)} slices of as many patients: a person may be on both sides of the split"
    return [replace(_shared("no patients", slices[0], expected, found), severity="warning")]


#: What tells volumes of one person apart at the end of a name, such as the phase of a contrast.
_PHASE = re.compile(r"(.*\d.*)[-_ ]([A-Za-z]+)")


def _volumes_without_patients(records: Sequence[Record]) -> list[Problem]:
    """A warning where `17-arterial` and `17-portal` count as two people."""
    named: dict[str, list[Record]] = {}
    for record in records:
        match = _PHASE.fullmatch(record.name)
        if match and record.kind == "nifti" and record.patient == record.name:
            named.setdefault(match.group(1), []).append(record)
    together = [group for group in named.values() if len(group) > 1]
    if not together:
        return []
    first, second, *_ = together[0]
    expected = "one patient for names that differ in their end alone, or a pattern that says so"
    found = (
        f"{first.name} and {second.name} as two people"
        + (f", and {len(together) - 1} more" if len(together) > 1 else "")
        + ": one person may be on both sides of the split; --set data.patient_pattern=REGEX tells "
        "who is who (without a model --patient-pattern REGEX)"
    )
    return [replace(_shared("no patients", first, expected, found), severity="warning")]


def _measured(loaded: Loaded, canonical: VolumeGeometry) -> Measured:
    is_slice = loaded.record.kind == "png"
    ml = canonical.voxel_volume_ml
    return Measured(
        record=loaded.record,
        shape=canonical.shape,
        spacing_mm=None if is_slice else canonical.spacing_mm,
        voxels=loaded.counts,
        volume_ml={} if is_slice else {v: n * ml for v, n in loaded.counts.items()},
    )


def _best_slice(labels: NDArray[np.uint8]) -> int:
    """The slice that shows the most of the most labels; the middle where there are none."""
    counts = np.stack([np.bincount(plane.ravel(), minlength=256)[1:] for plane in labels])
    most = counts.max(axis=0)
    if not most.any():
        return len(labels) // 2
    return int((counts[:, most > 0] / most[most > 0]).sum(axis=1).argmax())
