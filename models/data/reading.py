"""From a record to a case: canonical order, HU, and the network's classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

from models.data.layouts_dicom import DicomReader
from models.data.loading import load
from models.data.png import Shade
from models.data.problems import mirror_fault
from models.data.records import Record
from models.errors import TrainingError
from models.json_files import read_object
from models.training.cases import UNKNOWN, Case


@dataclass(frozen=True, kw_only=True)
class StatusRule:
    """When a record's status file says that an organ is not labelled.

    Parameters
    ----------
    key
        The organ's key in the file.
    unlabelled_when
        Values of it that mean: may be there without a label.
    """

    key: str
    unlabelled_when: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the files of a data set become cases.

    Parameters
    ----------
    classes
        Network class of each label value.
    unlabelled
        Network classes that may be there but are not labelled in this data set.
    known
        Label values that may occur besides those of `classes`, 0 and 255: they become background.
        Any other value is an error.
    unknown
        Label values that may occur, whose class nobody knows.
    window_hu
        HU of black and white in PNG slices; None where there are none.
    shades
        Label value of each grey or colour of PNG masks; None where greys are the values.
    status
        By network class.
    dicom
        Reads DICOM; None where there is none.
    organs
        Network class of each organ, by which labels that are mirrored can be told.
    """

    classes: Mapping[int, int]
    unlabelled: frozenset[int] = frozenset()
    known: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    window_hu: tuple[float, float] | None = None
    shades: Mapping[Shade, int] | None = None
    status: Mapping[int, StatusRule] = field(default_factory=lambda: MappingProxyType({}))
    dicom: DicomReader | None = None
    organs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def settings(self) -> dict[str, object]:
        """All that decides what comes out, in types that JSON has.

        Without `organs`: by them a case is refused or not, but they change none.
        """
        return {
            "classes": sorted(self.classes.items()),
            "unlabelled": sorted(self.unlabelled),
            "known": sorted(self.known),
            "unknown": sorted(self.unknown),
            "window_hu": self.window_hu,
            "shades": None if self.shades is None else sorted(map(repr, self.shades.items())),
            "status": sorted(
                (number, rule.key, rule.unlabelled_when) for number, rule in self.status.items()
            ),
            "dicom": None if self.dicom is None else self.dicom.settings,
        }


def read_case(record: Record, reading: Reading) -> Case:
    """Read a labelled record.

    Organs that a DICOM object does not speak of, and those whose status says so, are unlabelled
    in the case.

    Raises
    ------
    TrainingError
        If there are no labels, a file cannot be used, or image and labels do not fit; the text
        names every fault.
    """
    if record.label is None:
        raise TrainingError(f"{record.image}: expected a label of this image, found none")
    if record.kind == "png" and reading.window_hu is None:
        raise TrainingError(f"{record.image}: expected the HU of black and white, found none")
    loaded = load(
        record,
        known={*reading.classes, *reading.known, *reading.unknown},
        window_hu=reading.window_hu or (0.0, 1.0),
        shades=reading.shades,
        dicom=reading.dicom,
    )
    errors = [str(problem) for problem in loaded.problems if problem.severity == "error"]
    if errors or loaded.volume is None or loaded.label_map is None:
        raise TrainingError("; ".join(errors))
    missing = reading.unlabelled | _poor(record, reading)
    if loaded.spoken_of is not None:
        spoken = {reading.classes[value] for value in loaded.spoken_of & set(reading.classes)}
        missing |= set(reading.classes.values()) - spoken - {0}
    classes = {v: number for v, number in reading.classes.items() if number not in missing}
    case = Case.from_volume(
        loaded.volume,
        loaded.label_map,
        name=record.name,
        patient=record.patient,
        classes={**classes, **dict.fromkeys(reading.unknown, UNKNOWN)},
        unlabelled=sorted(missing),
        spacing_stated=record.states_spacing,
    )
    if record.kind == "png":  # one slice shows too little to tell sides
        return case
    if (fault := mirror_fault(case.labels, reading.organs)) is not None:
        raise TrainingError(
            f"{record.label}: expected {fault[0]}, found {fault[1]}; --exclude leaves it out"
        )
    return case


def _poor(record: Record, reading: Reading) -> frozenset[int]:
    """Classes that the record's status file gives up."""
    if record.status is None or not reading.status:
        return frozenset()
    status = read_object(record.status, TrainingError)
    found = {n: state_of(status, rule.key, record.status) for n, rule in reading.status.items()}
    return _given_up(found, reading.status)


def state_of(status: Mapping[str, Any], key: str, path: Path) -> Any:
    """What a status file says of one organ.

    Raises
    ------
    TrainingError
        If it says nothing: a misspelt key would make poor labels good ones.
    """
    if key not in status:
        known = ", ".join(status) or "nothing"
        raise TrainingError(f"{path}: expected a state of {key!r}, found those of {known}")
    return status[key]


def _given_up(found: Mapping[int, object], rules: Mapping[int, StatusRule]) -> frozenset[int]:
    return frozenset(n for n, value in found.items() if value in rules[n].unlabelled_when)


def status_rules(
    status: object,
    unlabelled_when: object,
    classes: Mapping[str, int],
    known: Collection[str] = (),
) -> dict[int, StatusRule]:
    """The rule of each network class, as a recipe's `data` gives it.

    Parameters
    ----------
    status
        `{"liver": "Leber"}`: the key of each organ in the files; null for one without.
    unlabelled_when
        `{"liver": ["bad", "absent"], "*": ["bad"]}`: the states in which an organ may be there
        without a label; `*` stands for all organs that are not named.
    classes
        Network class of each organ.
    known
        Organs that may be named besides, to no effect.

    Raises
    ------
    TrainingError
        If one is there without the other, or they are not of that form.
    """
    if status is None and unlabelled_when is None:
        return {}
    if status is None or unlabelled_when is None:
        raise TrainingError("data.status and data.unlabelled_when: expected both, found one")
    if isinstance(status, Mapping):
        status = {organ: key for organ, key in status.items() if key is not None}
    organs = {*classes, *known}
    if not _is_of(status, str, organs):
        raise TrainingError(
            f"data.status: expected texts by organs of the network, found {status!r}"
        )
    if not _is_of(unlabelled_when, list, {*organs, "*"}):
        raise TrainingError(
            "data.unlabelled_when: expected lists of texts by organs of the network or *, "
            f"found {unlabelled_when!r}"
        )
    others = unlabelled_when.get("*", [])
    return {
        classes[organ]: StatusRule(
            key=key, unlabelled_when=tuple(unlabelled_when.get(organ, others))
        )
        for organ, key in status.items()
        if organ in classes
    }


def _is_of(
    found: object, kind: type[str] | type[list[str]], keys: Collection[str]
) -> TypeGuard[Mapping[str, Any]]:
    return (
        isinstance(found, Mapping)
        and set(found) <= set(keys)
        and all(isinstance(v, kind) and all(isinstance(t, str) for t in v) for v in found.values())
    )


def label_mapping(
    label_values: Mapping[str, int],
    classes: Mapping[str, int],
    wanted: Collection[str] | None = None,
) -> dict[int, int]:
    """Network class of each label value, by the names of organs that both know.

    Parameters
    ----------
    label_values
        Value of each organ in the files.
    classes
        Network class of each organ.
    wanted
        Organs to keep; None keeps all.
    """
    return {
        value: classes[organ]
        for organ, value in label_values.items()
        if organ in classes and (wanted is None or organ in wanted)
    }
