"""Learning curves as a table and for TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from models.training.curves import Curves, Row, as_csv, make_row


def rows(count: int) -> list[Row]:
    return [
        make_row(
            stage="train",
            epoch=n,
            step=10 * n,
            learning_rate=0.1 / 3,
            loss=1 / n,
            validation={"dice": n / 7, "dice/liver": 0.5} if n > 1 else {},
        )
        for n in range(1, count + 1)
    ]


TABLE = """\
stage,epoch,step,learning_rate,loss,validation_loss,validation_dice
train,1,10,0.03333333,1,,
train,2,20,0.03333333,0.5,,0.2857143
"""


def test_what_was_not_measured_is_empty() -> None:
    assert as_csv(rows(2)) == TABLE


def test_rows_beyond_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    curves = Curves(tmp_path, [])
    for count in (1, 2, 3):
        curves.add(rows(count))
    curves.close()
    Curves(tmp_path, rows(2)).close()
    assert (tmp_path / "curves.csv").read_text() == TABLE


def test_events_for_tensorboard(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = Curves(tmp_path, [])
    for count in (1, 2, 3):
        first.add(rows(count))
    first.close()
    second = Curves(tmp_path, rows(2))  # the third is taken back
    second.close()
    reader: Any = events.EventAccumulator(str(tmp_path))
    reader.Reload()
    assert set(reader.Tags()["scalars"]) == {
        "learning_rate",
        "loss/training",
        "dice/validation",
        "dice/liver",
    }
    assert [(e.step, round(e.value, 3)) for e in reader.Scalars("loss/training")] == [
        (10, 1.0),
        (20, 0.5),
    ]


def test_without_tensorboard_the_table_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with caplog.at_level("INFO"):
        curves = Curves(tmp_path, [])
        curves.add(rows(2))
        curves.close()
    assert caplog.text.count("no TensorBoard here") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["curves.csv"]
