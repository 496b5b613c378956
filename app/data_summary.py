"""What a data set holds, as JSON and as text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.data.inspection import Inspection, Measured
from models.data.layouts import DataSet
from models.data.problems import UNKNOWN_VALUE


def summarise(data: DataSet, inspection: Inspection, names: Mapping[int, str]) -> dict[str, Any]:
    """All that was found, in types that JSON has; `names` are those of label values."""
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
