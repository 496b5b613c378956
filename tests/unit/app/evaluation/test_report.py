from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from app.evaluation.pictures import CasePicture, PictureView
from app.evaluation.report import render_report, write_report
from app.evaluation.scenes import CaseScene
from models.errors import TrainingError
from models.evaluation.summary import summarise
from tests.evaluations import DICE, evaluation

HEADING = "stage,epoch,step,learning_rate,loss,validation_loss,validation_dice\n"
VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """Checks that elements close as they opened, and collects references, ids and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: set[str] = set()
        self.elements: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "srcset", "href"}:
                self.references.append(value or "")
            if name == "id":
                self.ids.add(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def _png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(stream, "PNG")
    return stream.getvalue()


def _picture(case: str, colour: str = "red") -> CasePicture:
    view = PictureView(title="Axial, slice 3 of 9: most organs", png=_png(colour))
    return CasePicture(case=case, views=(view,))


def _scene(case: str) -> CaseScene:
    return CaseScene(case=case, png=_png("green"), gif=None, glb=f"{case}.glb", mp4=None)


def _render(**parts: object) -> str:
    measured = evaluation()
    return render_report(measured, summarise(measured), **parts)  # type: ignore[arg-type]


def test_the_page_says_what_was_evaluated_and_how_well(tmp_path: Path) -> None:
    path = write_report(evaluation(), tmp_path / "new")

    assert path == tmp_path / "new" / "report.html"
    page = Page(path.read_text("utf-8"))
    text = " ".join(page.texts)
    for part in ("abdomen_test, version 2.3.4", "ab" * 32, "2 mm (Spleen 1.5 mm)"):
        assert part in text
    assert "Research use only, not for clinical use" in text
    facts = page.texts[page.texts.index("Mean Dice of organs") :]
    assert facts[1] == "0.815"
    assert facts[facts.index("Pixel accuracy") + 1] == "0.9750"
    assert facts[facts.index("Cases") + 1] == "4"
    assert "of 2 patients" in text
    assert "0.882" in text
    assert all(case in text for case in DICE)


def test_the_page_fetches_nothing_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(HEADING + "train,1,10,0.001,0.5,0.4,0.8\n")
    text = _render(
        pictures=[_picture("case-a")], scenes=[_scene("case-b")], curves=tmp_path / "curves.csv"
    )
    page = Page(text)

    outside = [
        reference
        for reference in page.references
        if not reference.startswith(("#", "data:image/png;base64,")) and reference != "case-b.glb"
    ]
    assert outside == []
    assert "script" not in page.elements
    assert "link" not in page.elements
    assert not re.search(r"https?:|@import|url\(|\son\w+=", text)
    assert {r[1:] for r in page.references if r.startswith("#")} <= page.ids
    assert "default-src 'none'" in text


def test_pictures_decode_and_the_worst_case_comes_first() -> None:
    page = Page(_render(pictures=[_picture("case-a", "red"), _picture("case-b", "blue")]))

    images = []
    for reference in page.references:
        if reference.startswith("data:"):
            content = base64.b64decode(reference.partition("base64,")[2], validate=True)
            with Image.open(io.BytesIO(content)) as picture:
                images.append(picture.convert("RGB").getpixel((0, 0)))
    assert images == [(0, 0, 255), (255, 0, 0)]  # mean Dice 0.65, then 0.93


def test_names_from_files_stay_text() -> None:
    name, label = "<script>alert(1)</script>", "Li\"ver' & <b>co"
    measured = evaluation(
        {name: (0.9, 0.8), "b": (0.7, 0.6)},
        {"liver": label, "spleen": "Spleen"},
        model='x"><img src=http://x>',
    )

    text = render_report(
        measured, summarise(measured), pictures=[_picture(name)], scenes=[_scene(name)]
    )

    page = Page(text)
    assert "script" not in page.elements
    assert page.elements.count("img") == 2
    assert name in page.texts
    assert any(label in part for part in page.texts)
    assert "%3Cscript%3Ealert%281%29%3C/script%3E.glb" in page.references


def test_the_page_says_which_cases_the_model_has_learnt_from() -> None:
    measured = replace(evaluation(), learnt_cases=("case-b", "case-d"))

    text = render_report(measured, summarise(measured), pictures=[_picture("case-b")])

    page = Page(text)
    header = text[: text.index("</header>")]
    assert "Learnt from 2 of these 4 cases" in header
    assert "case-b, case-d" in header
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL):
            learnt = re.search(r"case-[bd]", row) is not None
            assert ("learnt from" in row) == learnt
    shown = page.texts.index("case-b", page.texts.index("Input, truth and prediction"))
    assert page.texts[shown + 1] == "learnt from"


def test_many_cases_learnt_from_are_counted_rather_than_listed() -> None:
    """Of slices there are thousands, and each is marked where it stands."""
    measured = replace(evaluation(), learnt_cases=tuple(f"slice-{n}" for n in range(500)))
    text = render_report(measured, summarise(measured))
    header = text[: text.index("</header>")]
    assert "slice-10, slice-11 and 488 more." in header
    assert "slice-12" not in header


def test_the_page_says_that_no_case_is_known_to_have_been_learnt_from() -> None:
    text = _render()

    assert "None of these cases is known to have gone into the weights" in text
    assert ">learnt from<" not in text


def test_networks_of_folds_stand_instead_of_weights() -> None:
    measured = replace(evaluation(), version="", sha256="", note="2 networks & more")

    header = render_report(measured, summarise(measured)).partition("</header>")[0]

    assert "<dd>abdomen_test</dd>" in header
    assert "2 networks &amp; more" in header
    assert "none stated" not in header
    assert "version" not in header.partition("<dl>")[2]


def test_the_page_says_why_a_case_is_not_rendered() -> None:
    text = _render(not_rendered={"case-c": "no <screen> here"})

    page = Page(text)
    assert "scenes" in page.ids
    assert "#scenes" in page.references
    section = text[text.index('<section id="scenes">') :]
    assert "case-c" in section
    assert "no &lt;screen&gt; here" in section
    assert "img" not in page.elements


def test_sections_without_content_are_left_out() -> None:
    measured = evaluation(roc=False)

    page = Page(render_report(measured, summarise(measured)))

    assert page.ids == {"summary", "worst", "cases", "confusion", "conventions"}


def test_all_sections_are_there_where_there_is_content(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text(HEADING + "train,1,10,0.001,0.5,0.4,0.8\n")

    page = Page(
        _render(
            pictures=[_picture("case-a")], scenes=[_scene("case-a")], curves=tmp_path / "curves.csv"
        )
    )

    assert {"pictures", "scenes", "roc", "training"} <= page.ids
    assert page.elements.count("polyline") == 4 + 4  # two ROC plots; loss, loss, Dice, rate
    assert "Liver, AUC 0.9471" in page.texts


def test_a_turning_picture_stands_still_for_those_who_want_less_motion() -> None:
    stream = io.BytesIO()
    frames = [Image.new("P", (8, 8), n) for n in range(3)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    scene = CaseScene(
        case="case-a", png=_png("red"), gif=stream.getvalue(), glb="a b.glb", mp4="a b.mp4"
    )

    text = _render(scenes=[scene])

    still, turning = re.findall(r'srcset="(data:image/png[^"]+)"><img src="(data:[^"]+)"', text)[0]
    assert still.startswith("data:image/png;base64,")
    assert turning.startswith("data:image/gif;base64,")
    assert 'href="a%20b.glb"' in text
    assert 'href="a%20b.mp4"' in text


def test_an_evaluation_without_cases_still_gives_a_page() -> None:
    measured = evaluation({})

    page = Page(render_report(measured, summarise(measured)))

    assert "of 0 patients" in page.texts


def test_the_same_evaluation_always_gives_the_same_page() -> None:
    assert _render(pictures=[_picture("case-a")]) == _render(pictures=[_picture("case-a")])


def test_curves_that_are_none_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected learning curves"):
        write_report(evaluation(), tmp_path / "out", curves=tmp_path / "none.csv")

    assert list(tmp_path.iterdir()) == []
