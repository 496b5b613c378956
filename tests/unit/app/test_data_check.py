"""`viscera data check` prints, draws, and fails where anything is wrong."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.data_check import run_data_check
from app.data_sheet import colour_of
from app.miniature_dicom import make_dicom
from models.errors import TrainingError
from tests.datasets.tiny import organs, write, write_case


def check(folder: Path, output: Path | None = None, layout: str | None = None) -> int:
    return run_data_check(
        argparse.Namespace(folder=folder, layout=layout, patient_pattern=None, output=output)
    )


@pytest.fixture
def btcv(tmp_path: Path) -> Path:
    training = tmp_path / "data" / "RawData" / "Training"
    for n in (1, 2):
        write_case(
            training / "img" / f"img{n:04d}.nii.gz", training / "label" / f"label{n:04d}.nii.gz", n
        )
    return tmp_path / "data"


def test_a_clean_data_set_is_summed_up(
    btcv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(btcv, tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "layout    btcv" in text
    assert "cases     2, 2 with labels (2 open)" in text
    assert "shape     5 x 8 x 10 to 5 x 8 x 10" in text
    assert "spacing   4 x 2 x 2.5 mm to 4 x 2 x 2.5 mm" in text
    liver = next(line for line in text.splitlines() if line.startswith("6 liver"))
    assert liver.split() == ["6", "liver", "2", "72", "0.7", "0.7", "-", "0.7"]
    assert "no problems" in text
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["labels"][1]["volume_ml"] == {"low": 0.72, "median": 0.72, "high": 0.72}
    assert summary["hu_percentiles"]["50.0"] == -90
    assert [record["name"] for record in summary["records"]] == ["img0001", "img0002"]


def test_the_sheet_shows_organs_in_their_colours_on_their_sides(btcv: Path, tmp_path: Path) -> None:
    check(btcv, tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out" / "sheet-1.png"))
    first = sheet[8:248, 8:248]
    centre = {}
    for value in (1, 6):
        rows, columns = np.nonzero((first == colour_of(value)).all(axis=-1))
        assert len(rows) > 50
        centre[value] = columns.mean()
    # the patient's right, where the liver is, on the left
    assert centre[6] < 120 < centre[1]


def test_faults_are_printed_and_counted(
    btcv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = organs()
    labels[0, 0, 0] = 99
    path = btcv / "RawData" / "Training" / "label" / "label0002.nii.gz"
    write(path, labels)
    (path.parent / "label0001.nii.gz").unlink()
    with pytest.raises(
        TrainingError, match=r"found 2: missing label \(1\), unknown label value \(1\)"
    ):
        check(btcv, tmp_path / "out")
    printed = capsys.readouterr()
    assert f"error: unknown label value: {path}: expected label values of 0 and" in printed.err
    assert "found 99 (1 voxels)" in printed.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [problem["kind"] for problem in summary["problems"]] == [
        "missing label",
        "unknown label value",
    ]
    assert (tmp_path / "out" / "sheet-1.png").exists()


def test_what_is_no_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected a data set of a known layout"):
        check(tmp_path)


@pytest.mark.parametrize("labels", ["seg", "rtstruct"])
def test_dicom_is_summed_up_without_patient_data(
    tmp_path: Path, labels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_dicom(tmp_path / "data", labels, 1, spacing_mm=8.0)  # type: ignore[arg-type]
    assert check(tmp_path / "data", tmp_path / "out") == 0
    text = capsys.readouterr().out + (tmp_path / "out" / "summary.json").read_text()
    assert "2 Liver" in text
    assert "4 Spleen" in text
    assert "MINIATURE" not in text
    assert "Phantom^" not in text
