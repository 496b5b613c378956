"""Measures of whole cases: a network's, and those of predictions made by hand."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from models.bundle import Bundle
from models.errors import TrainingError
from models.evaluation.evaluator import Evaluator
from models.evaluation.measures import OrganMeasures
from models.segmenter import Segmenter
from models.training.cases import UNKNOWN, Case

SPACING_MM = (5.0, 2.0, 1.0)


def boxes() -> tuple[np.ndarray, np.ndarray]:
    """A truth of liver (1) and left kidney (2), and a prediction of the liver moved by 2 in i."""
    truth = np.zeros((6, 20, 30), np.uint8)
    truth[1:5, 5:15, 5:15] = 1
    truth[2:4, 4:8, 20:26] = 2
    prediction = np.zeros_like(truth)
    prediction[1:5, 5:15, 7:17] = 1
    return truth, prediction


def case_of(
    truth: np.ndarray, unlabelled: frozenset[int] = frozenset(), name: str = "case"
) -> Case:
    return Case(
        name=name,
        patient=f"patient of {name}",
        hu=np.zeros(truth.shape, np.int16),
        labels=truth,
        spacing_mm=SPACING_MM,
        unlabelled=unlabelled,
    )


def noisy_case(name: str = "case", unlabelled: frozenset[int] = frozenset()) -> Case:
    """A case of noise; its labels are all background, to be written."""
    hu = np.random.default_rng(len(name)).integers(-150, 250, (20, 40, 44), np.int16)
    return Case(
        name=name,
        patient=name,
        hu=hu,
        labels=np.zeros(hu.shape, np.uint8),
        spacing_mm=(5.0, 2.5, 2.2),
        unlabelled=unlabelled,
    )


def test_measures_of_boxes_are_those_by_hand(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    measures = Evaluator(tiny_bundle).compare(prediction, case_of(truth))
    assert (measures.name, measures.patient) == ("case", "patient of case")
    liver = measures.organs["liver"]
    assert liver.dice == 0.8
    assert liver.iou == pytest.approx(320 / 480)
    assert liver.precision == liver.recall == 0.8
    assert liver.accuracy == pytest.approx(1 - 160 / 3600)
    assert liver.hd95_mm == pytest.approx(2.0)
    assert liver.nsd == 1.0  # moved by just the tolerance
    assert liver.volume_ml == liver.truth_ml == pytest.approx(4.0)
    assert liver.volume_error_ml == liver.volume_error_percent == 0.0
    assert liver.auc is None
    assert measures.pixel_accuracy == pytest.approx(1 - (160 + 48) / 3600)
    assert measures.confusion.tolist() == [
        [3600 - 400 - 48 - 80, 80, 0, 0],
        [80, 320, 0, 0],
        [48, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_a_missed_an_invented_and_an_absent_organ_follow_the_convention(
    tiny_bundle: Bundle,
) -> None:
    truth, prediction = boxes()
    organs = Evaluator(tiny_bundle).compare(prediction, case_of(truth)).organs
    missed = organs["kidney_left"]
    assert (missed.dice, missed.iou, missed.nsd, missed.recall) == (0, 0, 0, 0)
    assert missed.hd95_mm is None
    assert missed.precision is None
    assert missed.volume_error_ml == -missed.truth_ml == pytest.approx(-0.48)
    assert missed.volume_error_percent == -100
    absent = organs["kidney_right"]
    assert absent == OrganMeasures(accuracy=1.0, volume_ml=0.0, truth_ml=0.0, volume_error_ml=0.0)
    assert absent.volume_error_percent is None
    organs = Evaluator(tiny_bundle).compare(truth, case_of(prediction)).organs
    invented = organs["kidney_left"]
    assert (invented.dice, invented.iou, invented.nsd, invented.precision) == (0, 0, 0, 0)
    assert invented.hd95_mm is None
    assert invented.recall is None
    assert invented.volume_error_ml == pytest.approx(0.48)
    assert invented.volume_error_percent is None


def test_an_unlabelled_organ_has_only_a_volume_and_is_background_to_the_rest(
    tiny_bundle: Bundle,
) -> None:
    truth, prediction = boxes()
    prediction[2:4, 4:8, 20:26] = 2
    truth[truth == 2] = 0
    measures = Evaluator(tiny_bundle).compare(prediction, case_of(truth, frozenset({2})))
    assert measures.organs["kidney_left"] == OrganMeasures(volume_ml=pytest.approx(0.48))
    assert measures.organs["liver"].dice == 0.8
    assert measures.confusion[:, 2].sum() == 0
    assert measures.pixel_accuracy == pytest.approx(1 - 160 / 3600)


def test_unknown_voxels_take_no_part(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    truth[:, :, :7] = UNKNOWN  # where the prediction misses the liver
    truth[2:4, 4:8, 20:26] = UNKNOWN
    measures = Evaluator(tiny_bundle).compare(prediction, case_of(truth))
    liver = measures.organs["liver"]
    assert liver.dice == pytest.approx(2 * 320 / (320 + 400))
    assert liver.truth_ml == pytest.approx(3.2)
    assert measures.organs["kidney_left"].dice is None
    assert measures.confusion.sum() == 3600 - 6 * 20 * 7 - 48


def test_without_spacing_distances_are_of_pixels_and_volumes_unknown(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    case = replace(case_of(truth), spacing_mm=(1.0, 1.0, 1.0), spacing_stated=False)
    measures = Evaluator(tiny_bundle).compare(prediction, case)
    liver, left = measures.organs["liver"], measures.organs["kidney_left"]
    assert not measures.spacing_stated
    assert liver.hd95_mm == pytest.approx(2.0)  # moved by two pixels
    assert (liver.volume_ml, liver.truth_ml, liver.volume_error_ml) == (None, None, None)
    assert (liver.volume_error_percent, left.volume_error_percent) == (0, -100)


def test_a_case_in_which_no_window_sees_a_body_is_measured_as_empty(tiny_bundle: Bundle) -> None:
    case = noisy_case()
    case.hu[:] = -1024
    case.labels[4:8, 10:20, 10:20] = 1
    evaluator = Evaluator(tiny_bundle)
    labels, measures = evaluator.segment(Segmenter(tiny_bundle, "cpu"), case)
    assert not labels.any()
    assert (measures.organs["liver"].dice, measures.organs["liver"].auc) == (0, 0.5)


def test_a_tolerance_may_be_an_organs_own(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    strict = Evaluator(tiny_bundle, 3.0, {"liver": 0.5})
    nsd = strict.compare(prediction, case_of(truth)).organs["liver"].nsd
    assert nsd is not None
    assert 0.3 < nsd < 0.7  # the faces in i alone are too far
    assert strict.evaluation().nsd_tolerance_mm == 3.0
    assert strict.evaluation().organ_tolerances_mm == {"liver": 0.5}
    for tolerances in ({"spleen": 1.0}, {"liver": -1.0}):
        with pytest.raises(TrainingError, match=r"expected .*toleran"):
            Evaluator(tiny_bundle, 2.0, tolerances)


def test_a_prediction_of_another_grid_or_other_numbers_is_refused(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    evaluator = Evaluator(tiny_bundle)
    with pytest.raises(TrainingError, match=r"case: expected a prediction of shape \(6, 20, 30\)"):
        evaluator.compare(prediction[1:], case_of(truth))
    with pytest.raises(TrainingError, match=r"segment numbers of \[0, 1, 2, 3\], found \[9\]"):
        evaluator.compare(np.where(prediction == 1, 9, 0).astype(np.uint8), case_of(truth))
    with pytest.raises(TrainingError, match=r"labels of \[0, 1, 2, 3, 255\], found \[4\]"):
        evaluator.compare(prediction, case_of(np.full_like(truth, 4)))
    assert evaluator.evaluation().cases == ()


def test_a_case_of_one_slice_is_measured_as_a_picture(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    liver = Evaluator(tiny_bundle).compare(prediction[2:3], case_of(truth[2:3])).organs["liver"]
    assert liver.dice == 0.8
    assert liver.hd95_mm == pytest.approx(2.0)


def test_memory_maps_are_measured_as_arrays(tiny_bundle: Bundle, tmp_path: Path) -> None:
    truth, prediction = boxes()
    truth[0, :3] = UNKNOWN
    np.save(tmp_path / "truth.npy", truth)
    mapped = np.load(tmp_path / "truth.npy", mmap_mode="r")
    evaluator = Evaluator(tiny_bundle)
    found = evaluator.compare(prediction, case_of(mapped))
    assert found.organs == evaluator.compare(prediction, case_of(truth)).organs


def test_an_evaluation_names_the_model_and_its_organs(tiny_bundle: Bundle) -> None:
    truth, prediction = boxes()
    evaluator = Evaluator(tiny_bundle)
    evaluator.compare(prediction, case_of(truth, name="a"))
    evaluator.compare(truth, case_of(truth, name="b"))
    evaluation = evaluator.evaluation()
    assert (evaluation.model, evaluation.version) == ("tiny", "0.0.1")
    assert evaluation.sha256 == tiny_bundle.sha256
    assert evaluation.organs == ("liver", "kidney_left", "kidney_right")
    assert evaluation.labels["kidney_left"] == "Left kidney"
    assert evaluation.rgb["liver"] == (221, 130, 101)
    assert [case.name for case in evaluation.cases] == ["a", "b"]
    assert evaluation.confusion.sum() == 2 * truth.size
    assert evaluation.roc == {}  # predictions alone have no scores


def test_a_network_that_agrees_scores_one_for_each_organ_that_there_is(tiny_bundle: Bundle) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")
    case = noisy_case()
    case.labels[:] = segmenter.segment(case.volume).labels  # numbers are classes in this bundle
    present = {name for name, n in tiny_bundle.class_of.items() if (case.labels == n).any()}
    assert present
    labels, measures = Evaluator(tiny_bundle).segment(segmenter, case)
    np.testing.assert_array_equal(labels, case.labels)
    assert measures.pixel_accuracy == 1
    for name, organ in measures.organs.items():
        ones = (organ.dice, organ.iou, organ.nsd, organ.precision, organ.recall, organ.auc)
        if name in present:
            assert ones[:5] == (1,) * 5
            assert organ.hd95_mm == 0
            assert organ.auc is not None
            assert organ.auc > 0.9
        else:
            assert ones == (None,) * 6


def test_roc_curves_are_of_the_networks_scores_over_all_cases(tiny_bundle: Bundle) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")
    cases = [noisy_case("a"), noisy_case("the second"), noisy_case("third", frozenset({1}))]
    scores: list[NDArray[np.float32]] = []
    truths: list[NDArray[np.uint8]] = []

    def keep(k: int, plane: Tensor) -> None:
        scores.append(plane[1].numpy().copy())

    evaluator = Evaluator(tiny_bundle)
    for case in cases:
        case.labels[5:15, 10:30, 10:30] = 1 if 1 not in case.unlabelled else 0
        case.labels[:, :, :5] = UNKNOWN
        if 1 not in case.unlabelled:
            segmenter.segment(case.volume, on_scores=keep)
            truths.extend(case.labels)
        evaluator.segment(segmenter, case)
    evaluation = evaluator.evaluation()
    known = np.array(truths) != UNKNOWN
    expected = roc_auc_score((np.array(truths) == 1)[known], np.array(scores)[known])
    assert evaluation.roc["liver"].auc == pytest.approx(expected, abs=1e-6)
    assert evaluation.roc.keys() == {"liver"}  # nobody has kidneys
    assert len(evaluation.roc["liver"].true_positive_rate) <= 200
    first = np.array(truths[:20]) == 1, np.array(scores[:20]), known[:20]
    expected = roc_auc_score(first[0][first[2]], first[1][first[2]])
    assert evaluation.cases[0].organs["liver"].auc == pytest.approx(expected, abs=1e-6)
    assert evaluation.cases[2].organs["liver"].auc is None


def test_no_case_is_kept(tiny_bundle: Bundle) -> None:
    evaluator, segmenter = Evaluator(tiny_bundle), Segmenter(tiny_bundle, "cpu")
    arrays = []
    for name in ("first", "second"):
        case = noisy_case(name)
        arrays += [weakref.ref(case), weakref.ref(case.hu), weakref.ref(case.labels)]
        labels, measures = evaluator.segment(segmenter, case)
        arrays.append(weakref.ref(labels))
        assert labels.shape == case.labels.shape
        assert measures.name == case.name
        del case, labels
    gc.collect()
    assert [array() for array in arrays] == [None] * 8
    assert [case.name for case in evaluator.evaluation().cases] == ["first", "second"]


def test_folds_of_several_networks_make_one_evaluation(tiny_bundle: Bundle) -> None:
    together, segmenter = Evaluator(tiny_bundle), Segmenter(tiny_bundle, "cpu")
    for name in ("a", "bb"):
        case = noisy_case(name)
        case.labels[5:15, 10:30, 10:30] = 1
        labels, measures = together.segment(segmenter, case)
        assert labels.shape == case.labels.shape
        assert measures.organs["liver"].auc is not None
    assert [case.name for case in together.evaluation().cases] == ["a", "bb"]
    assert set(together.evaluation().roc) == {"liver"}


def test_cases_are_known_that_went_into_the_weights_of_the_network_that_segmented_them(
    tiny_bundle: Bundle,
) -> None:
    notes = {"cases": ["a", "elsewhere"], "teacher_cases": ["of a teacher"]}
    learnt = replace(tiny_bundle, metadata={**tiny_bundle.metadata, "trained_on": notes})
    evaluator = Evaluator(learnt)
    for name in ("a", "unseen", "of a teacher"):
        evaluator.segment(Segmenter(learnt, "cpu"), noisy_case(name))
    assert evaluator.evaluation().learnt_cases == ("a", "of a teacher")
    other = Evaluator(learnt)  # as of a fold: the bundle knows the case, the network does not
    other.segment(Segmenter(tiny_bundle, "cpu"), noisy_case("a"))
    assert other.evaluation().learnt_cases == ()
