"""CSV files and the table for people."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from models.evaluation.measures import MEASURES
from models.evaluation.summary import summarise
from models.evaluation.tables import HEADINGS, markdown_table, write_csv, write_summary_csv
from tests.unit.models.evaluation.examples import ORGANS, case_of, evaluation_of

VOLUMES = {
    "volume_ml": 110.0,
    "truth_ml": 100.0,
    "volume_error_ml": 10.0,
    "volume_error_percent": 10.0,
}
CASES = [
    case_of("a", "x", (0.9, None, 1.0), **VOLUMES),
    case_of("b", "y", (0.8, None, None), hd95_mm=2.5),
]


def test_the_file_has_a_row_a_case_and_organ(tmp_path: Path) -> None:
    write_csv(evaluation_of(CASES), tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["organ"]) for row in rows] == [(c, o) for c in "ab" for o in ORGANS]
    assert list(rows[0]) == ["case", "patient", "organ", *MEASURES, "spacing_stated"]
    assert (rows[0]["dice"], rows[0]["hd95_mm"], rows[0]["volume_error_percent"]) == (
        "0.9", "", "10.0",
    )  # fmt: skip
    assert rows[1]["dice"] == ""
    assert rows[3]["hd95_mm"] == "2.5"


def test_distances_of_cases_without_spacing_are_told_as_pixels(tmp_path: Path) -> None:
    blind = [replace(case, spacing_stated=False) for case in CASES]
    for cases, unit, count in ((blind, "pixels", 2), ([CASES[0], blind[1]], "mm or pixels", 1)):
        evaluation = evaluation_of(cases)
        table = markdown_table(evaluation)
        assert f"| HD95 {unit} |" in table
        assert table.endswith(
            f"{count} of 2 cases state no spacing: there HD95 and the tolerance of NSD are in "
            "pixels, and volumes are not known."
        )
    write_csv(evaluation_of(blind), tmp_path / "cases.csv")
    assert (tmp_path / "cases.csv").read_text().count(",False\n") == 6
    assert "| HD95 mm |" in markdown_table(evaluation_of(CASES))
    assert "state no spacing" not in markdown_table(evaluation_of(CASES))


def test_the_summary_has_a_row_an_organ_and_measure(tmp_path: Path) -> None:
    write_summary_csv(summarise(evaluation_of(CASES)), tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = {(row["organ"], row["measure"]): row for row in csv.DictReader(stream)}
    assert len(rows) == 4 * len(MEASURES) + 1
    liver = rows["liver", "dice"]
    assert abs(float(liver["mean"]) - 0.85) < 1e-12
    assert (liver["low"], liver["high"], liver["count"]) == ("0.8", "0.9", "2")
    assert rows["kidney_left", "dice"]["mean"] == ""
    assert rows["*", "dice"]["count"] == "2"
    assert rows["*", "pixel_accuracy"]["count"] == "2"


def test_the_table_has_a_row_a_case_and_the_means_of_what_is_known() -> None:
    lines = markdown_table(evaluation_of(CASES)).splitlines()
    assert lines[:5] == [
        "| case | Liver | Left kidney | Right kidney |",
        "|---|---|---|---|",
        "| a | 0.900 | - | 1.000 |",
        "| b | 0.800 | - | - |",
        "| **mean** | 0.850 | - | 1.000 |",
    ]
    assert lines[5] == ""
    heading = [cell.strip() for cell in lines[6].split("|")[1:-1]]
    assert heading[:5] == ["organ", "cases", "Dice", "IoU", "HD95 mm"]
    liver = [cell.strip() for cell in lines[8].split("|")[1:-1]]
    assert liver[:5] == ["Liver", "2", "0.850 (0.800 to 0.900)", "-", "2.5"]
    assert liver[-4:] == ["110.0", "100.0", "10.0", "10.0"]
    left = [cell.strip() for cell in lines[9].split("|")[1:-1]]
    assert left[:5] == ["Left kidney", "0", "-", "-", "2.5"]
    # no interval: one patient alone has a right kidney
    assert lines[11].startswith("| **mean of organs** |  | 0.925 | - | 2.5 |")
    assert len(lines) == 12


def test_every_measure_has_a_heading() -> None:
    assert tuple(HEADINGS) == MEASURES


def test_the_table_marks_the_cases_that_were_learnt_from() -> None:
    lines = markdown_table(replace(evaluation_of(CASES), learnt_cases=("b",))).splitlines()
    assert lines[2:4] == ["| a | 0.900 | - | 1.000 |", "| b (learnt from) | 0.800 | - | - |"]
