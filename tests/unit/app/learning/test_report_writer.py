"""What of many cases comes into a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.learning import report_writer
from app.learning.report_writer import MOST_PICTURES, ReportWriter
from models.bundle import Bundle
from models.evaluation.evaluator import Evaluator
from models.evaluation.measures import CaseMeasures
from models.training.cases import Case
from operators.errors import OutputError

LABELS = {"liver": slice(2, 10), "kidney_left": slice(12, 16)}


def case(name: str, depth: int = 6) -> Case:
    labels = np.zeros((depth, 12, 18), np.uint8)
    for number, columns in enumerate(LABELS.values(), start=1):
        labels[:, 2:10, columns] = number
    return Case(
        name=name,
        patient=name,
        hu=(labels * 60).astype(np.int16),
        labels=labels,
        spacing_mm=(3.0, 3.0, 3.0),
        unlabelled=frozenset(),
    )


@pytest.fixture
def evaluator(tiny_bundle: Bundle) -> Evaluator:
    return Evaluator(tiny_bundle)


def add(
    writer: ReportWriter, evaluator: Evaluator, name: str, wrong: int = 0, depth: int = 6
) -> CaseMeasures:
    """A case of whose liver so many columns were not found."""
    one = case(name, depth)
    found = one.labels.copy()
    found[..., 2 : 2 + wrong] = 0
    measures = evaluator.compare(found, one)
    writer.add(one, found, measures)
    return measures


def test_the_worst_cases_come_first_and_are_rendered(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    writer = ReportWriter(tiny_bundle, tmp_path / "out", 1)
    for name, wrong in (("good", 0), ("bad", 6), ("fair", 3)):
        add(writer, evaluator, name, wrong)
    page = writer.finish(evaluator.evaluation(), curves=None)
    assert page == tmp_path / "out" / "report.html"
    names = {path.name for path in page.parent.iterdir()}
    assert names >= {"report.html", "evaluation.json", "cases.csv", "summary.csv", "bad.glb"}
    assert not {"good.glb", "fair.glb"} & names
    assert (page.parent / "bad.glb").read_bytes()[:4] == b"glTF"
    assert [shown.picture.case for shown in writer._shown] == ["bad", "fair", "good"]


def test_without_a_folder_nothing_is_kept(tiny_bundle: Bundle, evaluator: Evaluator) -> None:
    writer = ReportWriter(tiny_bundle, None, 2)
    add(writer, evaluator, "one")
    assert writer._shown == []


def test_volumes_are_kept_of_those_alone_that_are_rendered(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    writer = ReportWriter(tiny_bundle, tmp_path, 2)
    for number in range(MOST_PICTURES + 3):
        add(writer, evaluator, f"case-{number}", wrong=number % 5)
    assert len(writer._shown) == MOST_PICTURES
    scores = [shown.score for shown in writer._shown]
    assert scores == sorted(scores)
    assert [shown.label_map is not None for shown in writer._shown] == [True, True] + [False] * (
        MOST_PICTURES - 2
    )


@pytest.mark.parametrize("scenes", [0, -1])
def test_no_scene_is_wanted(
    scenes: int, tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    writer = ReportWriter(tiny_bundle, tmp_path, scenes)
    for name in ("one", "two"):
        add(writer, evaluator, name, 1)
    writer.finish(evaluator.evaluation(), curves=None)
    assert not list(tmp_path.glob("*.glb"))


def test_a_single_slice_has_no_surface(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    writer = ReportWriter(tiny_bundle, tmp_path, 2)
    add(writer, evaluator, "slice", 1, depth=1)
    writer.finish(evaluator.evaluation(), curves=None)
    assert not list(tmp_path.glob("*.glb"))


def test_a_machine_that_cannot_draw_still_gets_its_report(
    tiny_bundle: Bundle,
    evaluator: Evaluator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_screen(*arguments: object) -> None:
        raise OutputError("no screen")

    monkeypatch.setattr(report_writer, "write_scene", no_screen)
    writer = ReportWriter(tiny_bundle, tmp_path, 1)
    add(writer, evaluator, "one", 1)
    page = writer.finish(evaluator.evaluation(), curves=None).read_text()
    assert "no screen" in page[page.index('<section id="scenes">') :]
    assert capsys.readouterr().err == "viscera: no rendering of one: no screen\n"


def test_whatever_drawing_ends_with_the_report_is_there_before(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndOfProcess(BaseException):
        pass

    def end(*arguments: object) -> None:
        raise EndOfProcess

    monkeypatch.setattr(report_writer, "write_scene", end)
    writer = ReportWriter(tiny_bundle, tmp_path, 1)
    add(writer, evaluator, "one", 1)
    with pytest.raises(EndOfProcess):
        writer.finish(evaluator.evaluation(), curves=None)
    assert "one" in (tmp_path / "report.html").read_text()
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert [case["name"] for case in evaluation["cases"]] == ["one"]


def test_a_stray_voxel_is_rendered_too(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    fine = replace(case("fine"), spacing_mm=(1.0, 1.0, 1.0))
    found = np.zeros_like(fine.labels)
    found[3, 6, 6] = 1
    writer = ReportWriter(tiny_bundle, tmp_path, 1)
    writer.add(fine, found, evaluator.compare(found, fine))
    writer.finish(evaluator.evaluation(), curves=None)
    assert (tmp_path / "fine.glb").read_bytes()[:4] == b"glTF"


def test_curves_of_the_run_are_shown_where_there_are_some(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    curves = tmp_path / "curves.csv"
    rows = "train,1,3,0.001,0.9,,0.2\ntrain,2,6,0.0005,0.7,,0.4\n"
    curves.write_text(
        "stage,epoch,step,learning_rate,loss,validation_loss,validation_dice\n" + rows
    )
    pages = []
    for name, path in (("with", curves), ("without", tmp_path / "none.csv")):
        writer = ReportWriter(tiny_bundle, tmp_path / name, 0)
        if name == "with":
            add(writer, evaluator, "one", 1)
        pages.append(writer.finish(evaluator.evaluation(), curves=path).read_text())
    assert "raining" in pages[0]
    assert pages[0].count("<svg") > pages[1].count("<svg")


def test_a_folder_that_cannot_be_made_is_told_at_once(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot write to .*out: Not a directory"):
        ReportWriter(tiny_bundle, tmp_path / "file" / "out", 0)


def test_a_file_that_cannot_be_written_is_an_output_error(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    writer = ReportWriter(tiny_bundle, tmp_path / "out", 0)
    add(writer, evaluator, "one", 1)
    (tmp_path / "out" / "cases.csv").mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        writer.finish(evaluator.evaluation(), curves=None)


def test_a_case_without_a_dice_counts_as_good(
    tiny_bundle: Bundle, evaluator: Evaluator, tmp_path: Path
) -> None:
    writer = ReportWriter(tiny_bundle, tmp_path, 0)
    add(writer, evaluator, "half", 4)
    empty = replace(case("empty"), labels=np.zeros((6, 12, 18), np.uint8))
    writer.add(empty, empty.labels, evaluator.compare(empty.labels, empty))
    assert [shown.picture.case for shown in writer._shown] == ["half", "empty"]
