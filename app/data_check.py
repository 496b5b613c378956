"""`viscera data check`: what a data set holds, with pictures, and all that is wrong with it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.data_sheet import COLUMNS, ROWS, write_sheets
from models.data.inspection import Inspection, Look, Measured, inspect_records
from models.data.layouts import DataSet, open_data_set
from models.data.problems import UNKNOWN_VALUE, Problem
from models.errors import TrainingError
from operators.errors import ImagingError
from operators.label_reading_folder import DicomFolderReader, numbers_of_all
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
        (None: nothing is written).

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
    reader = DicomFolderReader(overlap="first")
    data = open_data_set(
        parsed.folder, parsed.layout, patient_pattern=parsed.patient_pattern, dicom=reader
    )
    label_values = dict(data.label_values)
    if data.layout == "dicom":
        reader, label_values = _named(data)
    pictured = _spread(len(data.records)) if parsed.output is not None else frozenset()
    looks: list[Look] = []
    wanted = {data.records[n].name for n in pictured}
    inspection = inspect_records(
        data.records,
        label_values,
        dicom=reader,
        on_look=lambda look: looks.append(look) if look.record.name in wanted else None,
    )
    summary = summarise(data, inspection, label_values)
    print(text_of(summary))
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


def summarise(
    data: DataSet, inspection: Inspection, label_values: Mapping[str, int]
) -> dict[str, Any]:
    """All that was found, in types that JSON has."""
    names = {value: name for name, value in label_values.items()}
    records = data.records
    return {
        "layout": data.layout,
        "cases": len(records),
        "labelled": sum(record.label is not None for record in records),
        "patients": len({record.patient for record in records}),
        "purposes": dict(sorted(Counter(r.purpose or "open" for r in records).items())),
        "shape": _range([m.shape for m in inspection.measured if m.shape]),
        "spacing_mm": _range([m.spacing_mm for m in inspection.measured if m.spacing_mm]),
        "hu_percentiles": {str(p): hu for p, hu in inspection.hu_percentiles().items()},
        "labels": _labels(inspection.measured, names),
        "problems": [
            {
                "severity": problem.severity,
                "kind": problem.kind,
                "record": problem.record,
                "path": str(problem.path),
                "expected": problem.expected,
                "found": problem.found,
            }
            for problem in inspection.problems
        ],
        "records": [_record(measured) for measured in inspection.measured],
    }


def text_of(summary: Mapping[str, Any]) -> str:
    """The summary for people, without its problems."""
    purposes = ", ".join(f"{count} {purpose}" for purpose, count in summary["purposes"].items())
    lines = [
        f"layout    {summary['layout']}",
        f"cases     {summary['cases']}, {summary['labelled']} with labels ({purposes})",
        f"patients  {summary['patients']}",
    ]
    for key, title in (("shape", "shape"), ("spacing_mm", "spacing")):
        if summary[key]:
            low, high = (
                " x ".join(f"{n:.4g}" for n in summary[key][end]) for end in ("low", "high")
            )
            unit = " mm" if key == "spacing_mm" else ""
            lines.append(f"{title:<9} {low}{unit} to {high}{unit}  (head, back, left)")
    percentiles = summary["hu_percentiles"].items()
    lines.append("HU        " + ", ".join(f"{p} %: {hu}" for p, hu in percentiles))
    if summary["labels"]:
        lines += ["", f"{'label':<32}{'cases':>6}{'voxels':>14}{'median ml':>12}{'range ml':>20}"]
    for label in summary["labels"]:
        title = f"{label['value']} {label['name']}"
        ml = label["volume_ml"]
        volumes = f"{ml['median']:>12.1f}{ml['low']:>11.1f} - {ml['high']:.1f}" if ml else ""
        lines.append(f"{title:<32}{label['cases']:>6}{label['voxels']:>14,}{volumes}")
    return "\n".join(lines)


def _named(data: DataSet) -> tuple[DicomFolderReader, dict[str, int]]:
    """A reader that numbers all organs that the objects of a data set name."""
    paths = [record.label for record in data.records if record.label is not None]
    try:
        numbers = numbers_of_all(paths)
    except ImagingError as exc:
        raise TrainingError(f"{data.folder}: {exc}") from exc
    return DicomFolderReader(numbers=numbers, overlap="first"), dict(numbers.values)


def _spread(count: int) -> frozenset[int]:
    """At most `_PICTURED` of `count` numbers, evenly spread."""
    return frozenset(np.linspace(0, count - 1, min(count, _PICTURED)).round().astype(int).tolist())


def _names(summary: Mapping[str, Any]) -> dict[int, str]:
    return {label["value"]: label["name"] for label in summary["labels"]}


def _labels(measured: Sequence[Measured], names: Mapping[int, str]) -> list[dict[str, Any]]:
    voxels: dict[int, list[int]] = defaultdict(list)
    volumes: dict[int, list[float]] = defaultdict(list)
    for each in measured:
        for value, count in each.voxels.items():
            voxels[value].append(count)
        for value, ml in each.volume_ml.items():
            volumes[value].append(ml)
    return [
        {
            "value": value,
            "name": names.get(value, "unknown" if value == UNKNOWN_VALUE else ""),
            "cases": len(voxels[value]),
            "voxels": sum(voxels[value]),
            "volume_ml": _spread_of(volumes[value]),
        }
        for value in sorted(voxels)
    ]


def _spread_of(volumes: Sequence[float]) -> dict[str, float] | None:
    if not volumes:
        return None
    low, median, high = np.quantile(volumes, (0, 0.5, 1)).round(3).tolist()
    return {"low": low, "median": median, "high": high}


def _range(values: Sequence[Sequence[float]]) -> dict[str, list[float]] | None:
    if not values:
        return None
    array = np.array(values)
    return {
        "low": array.min(axis=0).round(4).tolist(),
        "high": array.max(axis=0).round(4).tolist(),
    }


def _record(measured: Measured) -> dict[str, Any]:
    record = measured.record
    return {
        "name": record.name,
        "patient": record.patient,
        "purpose": record.purpose,
        "shape": measured.shape,
        "spacing_mm": measured.spacing_mm,
        "voxels": {str(value): count for value, count in measured.voxels.items()},
        "volume_ml": {str(value): round(ml, 3) for value, ml in measured.volume_ml.items()},
    }


def _print_problems(problems: Sequence[Problem]) -> None:
    if not problems:
        print("\nno problems")
        return
    print(f"\n{len(problems)} problems", file=sys.stderr)
    for problem in problems[:_SHOWN]:
        print(f"  {problem.severity}: {problem.kind}: {problem}", file=sys.stderr)
    if len(problems) > _SHOWN:
        print(f"  and {len(problems) - _SHOWN} more", file=sys.stderr)
