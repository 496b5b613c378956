"""`viscera select`: every series of an input, chosen or why not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.outcomes import outcome_of
from operators.errors import NothingSelectedError
from operators.loading import scan
from operators.rules import Rules
from operators.selection import Decision, select_series

_HEADINGS = ("", "series", "no.", "images", "plane", "slices", "mm apart", "mm covered", "kernel")


def run_selection(source: Path, rules: Rules, largest_gap_mm: float, *, as_json: bool) -> int:
    """Print what the rules make of every series; nothing is decoded or written.

    Parameters
    ----------
    source
        Folder, zip archive, DICOMDIR or DICOM file.
    rules
        Which series to choose.
    largest_gap_mm
        As `operators.slice_stack.stack_slices` takes it.
    as_json
        Print the decisions as `report.json` holds them instead of a table.

    Returns
    -------
    Exit code: that of a run which chose nothing where nothing fits.

    Raises
    ------
    NothingUsableError
        If no file of the input could be read.
    """
    found = scan(source)
    code = 0
    try:
        decisions = select_series(found.studies, rules, largest_gap_mm).decisions
    except NothingSelectedError as exc:
        decisions = exc.decisions
        code = outcome_of(exc).exit_code
    if as_json:
        skipped = [{"path": str(f.path), "reason": f.reason} for f in found.skipped]
        content = {"selection": [d.to_json() for d in decisions], "skipped_files": skipped}
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return code
    for selection in dict.fromkeys(d.selection_name for d in decisions):
        print(f"\nSelection {selection or '(without a name)'}\n")
        print(table_of([d for d in decisions if d.selection_name == selection]))
    if found.skipped:
        print(f"\n{len(found.skipped)} files were left out:")
        print("\n".join(f"  {file.path}: {file.reason}" for file in found.skipped))
    return code


def table_of(decisions: Sequence[Decision]) -> str:
    """One line of traits and one of the reason for each series or part of a series."""
    rows = [_HEADINGS, *(_cells(decision) for decision in decisions)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_HEADINGS))]
    lines = [_line(_HEADINGS, widths)]
    for decision, row in zip(decisions, rows[1:], strict=True):
        lines += [_line(row, widths), f"        {decision.reason}"]
    return "\n".join(lines)


def _cells(decision: Decision) -> tuple[str, ...]:
    return (
        "chosen" if decision.chosen else "  not",
        decision.name,
        _text(decision.SeriesNumber),
        str(decision.instance_count),
        _text(decision.plane),
        _text(decision.slices),
        _text(decision.slice_distance_mm),
        _text(decision.coverage_mm),
        _text(decision.kernel),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
