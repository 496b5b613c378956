from __future__ import annotations

from pathlib import Path

import pytest

from app.evaluation.charts import css_colour, dice_strips, roc_plots, training_plots
from models.errors import TrainingError
from tests.evaluations import evaluation

HEADING = "stage,epoch,step,learning_rate,loss,validation_loss,validation_dice\n"


def test_every_case_is_a_dot_at_its_dice() -> None:
    plot = dice_strips(evaluation())

    assert [tick.text for tick in plot.ticks] == ["0.4", "0.6", "0.8", "1.0"]
    liver, spleen = plot.rows
    assert [dot.x for dot in liver.dots] == pytest.approx([91.67, 83.33, 50.0, 96.67])
    assert [dot.text for dot in spleen.dots] == ["case-a: 0.910", "case-b: 0.400", "case-d: 0.930"]
    assert spleen.median == "0.910"
    # quartiles 0.655, 0.91 and 0.92 of 0.4 to 1
    assert spleen.quartiles == pytest.approx((42.5, 85.0, 86.67))
    assert liver.colour == "#c81e5a"


def test_an_organ_that_no_case_has_is_no_row() -> None:
    plot = dice_strips(evaluation({"case-a": (0.97, None)}))

    assert [row.label for row in plot.rows] == ["Liver"]
    assert [tick.text for tick in plot.ticks] == ["0.80", "0.85", "0.90", "0.95", "1.00"]


def test_roc_curves_run_from_corner_to_corner_and_the_close_view_ends_on_its_limit() -> None:
    whole, near = roc_plots(evaluation())

    assert whole.lines[0].label == "Liver, AUC 0.9471"
    assert whole.lines[0].points == "0,100 2,20 10,4 100,0 100,0"
    # 0.05 lies three eighths of the way from 0.02 to 0.1: 0.8 + 0.16 * 3 / 8
    assert near.lines[0].points == "0,100 40,20 100,14"
    assert near.x_ticks[-1].text == "0.05"


def test_without_scores_there_is_no_roc() -> None:
    assert roc_plots(evaluation(roc=False)) == []


def test_training_curves_go_on_through_the_stages_and_over_gaps(tmp_path: Path) -> None:
    rows = "warm,1,10,1e-3,2,,\nwarm,2,20,1e-3,1,1.5,0.5\n"
    rows += "main,1,30,5e-4,0.5,,\nmain,2,40,0,0.25,0.5,0.9\n"
    (tmp_path / "curves.csv").write_text(HEADING + rows)

    loss, dice, rate = training_plots(tmp_path / "curves.csv")

    assert [line.label for line in loss.lines] == ["Training", "Validation"]
    assert loss.lines[0].points == "25,0 50,50 75,75 100,87.5"
    assert loss.lines[1].points == "50,25 100,75"
    assert dice.lines[0].points == "50,50 100,10"
    assert [(mark.text, mark.place) for mark in loss.marks] == [("warm", 0), ("main", 50)]
    assert rate.y_ticks[-1].text == "1e-3"


def test_what_was_never_measured_has_no_plot(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(HEADING + "train,1,10,0.001,nan,,\n")

    (rate,) = training_plots(tmp_path / "curves.csv")

    assert rate.title == "Learning rate"
    assert rate.lines[0].points == "100,0 100,0"
    assert rate.marks == ()


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", HEADING + "train,1,10,fast,1,,\n", HEADING + "x\n"]
)
def test_another_file_is_no_training_curve(tmp_path: Path, text: str) -> None:
    (tmp_path / "curves.csv").write_text(text)

    with pytest.raises(TrainingError, match="expected learning curves in"):
        training_plots(tmp_path / "curves.csv")


def test_a_run_that_ended_before_its_first_epoch_has_no_plots(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(HEADING)

    assert training_plots(tmp_path / "curves.csv") == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nowhere"):
        training_plots(tmp_path / "nowhere.csv")


def test_colours_are_hexadecimal() -> None:
    assert css_colour((0, 15, 255)) == "#000fff"
