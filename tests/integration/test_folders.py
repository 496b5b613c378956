"""The graph on folders of several studies, of broken and of foreign files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
import torch

from app.cli import main
from app.run_settings import RunSettings
from app.runner import Runner
from models.bundle import Bundle
from operators.seg_reading import read_label_map

RESULTS = {"preview.png", "segmentation.dcm", "volumes.csv", "volumes.json"}


@pytest.fixture(scope="module")
def runner(tent_bundle: Bundle) -> Runner:
    return Runner(RunSettings(models=tent_bundle.folder, device="cpu"))


def content(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return report


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_two_studies_yield_two_results(
    tmp_path: Path, runner: Runner, write_patient: Callable[..., Any]
) -> None:
    write_patient(tmp_path / "in" / "a", name="one")
    write_patient(tmp_path / "in" / "b", name="two")
    report = runner.run(tmp_path / "in", tmp_path / "out")
    assert report.outcome.exit_code == 0
    records = report.journal.records
    assert len({record.chosen.series.StudyInstanceUID for record in records}) == 2
    segs = [pydicom.dcmread(record.outputs["seg"]) for record in records]
    for record, seg in zip(records, segs, strict=True):
        assert seg.StudyInstanceUID == record.chosen.series.StudyInstanceUID
        assert record.outputs["seg"].parent.name == record.chosen.series.SeriesInstanceUID
    assert {seg.PatientID for seg in segs} == {"ELLIPSOID-one", "ELLIPSOID-two"}
    assert len({seg.SOPInstanceUID for seg in segs}) == 2


def take_out(folder: Path, count: int) -> None:
    """Remove neighbouring images from the middle of a series."""
    files = sorted(folder.glob("*.dcm"), key=lambda path: pydicom.dcmread(path).SliceLocation)
    for path in files[10 : 10 + count]:
        path.unlink()


def break_series(folder: Path) -> None:
    """A gap of 20 mm, too wide to be filled in."""
    take_out(folder, 4)


def test_a_broken_series_does_not_stop_a_good_one(
    tmp_path: Path,
    tent_bundle: Bundle,
    write_patient: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_patient(tmp_path / "in" / "bad", name="bad")
    break_series(tmp_path / "in" / "bad")
    write_patient(tmp_path / "in" / "good", name="good")
    out = tmp_path / "out"
    arguments = ["segment", str(tmp_path / "in"), "-o", str(out), "-m", str(tent_bundle.folder)]
    assert main([*arguments, "--device", "cpu"]) == 19
    report = content(out)
    assert (report["status"], report["exit_code"]) == ("partial", 19)
    by_status = {series["status"]: series for series in report["series"]}
    assert set(by_status) == {"ok", "not_a_volume"}
    bad, good = by_status["not_a_volume"], by_status["ok"]
    assert "every 4.000 mm, found 1 gaps where 4 slices are missing" in bad["message"]
    assert bad["message"] == report["message"]
    assert bad["outputs"] == {}
    assert pydicom.dcmread(out / good["outputs"]["seg"]).PatientID == "ELLIPSOID-good"
    assert names_in(out) == {"report.json"} | {f"{good['SeriesInstanceUID']}/{n}" for n in RESULTS}
    streams = capsys.readouterr()
    assert "status   partial" in streams.out
    assert "4 slices are missing, too many to fill in" in streams.err


def test_a_broken_series_alone_ends_with_its_own_code(
    tmp_path: Path, runner: Runner, write_patient: Callable[..., Any]
) -> None:
    write_patient(tmp_path / "in")
    break_series(tmp_path / "in")
    report = runner.run(tmp_path / "in", tmp_path / "out")
    assert (report.outcome.status, report.outcome.exit_code) == ("not_a_volume", 12)
    assert report.write().is_file()
    assert names_in(tmp_path / "out") == {"report.json"}


def test_files_that_are_no_images_are_listed_and_left_out(
    tmp_path: Path, runner: Runner, patient_folder: Path
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(patient_folder, folder)
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty.dcm").touch()
    whole = sorted(folder.glob("CT*.dcm"))
    junk = folder / "cut.dcm"
    junk.write_bytes(whole[0].read_bytes()[:200])
    report = runner.run(folder, tmp_path / "out")
    assert report.outcome.status == "ok"
    skipped = {Path(f["path"]).name: f["reason"] for f in report.to_json()["skipped_files"]}
    assert skipped["notes.txt"] == "not DICOM"
    assert skipped["empty.dcm"] == "empty file"
    assert skipped["cut.dcm"].startswith(("broken DICOM", "header is cut short"))
    assert set(skipped) == {"notes.txt", "empty.dcm", "cut.dcm"}
    assert report.journal.records[0].geometry is not None
    assert report.journal.records[0].geometry.shape == (25, 56, 46)


def test_a_series_that_two_selections_choose_is_segmented_once(
    tmp_path: Path, tent_bundle: Bundle, patient_folder: Path
) -> None:
    rules = tmp_path / "rules.json"
    conditions = {"Modality": "CT"}
    selections = [{"name": name, "conditions": conditions} for name in ("first", "second")]
    rules.write_text(json.dumps({"selections": selections}))
    settings = RunSettings(models=tent_bundle.folder, device="cpu", rules=rules)
    report = Runner(settings).run(patient_folder, tmp_path / "out")
    assert report.outcome.status == "ok"
    assert [record.chosen.selection_name for record in report.journal.records] == ["first"]
    assert [(d.selection_name, d.chosen) for d in report.journal.decisions] == [
        ("first", True),
        ("second", True),
    ]


def test_a_unetr_goes_the_same_way(
    tmp_path: Path,
    patient_folder: Path,
    make_patient: Callable[..., Any],
    make_tent_bundle: Callable[..., Bundle],
) -> None:
    """Its bias alone decides, so that the whole body is liver."""
    network = {
        "_target_": "monai.networks.nets.UNETR",
        "in_channels": 1,
        "out_channels": 8,
        "img_size": [32, 32, 32],
        "feature_size": 2,
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_heads": 2,
        "proj_type": "conv",
        "norm_name": "instance",
        "res_block": True,
    }
    folder = make_tent_bundle(tmp_path / "unetr").folder
    inference = json.loads((folder / "configs" / "inference.json").read_text("utf-8"))
    inference["network_def"] = network
    inference["preprocessing"]["spacing_mm"] = 5.0
    (folder / "configs" / "inference.json").write_text(json.dumps(inference), "utf-8")
    bundle = Bundle.read(folder)
    torch.manual_seed(0)
    state = bundle.build_network().state_dict()
    state["out.conv.conv.bias"][:] = torch.tensor([0.0, 500.0, 0, 0, 0, 0, 0, 0])
    bundle.save_weights(state, {})
    report = Runner(RunSettings(models=folder, device="cpu")).run(patient_folder, tmp_path / "out")
    assert report.outcome.status == "ok", report.message
    (record,) = report.journal.records
    assert {organ.name for organ in record.organs if organ.voxel_count} == {"liver"}
    assert record.geometry is not None
    found, names = read_label_map(record.outputs["seg"], record.geometry)
    assert names == {1: "Liver"}
    assert (found.labels[make_patient().volume.hu > -500] == 1).all()


def test_a_gap_is_filled_in_reported_and_left_out_of_the_segmentation(
    tmp_path: Path, runner: Runner, write_patient: Callable[..., Any]
) -> None:
    patient = write_patient(tmp_path / "in")
    take_out(tmp_path / "in", 1)
    report = runner.run(tmp_path / "in", tmp_path / "out")
    assert report.outcome.status == "ok"
    (series,) = report.to_json()["series"]
    assert series["repairs"] == [
        "1 missing slices were interpolated, in 1 gaps of up to 8.00 mm "
        "where the distance is 4.00 mm"
    ]
    assert series["shape"] == list(patient.volume.geometry.shape)
    seg = highdicom.seg.segread(tmp_path / "out" / series["outputs"]["seg"])
    images = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "in").iterdir()}
    assert {str(uid) for _, _, uid in seg.get_source_image_uids()} <= images


def test_a_zip_archive_gives_the_very_results_of_its_folder(
    tmp_path: Path, runner: Runner, patient_folder: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", patient_folder)
    by_folder = runner.run(patient_folder, tmp_path / "folder")
    by_archive = runner.run(Path(archive), tmp_path / "archive")
    assert by_folder.outcome.status == by_archive.outcome.status == "ok"
    (first,), (second,) = by_folder.journal.records, by_archive.journal.records
    seg, other = (pydicom.dcmread(record.outputs["seg"]) for record in (first, second))
    assert seg.SOPInstanceUID == other.SOPInstanceUID
    assert seg.PixelData == other.PixelData


def test_two_selections_give_two_results_of_one_series_each_by_its_own_model(
    tmp_path: Path, tent_bundle: Bundle, patient_folder: Path
) -> None:
    models = tmp_path / "models"
    for name in ("one", "two"):
        shutil.copytree(tent_bundle.folder, models / name)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "selections:\n"
        "  - {name: a, model: one, conditions: {Modality: CT}}\n"
        "  - {name: b, model: two, conditions: {Modality: CT}}\n"
        "  - {name: c, model: two, conditions: {Modality: CT}}\n"
    )
    settings = RunSettings(models=models, rules=rules, device="cpu")
    report = Runner(settings).run(patient_folder, tmp_path / "out")
    assert report.outcome.status == "ok"
    series = report.to_json()["series"]
    uid = series[0]["SeriesInstanceUID"]
    assert [(s["selection"], s["model"], s["outputs"]["seg"]) for s in series] == [
        ("a", "one", f"{uid}/segmentation.dcm"),
        ("b", "two", f"{uid}_2/segmentation.dcm"),
    ]
    assert [model["name"] for model in report.to_json()["models"]] == ["one", "two"]
    segs = [pydicom.dcmread(tmp_path / "out" / s["outputs"]["seg"]) for s in series]
    assert segs[0].SOPInstanceUID != segs[1].SOPInstanceUID


def test_the_table_of_series_says_what_would_be_chosen_and_why_not(
    tmp_path: Path, write_patient: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_patient(tmp_path / "in" / "good", name="good")
    write_patient(tmp_path / "in" / "bad", name="bad")
    break_series(tmp_path / "in" / "bad")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    assert main(["select", str(tmp_path / "in")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("chosen") == 2  # each study has its best, and one of them forms no volume
    assert "4 slices are missing" in shown
    assert "notes.txt: not DICOM" in shown
    rules = tmp_path / "rules.yaml"
    rules.write_text("selections: [{where: [{slices: '>= 25'}]}]")
    assert main(["select", str(tmp_path / "in"), "--rules", str(rules), "--json"]) == 0
    decisions = json.loads(capsys.readouterr().out)["selection"]
    assert sorted((d["chosen"], d["slices"]) for d in decisions) == [(False, 21), (True, 25)]
    assert "slices is 21" in next(d["reason"] for d in decisions if not d["chosen"])
    rules.write_text("selections: [{where: [{slices: '>= 90'}]}]")
    assert main(["select", str(tmp_path / "in"), "--rules", str(rules)]) == 11
    assert "ELLIPSOID" not in capsys.readouterr().out
