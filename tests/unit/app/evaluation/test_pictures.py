from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.evaluation.pictures import PANEL_PX, PictureView, case_picture
from models.training.cases import UNKNOWN, Case
from tests.organ_balls import SEGMENTS

#: Network classes, which are not the segment numbers (1 and 2).
CLASS_OF = {"left_high": 2, "right_low": 1}
SHAPE, SPACING_MM = (24, 40, 50), (5.0, 4.0, 4.0)


def _case(unlabelled: Iterable[int] = (), shape: tuple[int, int, int] = SHAPE) -> Case:
    hu = np.full(shape, -1000, np.int16)
    hu[:, 4:36, 5:45] = 40
    labels = np.zeros(shape, np.uint8)
    labels[-8:-2, 15:25, 28:40] = CLASS_OF["left_high"]
    labels[2:10, 12:22, 8:20] = CLASS_OF["right_low"]
    return Case(
        name="case",
        patient="patient",
        hu=hu,
        labels=labels,
        spacing_mm=SPACING_MM,
        unlabelled=frozenset(unlabelled),
    )


def _prediction(case: Case) -> NDArray[np.uint8]:
    """What is true, in segment numbers."""
    table = np.zeros(256, np.uint8)
    for segment in SEGMENTS:
        table[CLASS_OF[segment.name]] = segment.number
    return table[case.labels]


def _panels(view: PictureView) -> list[NDArray[np.int64]]:
    """Input, truth and prediction."""
    with Image.open(io.BytesIO(view.png)) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture).astype(int)
    step = (pixels.shape[1] + 8) // 3
    assert step == PANEL_PX + 8
    return [pixels[:, n * step : n * step + PANEL_PX] for n in range(3)]


def _where(panel: NDArray[np.int64], channel: int) -> NDArray[np.float64] | None:
    others = np.delete(panel, channel, axis=-1).max(axis=-1)
    found = np.argwhere(panel[..., channel] - others > 50)
    return found.mean(axis=0) if len(found) > 30 else None


def test_the_slice_with_most_wrong_voxels_and_those_with_most_organs_are_shown() -> None:
    case = _case()
    prediction = _prediction(case)
    prediction[13] = 2  # where there is no organ

    picture = case_picture(case, prediction, SEGMENTS, CLASS_OF)

    titles = [view.title for view in picture.views]
    assert picture.case == "case"
    assert titles[0] == "Axial, slice 14 of 24: most voxels wrong"
    assert titles[1].startswith("Axial, slice ")
    assert titles[1].endswith(" of 24: most organs")
    assert titles[2].startswith("Coronal, row ")
    assert len(titles) == 3


def test_without_an_error_there_is_no_slice_of_errors() -> None:
    case = _case()

    picture = case_picture(case, _prediction(case), SEGMENTS, CLASS_OF)

    assert [view.title.split(":")[1] for view in picture.views] == [" most organs"] * 2


def test_organs_have_their_colour_in_truth_and_prediction_and_none_in_the_input() -> None:
    case = _case()
    coronal = case_picture(case, _prediction(case), SEGMENTS, CLASS_OF).views[-1]

    plain, truth, prediction = _panels(coronal)

    assert _where(plain, 0) is None
    assert _where(plain, 2) is None
    for panel in (truth, prediction):
        red, blue = _where(panel, 0), _where(panel, 2)
        assert red is not None
        assert blue is not None
        assert red[1] > PANEL_PX / 2 > blue[1]  # the patient's left is at the right
        assert red[0] < blue[0]  # and the head up


def test_an_organ_that_was_missed_leaves_the_white_line_of_the_truth() -> None:
    case = _case()
    prediction = _prediction(case)
    prediction[prediction == 1] = 0

    coronal = case_picture(case, prediction, SEGMENTS, CLASS_OF).views[-1]

    _, truth, found = _panels(coronal)
    red = _where(truth, 0)
    assert red is not None
    assert _where(found, 0) is None
    row, column = red.round().astype(int)
    white = (found > 250).all(axis=-1)
    assert white[row, : PANEL_PX // 2 + 200].any()
    assert white[:, column].any()
    assert not (truth[30:, :] > 250).all(axis=-1)[row].any()


def test_what_nobody_labelled_is_no_error() -> None:
    case = _case(unlabelled=[1])
    prediction = _prediction(case)
    prediction[13] = 2  # class 1, which may be there

    picture = case_picture(case, prediction, SEGMENTS, CLASS_OF)

    assert not any("wrong" in view.title for view in picture.views)


def test_unknown_voxels_are_dark_and_no_error() -> None:
    case = _case()
    prediction = _prediction(case)
    case.labels[:, 30:34] = UNKNOWN
    prediction[:, 30:34] = 1

    picture = case_picture(case, prediction, SEGMENTS, CLASS_OF)

    assert not any("wrong" in view.title for view in picture.views)
    plain, truth, _ = _panels(picture.views[0])
    dark = (truth.mean(axis=-1) < 0.6 * plain.mean(axis=-1)) & (plain.mean(axis=-1) > 60)
    assert dark.sum() > 2000


def test_views_keep_the_proportions_of_the_body() -> None:
    case = _case()
    axial, coronal = case_picture(case, _prediction(case), SEGMENTS, CLASS_OF).views

    # the body of 160 x 128 mm with a margin of 8 mm, and 24 slices of 5 mm
    for view, extent in ((axial, 144 / 176), (coronal, 120 / 176)):
        with Image.open(io.BytesIO(view.png)) as picture:
            assert (picture.height - 26) / PANEL_PX == pytest.approx(extent, abs=0.03)


def test_a_single_slice_has_an_axial_view_alone() -> None:
    hu, labels = np.full((1, 30, 30), -1000, np.int16), np.zeros((1, 30, 30), np.uint8)
    labels[0, 5:20, 5:20] = 1
    case = Case(
        name="slice",
        patient="p",
        hu=hu,
        labels=labels,
        spacing_mm=(1, 1, 1),
        unlabelled=frozenset(),
    )

    picture = case_picture(case, np.zeros_like(labels), SEGMENTS, CLASS_OF)

    assert [view.title for view in picture.views] == ["Axial, slice 1 of 1: most organs"]


def test_the_same_case_always_gives_the_same_picture() -> None:
    case = _case()
    one, other = (case_picture(case, _prediction(case), SEGMENTS, CLASS_OF) for _ in range(2))

    assert one == other
