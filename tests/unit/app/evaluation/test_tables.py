from __future__ import annotations

from dataclasses import replace

import pytest

from app.evaluation.tables import (
    by_worst,
    case_tables,
    confusion_table,
    mean_dice,
    number,
    percentage,
    summary_tables,
    worst_tables,
)
from models.evaluation.summary import summarise
from tests.evaluations import evaluation


def test_the_summary_has_each_organs_mean_with_its_interval() -> None:
    measured = evaluation()
    summary = summarise(measured)

    agreement, volumes = summary_tables(measured, summary)

    assert agreement.heading[:3] == ("Organ", "Cases", "Dice")
    liver, spleen, mean = agreement.rows
    assert [cell.text for cell in liver.cells[:2]] == ["4", "0.882"]
    assert [cell.text for cell in spleen.cells[:2]] == ["3", "0.747"]
    dice = summary.organs["liver"]["dice"]
    assert liver.cells[1].note == f"{dice.low:.3f} to {dice.high:.3f}"
    assert liver.cells[1].share == pytest.approx(88.2)
    assert (mean.label, mean.cells[1].text) == ("Mean of organs", "0.815")
    assert volumes.heading[-1] == "Volume error %"
    assert volumes.rows[0].cells[-1].text == "\N{MINUS SIGN}1.3"


def test_one_patient_has_no_interval() -> None:
    measured = evaluation({"case-a": (0.9, 0.8)})

    agreement, _ = summary_tables(measured, summarise(measured))

    assert agreement.rows[0].cells[1].note == ""


def test_the_worst_case_of_each_organ_comes_first() -> None:
    liver, spleen = worst_tables(evaluation(), count=2)

    assert [row.label for row in liver.rows] == ["case-c", "case-b"]
    assert [row.label for row in spleen.rows] == ["case-b", "case-a"]
    assert [cell.text for cell in spleen.rows[0].cells] == ["0.400", "24.0", "\N{MINUS SIGN}20.0"]


def test_cases_are_ordered_by_their_mean_dice_those_without_at_the_end() -> None:
    measured = evaluation({"none": (None, None), "good": (0.9, 0.9), "bad": (0.2, None)})

    assert [case.name for case in by_worst(measured.cases)] == ["bad", "good", "none"]
    assert mean_dice(measured.cases[1]) == pytest.approx(0.9)


def test_there_is_a_table_of_cases_for_every_measure_that_somebody_has() -> None:
    tables = case_tables(evaluation())

    titles = ["Dice", "HD95 mm", "IoU", "Precision", "Recall", "Volume error %"]
    assert [table.title for table in tables] == titles
    dice = tables[0]
    assert dice.heading == ("Case", "Liver", "Spleen", "Mean", "Pixel accuracy")
    row = dice.rows[1]
    assert (row.label, row.note) == ("case-b", "patient-0")
    assert [cell.text for cell in row.cells] == ["0.900", "0.400", "0.650", "0.9800"]
    assert dice.rows[2].cells[1].text == "\N{EN DASH}"
    assert dice.rows[2].cells[1].share is None


def test_cases_that_were_learnt_from_are_marked() -> None:
    measured = replace(evaluation(), learnt_cases=("case-b",))

    tables = [*case_tables(measured), *worst_tables(measured)]

    assert len(tables) == 6 + 2
    for table in tables:
        assert [row.learnt for row in table.rows] == [row.label == "case-b" for row in table.rows]


def test_the_confusion_matrix_gives_shares_of_the_true_class() -> None:
    table = confusion_table(evaluation())

    assert table.heading == ("Truth", "Background", "Liver", "Spleen")
    background, liver, spleen = table.rows
    assert [cell.text for cell in background.cells] == ["98.9", "1.1", "0"]
    assert [cell.text for cell in liver.cells] == ["10.0", "90.0", "0"]
    assert [cell.text for cell in spleen.cells] == ["100.0", "0", "0"]
    assert liver.note == "800"
    assert liver.cells[1].note == "720 voxels"


def test_a_class_without_voxels_has_no_shares() -> None:
    empty = confusion_table(evaluation({}))

    assert {cell.text for row in empty.rows for cell in row.cells} == {"\N{EN DASH}"}


def test_little_is_told_from_nothing() -> None:
    assert [percentage(share) for share in (0.0, 1e-6, 0.05, 99.96)] == [
        "0",
        "<0.1",
        "0.1",
        "100.0",
    ]


def test_numbers_have_the_decimals_of_their_measure() -> None:
    assert number(None, "dice") == "\N{EN DASH}"
    assert number(0.98765, "dice") == "0.988"
    assert number(-1234.56, "volume_error_ml") == "\N{MINUS SIGN}1,234.6"
