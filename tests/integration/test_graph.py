"""The whole graph, from a folder of DICOM to results, with a network that finds ellipsoids."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image

from app.cli import main
from app.report import Report
from app.run_settings import RunSettings
from app.runner import Runner
from models.bundle import Bundle
from models.metrics.overlap import dice
from operators.ct_series import SIGNED, UNSIGNED, Storage
from operators.seg_reading import read_label_map

#: Elements that hold the time of the run.
CLOCK = (
    "ContentDate",
    "ContentTime",
    "SeriesDate",
    "SeriesTime",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ContributionDateTime",
)


def turned(x_degrees: float, y_degrees: float, z_degrees: float) -> np.ndarray:
    """Directions of a grid turned about each axis in turn."""
    matrix = np.eye(3)
    for axis, degrees in enumerate((x_degrees, y_degrees, z_degrees)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        one = np.eye(3)
        a, b = [n for n in range(3) if n != axis]
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        matrix = one @ matrix
    return matrix


@dataclass(frozen=True)
class Scan:
    """How a series is taken and stored."""

    spacing_mm: tuple[float, float, float] = (4.0, 2.6, 3.4)
    shape: tuple[int, int, int] = (25, 56, 46)
    directions: Any = None
    storage: Storage = UNSIGNED


SCANS = {
    "non-square pixels": Scan(),
    "oblique, signed": Scan(
        spacing_mm=(3.7, 3.1, 2.3),
        shape=(33, 50, 67),
        directions=turned(14, -9, 21),
        storage=SIGNED,
    ),
    "descending, negative intercept": Scan(
        spacing_mm=(5.0, 2.0, 2.9),
        shape=(21, 70, 53),
        directions=np.diag((1.0, 1.0, -1.0)),
        storage=Storage(rescale_slope=0.5, rescale_intercept=-2000.0, signed=False),
    ),
    "prone": Scan(
        directions=np.diag((-1.0, -1.0, 1.0)),
        storage=Storage(rescale_slope=2.0, rescale_intercept=-500.0, signed=True),
    ),
}


@pytest.fixture(scope="module")
def runner(tent_bundle: Bundle) -> Runner:
    return Runner(RunSettings(models=tent_bundle.folder, device="cpu"))


def content(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return report


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


RESULTS = {"preview.png", "segmentation.dcm", "volumes.csv", "volumes.json"}


# --- where organs lie


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS.keys())
def test_each_organ_lies_where_it_is_in_the_patient(
    scan: Scan,
    tmp_path: Path,
    runner: Runner,
    make_grid: Callable[..., Any],
    write_patient: Callable[..., Any],
    organs: Mapping[str, Any],
) -> None:
    geometry = make_grid(scan.spacing_mm, scan.shape, scan.directions)
    patient = write_patient(tmp_path / "in", geometry, storage=scan.storage)
    report = runner.run(tmp_path / "in", tmp_path / "out")
    assert report.outcome.status == "ok", report.message
    (record,) = report.journal.records

    assert record.geometry is not None
    assert record.geometry.shape == scan.shape
    np.testing.assert_allclose(record.geometry.spacing_mm, scan.spacing_mm, atol=1e-4)
    found, names = read_label_map(record.outputs["seg"], record.geometry)
    assert set(names.values()) == {organ.label for organ in organs.values()}
    numbers = {label: number for number, label in names.items()}
    for label_value, (name, organ) in enumerate(organs.items(), start=1):
        centroid = found.centroid_lps(numbers[organ.label])
        assert centroid is not None
        apart = geometry.to_index(centroid) - geometry.to_index(patient.centroid_lps(name))
        assert np.abs(apart).max() < 0.5, (name, apart)
        # compared on the patient's own grid, whose slices may run the other way
        straight = found.labels if scan.directions is None else on_grid(found, geometry)
        score = dice(straight, patient.label_map.labels, numbers[organ.label], label_value)
        assert score is not None
        assert score > 0.95, name


def on_grid(label_map: Any, geometry: Any) -> np.ndarray:
    """Labels in the order of slices of another grid over the same voxels."""
    first = label_map.geometry.to_index(geometry.to_lps((0, 0, 0)))
    labels: np.ndarray = label_map.labels[::-1] if first[0] > 0.5 else label_map.labels
    return labels


def test_highdicom_and_our_reader_see_the_same_segments(
    tmp_path: Path, runner: Runner, patient_folder: Path
) -> None:
    report = runner.run(patient_folder, tmp_path)
    (record,) = report.journal.records
    assert record.geometry is not None
    ours, names = read_label_map(record.outputs["seg"], record.geometry)
    seg = highdicom.seg.segread(record.outputs["seg"])
    theirs = seg.get_volume(combine_segments=True)
    assert {n: seg.get_segment_description(n).segment_label for n in seg.segment_numbers} == names
    for number in names:
        k, j, i = (index.mean() for index in np.nonzero(theirs.array == number))
        centroid = theirs.affine @ (k, j, i, 1)
        np.testing.assert_allclose(centroid[:3], ours.centroid_lps(number), atol=1e-3)


# --- what is reported


def test_the_report_tells_the_whole_run(
    tmp_path: Path,
    patient_folder: Path,
    tent_bundle: Bundle,
    organs: Mapping[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["segment", str(patient_folder), "-o", str(out), "-m", str(tent_bundle.folder)]
    assert main([*arguments, "--device", "cpu"]) == 0
    report = content(out)
    assert (report["status"], report["exit_code"], report["message"]) == ("ok", 0, "")
    assert (report["input"], report["output"]) == (str(patient_folder), str(out))
    (model,) = report["models"]
    assert (model["name"], model["version"]) == ("tents", "9.8.7")
    assert model["sha256"] == tent_bundle.sha256
    assert len(model["sha256"]) == 64
    assert model["runtime"].startswith("cpu ")
    assert set(report["stages_s"]) == {"load model", "load", "select"}
    assert report["skipped_files"] == []
    assert report["peak_memory_mib"] > 100
    (decision,) = report["selection"]
    assert decision["chosen"] is True
    assert (decision["Modality"], decision["instance_count"]) == ("CT", 25)
    (series,) = report["series"]
    header = pydicom.dcmread(next(patient_folder.glob("*.dcm")), stop_before_pixels=True)
    assert series["SeriesInstanceUID"] == decision["SeriesInstanceUID"] == header.SeriesInstanceUID
    assert series["StudyInstanceUID"] == header.StudyInstanceUID
    assert (series["status"], series["message"]) == ("ok", "")
    assert (series["shape"], series["spacing_mm"]) == ([25, 56, 46], pytest.approx([4.0, 2.6, 3.4]))
    stages = {"volume", "segment", "write SEG", "write preview", "write volumes"}
    assert set(series["stages_s"]) == stages
    assert all(seconds >= 0 for seconds in series["stages_s"].values())
    assert set(series["outputs"]) == {"seg", "preview", "volumes_json", "volumes_csv"}
    assert all((out / path).is_file() for path in series["outputs"].values())
    assert {n for n, ml in series["volumes_ml"].items() if ml > 0} == set(organs)
    assert names_in(out) == {"report.json"} | {f"{header.SeriesInstanceUID}/{n}" for n in RESULTS}
    # the same is said to the person at the terminal, without the patient's name or number
    said = capsys.readouterr().out
    assert str(out / series["outputs"]["seg"]) in said
    assert "status   ok" in said
    assert "Liver" in said
    for text in (said, (out / "report.json").read_text("utf-8")):
        assert "Phantom" not in text
        assert "ELLIPSOID" not in text


def test_the_tables_and_the_preview_agree_with_the_segmentation(
    tmp_path: Path, runner: Runner, patient_folder: Path, organs: Mapping[str, Any]
) -> None:
    (record,) = runner.run(patient_folder, tmp_path).journal.records
    assert record.geometry is not None
    found, names = read_label_map(record.outputs["seg"], record.geometry)
    counts = {label: int((found.labels == number).sum()) for number, label in names.items()}
    table = json.loads(record.outputs["volumes_json"].read_text("utf-8"))["organs"]
    with record.outputs["volumes_csv"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(table) == len(rows) == len(runner.models.segmenter().bundle.segments)  # found or not
    for organ, row in zip(table, rows, strict=True):
        expected = counts.get(organ["label"], 0)
        assert organ["voxel_count"] == int(row["voxel_count"]) == expected
        assert organ["volume_ml"] == pytest.approx(expected * 4.0 * 2.6 * 3.4 / 1000, abs=1e-3)
        assert float(row["volume_ml"]) == organ["volume_ml"]
        assert row["name"] == organ["name"]
        if expected:
            assert organ["mean_hu"] == pytest.approx(organs[organ["name"]].hu, abs=10)
            assert organ["complete"] is True
    assert {organ["label"] for organ in table if not organ["voxel_count"]} == {"Gallbladder"}
    with Image.open(record.outputs["preview"]) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(set(np.asarray(picture.convert("RGB")).reshape(-1, 3)[::7, 0].tolist())) > 30


# --- again and again


def without_times(path: Path) -> pydicom.Dataset:
    dataset = pydicom.dcmread(path)

    def drop(holder: pydicom.Dataset, element: pydicom.DataElement) -> None:
        if element.keyword in CLOCK:
            del holder[element.tag]

    dataset.walk(drop)
    return dataset


def test_the_model_is_loaded_once_for_many_runs_with_the_same_results(
    tmp_path: Path, patient_folder: Path, make_tent_bundle: Callable[..., Bundle]
) -> None:
    """That nothing is read again shows by taking the weights away after the first run."""
    bundle = make_tent_bundle(tmp_path / "tents")
    runner = Runner(RunSettings(models=bundle.folder, device="cpu"))
    reports: list[Report] = []
    segmenters = []
    for number in range(3):
        reports.append(runner.run(patient_folder, tmp_path / f"out{number}"))
        segmenters.append(runner.models.segmenter())
        bundle.weights.unlink(missing_ok=True)
    assert [report.outcome.status for report in reports] == ["ok"] * 3
    assert segmenters[0] is segmenters[1] is segmenters[2]
    assert len({id(report.journal) for report in reports}) == 3
    first, *others = [report.journal.records[0].outputs for report in reports]
    for other in others:
        assert without_times(first["seg"]) == without_times(other["seg"])
        for kind in ("preview", "volumes_json", "volumes_csv"):
            assert first[kind].read_bytes() == other[kind].read_bytes()


def test_uids_follow_from_the_content_whatever_the_files_are_called(
    tmp_path: Path, runner: Runner, patient_folder: Path
) -> None:
    files = sorted(patient_folder.glob("*.dcm"))
    names = [f"{number:03d}" for number in range(len(files))]
    random.Random(3).shuffle(names)
    for file, name in zip(files, names, strict=True):
        folder = tmp_path / "in" / name[-1]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / name)
    (one,) = runner.run(patient_folder, tmp_path / "one").journal.records
    (two,) = runner.run(tmp_path / "in", tmp_path / "two").journal.records
    assert without_times(one.outputs["seg"]) == without_times(two.outputs["seg"])
    uid = pydicom.dcmread(one.outputs["seg"]).SOPInstanceUID
    assert uid == pydicom.dcmread(two.outputs["seg"]).SOPInstanceUID
    assert uid.startswith("2.25.")


def test_a_second_run_replaces_the_results_of_the_first(
    tmp_path: Path, runner: Runner, patient_folder: Path
) -> None:
    runner.run(patient_folder, tmp_path).write()
    before = names_in(tmp_path)
    runner.run(patient_folder, tmp_path).write()
    assert names_in(tmp_path) == before
