from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from app.outcomes import OK, outcome_of
from app.report import Report, peak_memory_mib
from models.bundle import Bundle
from models.geometry import VolumeGeometry
from models.segmenter import Segmenter
from operators.errors import OutputError, VolumeError
from operators.journal import Journal
from operators.loading import SkippedFile
from operators.organ_volumes import OrganVolume
from operators.product import product_version
from operators.selection import ChosenSeries, Decision

MakeReport = Callable[..., Report]


def organ(name: str, volume_ml: float) -> OrganVolume:
    return OrganVolume(
        number=1,
        name=name,
        label=name.title(),
        voxel_count=round(volume_ml * 10),
        volume_ml=volume_ml,
        mean_hu=100.0,
        sd_hu=5.0,
        centroid_lps_mm=(1.0, 2.0, 3.0),
        complete=True,
    )


@pytest.fixture
def journal(tmp_path: Path, make_chosen: Callable[[str], ChosenSeries]) -> Journal:
    """One series with results, and one that is no volume."""
    journal = Journal(tmp_path / "out")
    journal.skipped = (SkippedFile(tmp_path / "in" / "notes.txt", "not DICOM"),)
    journal.decisions = (
        Decision(
            StudyInstanceUID="2.25.1",
            SeriesInstanceUID="2.25.2",
            part="",
            selection_name="Axial CT",
            chosen=True,
            reason="the only match",
            Modality="CT",
            sop_classes=("CT Image Storage",),
            instance_count=3,
        ),
    )
    journal.stages_s["load"] = 0.123456
    for uid in ("2.25.2", "2.25.3"):
        assert journal.open(make_chosen(uid))
    good, bad = journal.records
    good.geometry = VolumeGeometry.from_spacing((3, 5, 4), (5.0, 0.5, 0.75))
    good.model = "abdomen"
    good.repairs = ("2 missing slices were interpolated",)
    good.organs = (organ("liver", 1234.5678),)
    good.outputs["seg"] = good.folder / "segmentation.dcm"
    good.stages_s["segment"] = 2.00049
    bad.error = VolumeError("expected one image per position")
    return journal


def test_the_content_follows_from_what_was_noted(
    journal: Journal, make_report: MakeReport, tmp_path: Path
) -> None:
    content = make_report(journal).to_json()
    assert content["viscera"] == version("viscera") == product_version()
    assert (content["started"], content["finished"], content["duration_s"]) == (
        "2026-03-01T11:22:33+00:00",
        "2026-03-01T11:23:48+00:00",
        75.0,
    )
    assert content["models"] == []
    assert content["stages_s"] == {"load": 0.123}
    assert content["skipped_files"] == [
        {"path": str(tmp_path / "in" / "notes.txt"), "reason": "not DICOM"}
    ]
    assert content["selection"][0]["reason"] == "the only match"
    good, bad = content["series"]
    assert good == {
        "StudyInstanceUID": "2.25.1",
        "SeriesInstanceUID": "2.25.2",
        "part": "",
        "selection": "Axial CT",
        "model": "abdomen",
        "status": "ok",
        "message": "",
        "shape": [3, 5, 4],
        "spacing_mm": [5.0, 0.5, 0.75],
        "notes": [],
        "repairs": ["2 missing slices were interpolated"],
        "anatomy": None,
        "stages_s": {"segment": 2.0},
        "outputs": {"seg": "2.25.2/segmentation.dcm"},
        "volumes_ml": {"liver": 1234.57},
    }
    assert (bad["status"], bad["message"]) == ("not_a_volume", "expected one image per position")
    assert (bad["shape"], bad["spacing_mm"], bad["outputs"]) == (None, None, {})


def test_the_model_is_named_by_the_digest_of_its_weights(
    make_report: MakeReport, liver_bundle: Bundle
) -> None:
    (model,) = make_report(segmenters=[Segmenter(liver_bundle, "cpu")]).to_json()["models"]
    assert model["name"] == "all_liver"
    assert model["sha256"] == liver_bundle.sha256
    assert model["runtime"] in ("cpu float32", "cpu bfloat16")
    assert model["load_s"] > 0


def test_the_file_holds_the_content_in_readable_utf_8(make_report: MakeReport) -> None:
    path = make_report(extra={"phantom": {"phase": "veineux, à 70 s"}}).write()
    text = path.read_text("utf-8")
    assert "veineux, à 70 s" in text
    assert json.loads(text)["phantom"] == {"phase": "veineux, à 70 s"}
    assert text.endswith("}\n")


def test_a_new_report_replaces_the_old_one(make_report: MakeReport) -> None:
    first = make_report().write()
    second = make_report(outcome=outcome_of(VolumeError("x")), message="no volume").write()
    assert first == second
    assert json.loads(second.read_text("utf-8"))["status"] == "not_a_volume"
    assert [path.name for path in first.parent.iterdir()] == ["report.json"]


def test_an_output_folder_that_is_a_file_is_an_error(
    make_report: MakeReport, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"out could not be created: File exists"):
        make_report().write()


def test_the_peak_of_memory_is_that_of_the_process() -> None:
    before = peak_memory_mib()
    assert before > 100  # PyTorch alone takes that
    block = np.ones(1 << 27, np.uint8)
    assert peak_memory_mib() >= before
    del block
    assert peak_memory_mib() >= before


def test_success_needs_no_message(make_report: MakeReport) -> None:
    content = make_report(outcome=OK).to_json()
    assert (content["status"], content["exit_code"], content["message"]) == ("ok", 0, "")
