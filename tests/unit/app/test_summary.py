from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.outcomes import PARTIAL
from app.report import Report
from app.summary import summarise
from models.geometry import VolumeGeometry
from operators.errors import VolumeError
from operators.journal import Journal
from operators.loading import SkippedFile
from operators.organ_volumes import OrganVolume
from operators.selection import ChosenSeries, Decision

MakeReport = Callable[..., Report]


def organ(label: str, voxel_count: int, *, complete: bool) -> OrganVolume:
    return OrganVolume(
        number=1,
        name=label.lower(),
        label=label,
        voxel_count=voxel_count,
        volume_ml=voxel_count / 10,
        mean_hu=None,
        sd_hu=None,
        centroid_lps_mm=None,
        complete=complete,
    )


def decision(uid: str, reason: str, *, chosen: bool) -> Decision:
    return Decision(
        StudyInstanceUID="2.25.1",
        SeriesInstanceUID=uid,
        part="",
        selection_name="Axial CT",
        chosen=chosen,
        reason=reason,
        Modality="CT",
        sop_classes=("CT Image Storage",),
        instance_count=3,
    )


@pytest.fixture
def journal(tmp_path: Path, make_chosen: Callable[[str], ChosenSeries]) -> Journal:
    journal = Journal(tmp_path / "out")
    journal.skipped = (SkippedFile(tmp_path / "a", "not DICOM"),) * 3
    journal.decisions = (
        decision("2.25.7", "the only match", chosen=True),
        decision("2.25.8", "Modality is MR", chosen=False),
    )
    for uid in ("2.25.7", "2.25.9"):
        journal.open(make_chosen(uid))
    good, bad = journal.records
    good.geometry = VolumeGeometry.from_spacing((35, 512, 500), (5.0, 0.859375, 0.7))
    good.organs = (
        organ("Liver", 16543, complete=True),
        organ("Spleen", 0, complete=False),
        organ("Stomach", 321, complete=False),
    )
    good.outputs |= {"seg": good.folder / "segmentation.dcm", "volumes_csv": good.folder / "v.csv"}
    good.stages_s |= {"volume": 1.24, "segment": 33.0}
    bad.error = VolumeError("expected a slice every 5.000 mm")
    return journal


def test_a_person_reads_what_was_found_and_where_it_lies(
    journal: Journal, make_report: MakeReport, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert summarise(make_report(journal, PARTIAL)).splitlines() == [
        "3 files were left out; report.json says why.",
        "",
        "Series:",
        "  chosen  2.25.7  the only match",
        "    not   2.25.8  Modality is MR",
        "",
        "Series 2.25.7",
        "  35 x 512 x 500 voxels of 5 x 0.859 x 0.7 mm (slices, rows, columns)",
        "  Liver           1654.3 ml",
        "  Spleen           not found",
        "  Stomach           32.1 ml  (touches the border)",
        f"  SEG      {out}/2.25.7/segmentation.dcm",
        f"  volumes  {out}/2.25.7/v.csv",
        "  volume 1.2 s, segment 33.0 s",
        "",
        "Series 2.25.9",
        "  failed: expected a slice every 5.000 mm",
        "",
        f"report   {out}/report.json",
        "time     75.0 s",
        "status   partial",
    ]


def test_the_comparison_with_the_truth_is_a_table(make_report: MakeReport) -> None:
    scores = {"Liver": 0.95321, "Gallbladder": None}
    lines = summarise(make_report(extra={"truth_dice": scores})).splitlines()
    begin = lines.index("Dice against the phantom's truth:")
    assert lines[begin + 1 : begin + 3] == ["  Liver            0.953", "  Gallbladder   -"]


def test_a_run_that_found_nothing_is_short(make_report: MakeReport, tmp_path: Path) -> None:
    assert summarise(make_report()).splitlines() == [
        f"report   {tmp_path}/out/report.json",
        "time     75.0 s",
        "status   ok",
    ]
