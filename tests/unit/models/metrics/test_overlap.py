"""Overlap by hand, and against scikit-learn and MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_iou
from sklearn import metrics

from models.metrics.overlap import (
    Overlap,
    confusion_matrix,
    dice,
    joint_counts,
    merge_into_background,
)

LABELS = np.array([[[1, 1, 1, 0, 2, 2]]], np.uint8)
TRUTH = np.array([[[0, 1, 1, 1, 7, 255]]], np.uint8)


def test_dice_is_twice_the_shared_part_of_both_sizes() -> None:
    assert dice(LABELS, TRUTH, 1) == 2 * 2 / (3 + 3)
    assert dice(LABELS, LABELS, 1) == 1.0


def test_an_organ_may_have_another_number_in_the_truth() -> None:
    assert dice(LABELS, TRUTH, 2, 7) == 2 * 1 / (2 + 1)
    assert dice(LABELS, TRUTH, 2, 0) == 0.0


def test_unknown_voxels_do_not_count() -> None:
    assert dice(LABELS, TRUTH, 2, 7, unknown=255) == 1.0


def test_an_organ_that_neither_has_gives_no_score() -> None:
    assert dice(LABELS, TRUTH, 5) is None
    only_unknown = np.full_like(TRUTH, 255)
    assert dice(LABELS, only_unknown, 1, unknown=255) is None


def test_counts_beyond_eight_bits_do_not_wrap() -> None:
    full = np.ones((10, 20, 30), np.uint8)
    half = full.copy()
    half[:5] = 0
    assert dice(full, half, 1) == 2 * 3000 / 9000


def random_labels(seed: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A truth and a prediction that shares about half of it; some classes may be absent."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 12, 3))
    values = rng.choice(classes, rng.integers(1, classes + 1), replace=False)
    truth = rng.choice(values, shape).astype(np.uint8)
    other = rng.integers(0, classes, shape, dtype=np.uint8)
    return truth, np.where(rng.random(shape) < 0.5, truth, other)


def confusion_of(truth: np.ndarray, prediction: np.ndarray, classes: int = 5) -> np.ndarray:
    numbers = {number: number for number in range(1, classes)}
    return confusion_matrix(joint_counts(truth, prediction), numbers, numbers, classes, 255)


@pytest.mark.parametrize("seed", range(30))
def test_measures_agree_with_scikit_learn_and_monai(seed: int) -> None:
    truth, prediction = random_labels(seed)
    confusion = confusion_of(truth, prediction)
    flat = truth.ravel(), prediction.ravel()
    assert np.array_equal(confusion, metrics.confusion_matrix(*flat, labels=range(5)))
    for number in range(5):
        overlap = Overlap.of_class(confusion, number)
        real, found = truth == number, prediction == number
        one = real.ravel(), found.ravel()
        assert overlap.accuracy == pytest.approx(metrics.accuracy_score(*one), abs=1e-12)
        assert overlap.dice == dice(prediction, truth, number)
        tensors = torch.tensor(found)[None, None], torch.tensor(real)[None, None]
        if real.any() or found.any():
            assert overlap.dice == pytest.approx(metrics.f1_score(*one), abs=1e-12)
            assert overlap.iou == pytest.approx(metrics.jaccard_score(*one), abs=1e-12)
            monai_dice = compute_dice(*tensors, ignore_empty=False)
            assert overlap.dice == pytest.approx(monai_dice.item(), abs=1e-6)
            monai_iou = compute_iou(*tensors, ignore_empty=False)
            assert overlap.iou == pytest.approx(monai_iou.item(), abs=1e-6)
        if found.any():
            expected = metrics.precision_score(*one)
            assert overlap.precision == pytest.approx(expected, abs=1e-12)
        if real.any():
            assert overlap.recall == pytest.approx(metrics.recall_score(*one), abs=1e-12)


def test_what_would_divide_by_zero_is_none() -> None:
    absent = Overlap(both=0, prediction_only=0, truth_only=0, neither=8)
    assert (absent.dice, absent.iou, absent.precision, absent.recall) == (None,) * 4
    assert absent.accuracy == 1.0
    missed = Overlap(both=0, prediction_only=0, truth_only=3, neither=5)
    assert (missed.dice, missed.iou, missed.precision, missed.recall) == (0, 0, None, 0)
    invented = Overlap(both=0, prediction_only=3, truth_only=0, neither=5)
    assert (invented.dice, invented.iou, invented.precision, invented.recall) == (0, 0, 0, None)
    assert Overlap(both=0, prediction_only=0, truth_only=0, neither=0).accuracy is None


def test_the_confusion_leaves_unknown_voxels_out_and_other_values_are_background() -> None:
    truth = np.array([[[7, 7, 9, 0, 255]]], np.uint8)
    prediction = np.array([[[3, 0, 3, 4, 3]]], np.uint8)
    confusion = confusion_matrix(joint_counts(truth, prediction), {7: 1}, {3: 1}, 2, 255)
    assert confusion.tolist() == [[1, 1], [1, 1]]


def test_an_unlabelled_organ_is_background_on_both_sides() -> None:
    confusion = np.array([[10, 2, 3], [4, 5, 6], [0, 0, 0]])  # nothing is labelled as class 2
    merged = merge_into_background(confusion, [2])
    assert merged.tolist() == [[13, 2, 0], [10, 5, 0], [0, 0, 0]]
    assert np.array_equal(merge_into_background(confusion, []), confusion)
