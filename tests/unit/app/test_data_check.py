"""`viscera data check` prints, draws, and fails where anything is wrong."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.seg import SegmentationTypeValues
from PIL import Image

from app.data_check import run_data_check
from app.data_sheet import colour_of
from app.miniature_dicom import make_dicom
from models.bundle import Bundle
from models.errors import TrainingError
from tests.datasets.series import SHAPE, ct_series
from tests.datasets.tiny import organs, write, write_case, write_png
from tests.small_recipes import RECIPE, with_recipe, write_pairs
from tests.unit.operators.test_label_reading import highdicom_seg


def check(
    folder: Path,
    output: Path | None = None,
    layout: str | None = None,
    models: Path | None = None,
    changes: Sequence[str] = (),
) -> int:
    return run_data_check(
        argparse.Namespace(
            folder=folder,
            layout=layout,
            patient_pattern=None,
            output=output,
            model=None,
            models=models,
            set=list(changes),
        )
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


def rows(text: str) -> list[list[str]]:
    """The table of labels."""
    return [line.split() for line in text.splitlines() if line[:1].isdecimal()]


def problems(output: Path) -> list[tuple[str, str, str, str]]:
    summary = json.loads((output / "summary.json").read_text())
    return [(p["severity"], p["kind"], p["record"], p["found"]) for p in summary["problems"]]


def test_the_check_knows_the_values_of_the_model_it_is_for(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = with_recipe(tiny_bundle).folder
    data = write_pairs(tmp_path / "data", "one", "two")
    assert check(data) == 0
    assert "--model" in capsys.readouterr().out  # nobody knows what the values mean
    assert check(data, models=models) == 0
    told = capsys.readouterr().out
    assert [row[:2] for row in rows(told)] == [
        ["1", "other"],
        ["2", "kidney_right"],
        ["3", "kidney_left"],
        ["6", "liver"],
    ]
    assert "--model" not in told
    write_pairs(data, "two", values={6: 6, 3: 3, 2: 2, 1: 7})
    assert check(data) == 0
    with pytest.raises(TrainingError, match=r"found 1: unknown label value \(1\)"):
        check(data, tmp_path / "out", models=models)
    assert problems(tmp_path / "out") == [
        ("error", "unknown label value", "two", "7 (216 voxels)"),
    ]
    assert check(data, models=models, changes=["data.other_labels=[1,7]"]) == 0


@pytest.mark.parametrize("colours", [False, True])
def test_masks_are_read_by_the_shades_of_the_model(
    tiny_bundle: Bundle, tmp_path: Path, colours: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    shades: Mapping[str, int] = {"0": 0, "255": 6}
    if colours:
        shades = {"#000000": 0, "#0a1414": 6}
    data = {"layout": "png", "labels": {"liver": 6}, "shades": shades}
    models = with_recipe(tiny_bundle, {**RECIPE, "data": data}).folder
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 1:4] = 255
    for name in ("1", "2"):
        colour = np.where(mask[..., None] > 0, np.array([10, 20, 20], np.uint8), np.uint8(0))
        write_png(tmp_path / "data" / "images" / "p" / f"{name}.png", mask)
        write_png(tmp_path / "data" / "masks" / "p" / f"{name}.png", colour if colours else mask)
    with pytest.raises(TrainingError, match="unreadable" if colours else "empty label"):
        check(tmp_path / "data")
    capsys.readouterr()
    assert check(tmp_path / "data", models=models) == 0
    assert rows(capsys.readouterr().out) == [["6", "liver", "2", "12"]]


def test_the_model_may_say_whose_a_slice_is(tiny_bundle: Bundle, tmp_path: Path) -> None:
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 1:4] = 6
    for name in ("p1s1", "p1s2", "p2s1"):
        write_png(tmp_path / "data" / "images" / f"{name}.png", mask * 30)
        write_png(tmp_path / "data" / "masks" / f"{name}.png", mask)
    data = {"layout": "png", "labels": {"liver": 6}}
    models = with_recipe(tiny_bundle, {**RECIPE, "data": data}).folder
    pattern = "data.patient_pattern=p[0-9]+"
    for changes, warned in (((), 1), ((pattern,), 0)):
        assert check(tmp_path / "data", tmp_path / "out", models=models, changes=changes) == 0
        assert [kind for _, kind, _, _ in problems(tmp_path / "out")] == ["no patients"] * warned


def test_organs_that_the_data_set_names_otherwise_are_told(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    data = {"layout": "msd", "labels": {"liver": 6}, "other_labels": [1]}
    models = with_recipe(tiny_bundle, {**RECIPE, "data": data}).folder
    folder = tmp_path / "data"
    write_case(folder / "imagesTr" / "a.nii.gz", folder / "labelsTr" / "a.nii.gz")
    for name, right in (("liver", True), ("spleen", False)):
        labels = {"0": "background", "6": name, "1": "stomach"}
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
        if right:
            assert check(folder, models=models) == 0
            continue
        with pytest.raises(TrainingError, match=r"found 1: another organ \(1\)"):
            check(folder, tmp_path / "out", models=models)
        ((_, _, _, found),) = problems(tmp_path / "out")
        assert found == "label 6 is spleen rather than liver"


def test_a_recipe_without_labels_of_a_data_set_needs_a_layout(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    sources = {key: value for key, value in RECIPE.items() if key != "data"}
    models = with_recipe(tiny_bundle, {**sources, "sources": []}).folder
    with pytest.raises(TrainingError, match="--layout"):
        check(write_pairs(tmp_path / "data", "one"), models=models)
    with pytest.raises(TrainingError, match="expected --model"):
        check(tmp_path / "data", changes=["seed=1"])


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_check_tells_of_overlaps(
    tiny_bundle: Bundle,
    tmp_path: Path,
    overlapping: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series = ct_series(tmp_path / "data" / "ct")
    both = np.zeros((*SHAPE, 2), np.uint8)
    both[2:5, 1:6, 2:7, 0] = 1
    both[2:5, 5 if overlapping else 6 : 9, 2:7, 1] = 1  # a row in three slices
    kind = SegmentationTypeValues.BINARY
    seg = highdicom_seg(tmp_path / "data" / "seg", series, kind, both)
    data = {"layout": "dicom", "labels": {"liver": 6, "kidney_left": 3, "kidney_right": 2}}
    models = with_recipe(tiny_bundle, {**RECIPE, "data": data}).folder
    first = ["data.overlap=first"]
    options: Mapping[str, Any]
    for options, forbids, organs_there in (
        ({}, False, "Left kidney and Liver"),
        ({"models": models, "changes": first}, False, "liver and kidney_left"),
        ({"models": models}, overlapping, "liver and kidney_left"),
    ):
        if forbids:
            with pytest.raises(TrainingError, match=r"found 1: overlap \(1\)"):
                check(tmp_path / "data", tmp_path / "out", **options)
        else:
            assert check(tmp_path / "data", tmp_path / "out", **options) == 0
        found = problems(tmp_path / "out")
        printed = capsys.readouterr()
        if not overlapping:
            assert found == []
            continue
        ((severity, problem, record, text),) = found
        assert (severity, problem) == ("error" if forbids else "warning", "overlap")
        assert record == series.candidate.series.SeriesInstanceUID
        assert text == f"15 voxels of {organs_there}"
        assert f"{severity}: overlap: {seg}: expected no overlap of organs" in printed.err
        assert 'data.overlap is "first"' in printed.err
