"""Miniatures of the public data sets go through the readers that are made for the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.data.inspection import inspect_records
from models.data.label_values import BTCV, FLARE22, RSNA
from models.data.layouts import DataSet, open_data_set
from models.data.miniature import make_btcv, make_flare22, make_msd, make_png
from models.errors import TrainingError

#: Coarse: people take a second each.
MM = 8.0


def organs_of(data: DataSet) -> list[set[int]]:
    found = inspect_records(data.records, data.label_values)
    assert found.problems == []
    return [set(measured.voxels) for measured in found.measured]


def test_btcv(tmp_path: Path) -> None:
    data = open_data_set(make_btcv(tmp_path, 1, spacing_mm=MM))
    assert data.layout == "btcv"
    labelled, test = organs_of(data)
    # adrenals may fall between voxels of this size
    assert labelled >= set(BTCV.values()) - {12, 13}
    assert test == set()


def test_btcv_of_tutorials(tmp_path: Path) -> None:
    data = open_data_set(make_btcv(tmp_path, 2, form="monai", tests=0, spacing_mm=MM))
    assert [r.purpose for r in data.records] == ["training", "validation"]
    assert organs_of(data)[1] >= set(BTCV.values()) - {12, 13}


def test_flare22(tmp_path: Path) -> None:
    data = open_data_set(make_flare22(tmp_path, 1, unlabelled=1, spacing_mm=MM))
    assert data.layout == "flare22"
    assert [r.purpose for r in data.records] == ["unlabelled", "training"]
    assert organs_of(data)[1] >= set(FLARE22.values()) - {7, 8}


def test_msd(tmp_path: Path) -> None:
    liver = open_data_set(make_msd(tmp_path, "Task03_Liver", 1, spacing_mm=MM))
    assert liver.folder.name == "Task03_Liver"
    assert liver.label_values == {"liver": 1, "cancer": 2}
    assert organs_of(liver) == [{1, 2}, set()]
    spleen = open_data_set(make_msd(tmp_path, "Task09_Spleen", 1, tests=0, spacing_mm=MM))
    assert organs_of(spleen) == [{1}]
    with pytest.raises(TrainingError, match="expected a task of Task03_Liver"):
        make_msd(tmp_path, "Task01_BrainTumour")


def test_png(tmp_path: Path) -> None:
    made = make_png(tmp_path, 1, validation=1, size=96, every=4, spacing_mm=MM)
    data = open_data_set(made)
    assert data.layout == "png"
    assert {(r.patient, r.purpose) for r in data.records} == {
        ("10001", "training"),
        ("10002", "validation"),
    }
    found = inspect_records(data.records, {})
    assert found.problems == []
    assert {m.shape for m in found.measured} == {(1, 96, 96)}
    assert set().union(*(m.voxels for m in found.measured)) == set(RSNA.values())


def test_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_flare22(tmp_path / name, 1, spacing_mm=MM)
    files = [
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.gz")}
        for name in ("a", "b")
    ]
    assert len(files[0]) == 2
    assert files[0] == files[1]
