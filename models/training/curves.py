"""The learning curves of a run: a table, and events for TensorBoard where it is installed."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

COLUMNS = ("stage", "epoch", "step", "learning_rate", "loss", "validation_loss", "validation_dice")

Row = dict[str, Any]


def make_row(
    *,
    stage: str,
    epoch: int,
    step: int,
    learning_rate: float,
    loss: float,
    validation: Mapping[str, float],
) -> Row:
    """One epoch; `validation` is what the validation measured, empty where there was none."""
    return {
        "stage": stage,
        "epoch": epoch,
        "step": step,
        "learning_rate": learning_rate,
        "loss": loss,
        "validation": dict(validation),
    }


class Curves:
    """Writes `curves.csv` and TensorBoard events into a folder.

    Parameters
    ----------
    rows
        Those of the checkpoint that the run goes on from; what an earlier session wrote beyond
        them is taken back.
    """

    def __init__(self, folder: Path, rows: Sequence[Row]):
        self._path = folder / "curves.csv"
        self._write(rows)
        self._events = _open_events(folder, rows[-1]["step"] + 1 if rows else 0)

    def add(self, rows: Sequence[Row]) -> None:
        """Write the table with its newest row, and that row as events."""
        self._write(rows)
        if self._events is None:
            return
        row = rows[-1]
        values = {"learning_rate": row["learning_rate"], "loss/training": row["loss"]}
        for name, value in row["validation"].items():
            values[name if "/" in name else f"{name}/validation"] = value
        for name, value in values.items():
            self._events.add_scalar(name, value, row["step"])
        self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _write(self, rows: Sequence[Row]) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(as_csv(rows), encoding="utf-8")
        os.replace(partial, self._path)


def as_csv(rows: Sequence[Row]) -> str:
    """The table: seven digits a number, nothing where a value was not measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        measured = [row["validation"].get(name) for name in ("loss", "dice")]
        numbers = [row["learning_rate"], row["loss"], *measured]
        shown = ["" if number is None else f"{number:.7g}" for number in numbers]
        writer.writerow([row["stage"], row["epoch"], row["step"], *shown])
    return text.getvalue()


def _open_events(folder: Path, from_step: int) -> Any:
    """A writer that takes back what earlier sessions wrote from `from_step` on, or None."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        log.info("no TensorBoard here, so curves.csv alone: pip install '.[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=from_step)
