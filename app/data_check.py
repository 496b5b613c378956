"""`viscera data check`: what a data set holds, with pictures, and all that is wrong with it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.data_sheet import COLUMNS, ROWS, write_sheets
from app.data_summary import summarise, text_of
from app.learning.access import data_access, read_recipe
from models.data.inspection import Look, inspect_records
from models.data.label_values import LABEL_VALUES
from models.data.layouts import DataSet, open_data_set
from models.data.layouts_labels import contradictions
from models.data.problems import Problem, Severity
from models.data.records import Record
from models.errors import TrainingError
from models.geometry import LabelMap, Volume
from models.training.recipe_data import label_values, reading_of
from operators.errors import ImagingError
from operators.label_reading_folder import DicomFolderReader, numbers_of_all
from operators.label_reading_names import LabelNumbers
from operators.label_reading_slices import Overlap
from operators.outputs import atomic_write, make_folder

SUMMARY = "summary.json"
#: Problems that are printed; all are in the summary.
_SHOWN = 50
#: More cases than these are shown by a part of them, evenly spread.
_PICTURED = 4 * COLUMNS * ROWS


def run_data_check(parsed: argparse.Namespace) -> int:
    """Print a summary of a data set, and write it with pictures where a folder is given.

    Parameters
    ----------
    parsed
        `folder`; `layout` (None: recognised), `patient_pattern` (None: by the layout) and `output`
        (None: nothing is written); `model`, `models` and `set` name the recipe that the data are
        for (None: any).

    Returns
    -------
    0

    Raises
    ------
    TrainingError
        If there is no data set, or anything is wrong with it: then after all was printed.
    OutputError
        If results cannot be written.
    """
    data, wanted = _for_recipe(parsed) if _names_recipe(parsed) else _by_layout(parsed)
    pictured = _spread(len(data.records)) if parsed.output is not None else frozenset()
    looks: list[Look] = []
    shown = {data.records[n].name for n in pictured}
    inspection = inspect_records(
        data.records,
        wanted.label_values,
        known=wanted.known,
        dicom=wanted.reader,
        on_look=lambda look: looks.append(look) if look.record.name in shown else None,
        **wanted.options,
    )
    inspection.problems += [*wanted.problems, *wanted.reader.overlaps]
    summary = summarise(data, inspection, wanted.names)
    print(text_of(summary))
    if not wanted.names:
        print("\nnothing states what label values mean: --model NAME compares them with its recipe")
    _print_problems(inspection.problems)
    if parsed.output is not None:
        make_folder(parsed.output)
        with atomic_write(parsed.output / SUMMARY) as stream:
            stream.write(json.dumps(summary, indent=2, ensure_ascii=False).encode() + b"\n")
        write_sheets(looks, _names(summary), parsed.output)
    errors = [problem for problem in inspection.problems if problem.severity == "error"]
    if errors:
        kinds = Counter(problem.kind for problem in errors)
        told = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        raise TrainingError(
            f"{parsed.folder}: expected a data set without faults, found {len(errors)}: {told}"
        )
    return 0


@dataclass(eq=False)
class _Reader(DicomFolderReader):
    """Reads what organs share twice, for the first and for the last of them: where it differs.

    `severity` is that of an overlap.
    """

    overlap: Overlap = "first"
    severity: Severity = "warning"
    names: Mapping[int, str] = field(default_factory=dict)
    overlaps: list[Problem] = field(default_factory=list)

    def read_labels(self, record: Record, volume: Volume) -> tuple[LabelMap, frozenset[int]]:
        label_map, values = super().read_labels(record, volume)
        if self.numbers is not None and record.label is not None:
            last = _LastFirst(self.numbers.values)
            other, _ = DicomFolderReader(last, "first", self._last).read_labels(record, volume)
            shared = label_map.labels != other.labels
            pairs = Counter(
                zip(label_map.labels[shared].tolist(), other.labels[shared].tolist(), strict=True)
            )
            found = [
                f"{count} voxels of {self.names[first]} and {self.names[second]}"
                for (first, second), count in pairs.most_common()
            ]
            if found:
                told = ", ".join(found)
                self.overlaps.append(_overlap(record, record.label, told, self.severity))
        return label_map, values


class _LastFirst(LabelNumbers):
    """Names of which the last has priority."""

    def rank(self) -> dict[int, int]:
        return {value: -place for value, place in super().rank().items()}


def _overlap(record: Record, path: Path, found: str, severity: Severity) -> Problem:
    return Problem(
        kind="overlap",
        record=record.name,
        path=path,
        expected='no overlap of organs (training refuses it unless data.overlap is "first")',
        found=found,
        severity=severity,
    )


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What a data set ought to hold, by its layout or by a recipe, and how it is read."""

    label_values: Mapping[str, int]
    names: Mapping[int, str]
    reader: _Reader
    known: frozenset[int] | None = None
    problems: Sequence[Problem] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def _by_layout(parsed: argparse.Namespace) -> tuple[DataSet, _Wanted]:
    """Organs as the layout numbers them, or as DICOM objects name them."""
    data = _open(parsed, parsed.layout, None)
    label_values, numbers = data.label_values, None
    if data.layout == "dicom":
        numbers = _numbers_of_all(data)
        label_values = numbers.values
    names = {value: name for name, value in label_values.items()}
    reader = _Reader(numbers, names=names)
    return data, _Wanted(label_values=label_values, names=names, reader=reader)


def _names_recipe(parsed: argparse.Namespace) -> bool:
    named = parsed.model is not None or parsed.models is not None
    if parsed.set and not named:
        raise TrainingError(f"expected --model NAME beside --set, found {parsed.set[0]} alone")
    return named


def _for_recipe(parsed: argparse.Namespace) -> tuple[DataSet, _Wanted]:
    """Organs as the recipe of a model numbers them; what it does not know is an error."""
    options = argparse.Namespace(**vars(parsed), data=parsed.folder, config=None, exclude=())
    recipe = read_recipe(options)
    if "data" not in recipe.content:
        raise TrainingError(
            f"expected a recipe for data sets, found that {recipe.bundle.name} has sources of its "
            "own: --layout puts it on a data set"
        )
    content, reading, organs = recipe.part("data"), reading_of(recipe), label_values(recipe)
    data = _open(parsed, content.get("layout"), content.get("patient_pattern"))
    known = frozenset({*reading.classes, *reading.known, *reading.unknown})
    names = {
        **dict.fromkeys(reading.known, "other"),
        **dict.fromkeys(reading.unknown, "unknown"),
        **{value: name for name, value in data.label_values.items()},
        **{value: organ for organ, values in organs.items() for value in values},
    }
    dicom = data_access(recipe, options, parsed.folder).dicom
    numbers = dicom.numbers if isinstance(dicom, DicomFolderReader) else None
    forbids = isinstance(dicom, DicomFolderReader) and dicom.overlap != "first"
    return data, _Wanted(
        label_values={organ: values[0] for organ, values in organs.items()},
        names=names,
        reader=_Reader(numbers, names=names, severity="error" if forbids else "warning"),
        known=known,
        problems=[] if data.layout in LABEL_VALUES else _contradictions(data, organs),
        options={"window_hu": reading.window_hu, "shades": reading.shades},
    )


def _contradictions(data: DataSet, organs: Mapping[str, Collection[int]]) -> list[Problem]:
    """Values that the data set itself gives to other organs; training refuses them too."""
    return [
        Problem(
            kind="another organ",
            record="",
            path=data.folder,
            expected="the organs of the recipe, by the data set's own names",
            found=found,
        )
        for found in contradictions(data.label_values, organs)
    ]


def _open(parsed: argparse.Namespace, layout: str | None, pattern: object) -> DataSet:
    pattern = pattern if parsed.patient_pattern is None else parsed.patient_pattern
    if not isinstance(pattern, (str, type(None))):
        raise TrainingError(
            f"data.patient_pattern: expected a regular expression, found {pattern!r}"
        )
    return open_data_set(parsed.folder, layout, patient_pattern=pattern, dicom=_Reader())


def _numbers_of_all(data: DataSet) -> LabelNumbers:
    """A value for each organ that the objects of a data set name."""
    paths = [record.label for record in data.records if record.label is not None]
    try:
        return numbers_of_all(paths)
    except ImagingError as exc:
        raise TrainingError(f"{data.folder}: {exc}") from exc


def _spread(count: int) -> frozenset[int]:
    """At most `_PICTURED` of `count` numbers, evenly spread."""
    return frozenset(np.linspace(0, count - 1, min(count, _PICTURED)).round().astype(int).tolist())


def _names(summary: Mapping[str, Any]) -> dict[int, str]:
    return {label["value"]: label["name"] for label in summary["labels"]}


def _print_problems(problems: Sequence[Problem]) -> None:
    if not problems:
        print("\nno problems")
        return
    print(f"\n{len(problems)} problems", file=sys.stderr)
    for problem in problems[:_SHOWN]:
        print(f"  {problem.severity}: {problem.kind}: {problem}", file=sys.stderr)
    if len(problems) > _SHOWN:
        print(f"  and {len(problems) - _SHOWN} more", file=sys.stderr)
