"""ROC counts against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from models.metrics.roc import STEPS, RocCounter, quantise


def random_scores(seed: int, kind: str, count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32 of 0 to 1 and whether each is a voxel of the organ."""
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.2
    if kind == "uniform":
        scores = np.where(positive, rng.random(count) ** 0.5, rng.random(count))
    elif kind == "ties":
        scores = np.round(np.where(positive, rng.beta(3, 2, count), rng.beta(2, 3, count)), 1)
    else:  # sure of nearly all voxels, as networks are
        logits = rng.normal(0, 5, count) + np.where(positive, 3, -6)
        scores = 1 / (1 + np.exp(-logits))
    return scores.astype(np.float32), positive


def counted(scores: np.ndarray, positive: np.ndarray, parts: int = 7) -> RocCounter:
    counter = RocCounter()
    for some, truth in zip(
        np.array_split(scores, parts), np.array_split(positive, parts), strict=True
    ):
        counter.add(some, truth)
    return counter


@pytest.mark.parametrize("kind", ["uniform", "ties", "sure"])
@pytest.mark.parametrize("seed", range(8))
def test_the_area_agrees_with_scikit_learn(kind: str, seed: int) -> None:
    scores, positive = random_scores(seed, kind)
    auc = counted(scores, positive).auc
    assert auc == pytest.approx(roc_auc_score(positive, quantise(scores)), abs=1e-12)
    assert auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-6)


def test_the_curve_agrees_with_scikit_learn_at_each_of_its_points() -> None:
    scores, positive = random_scores(0, "sure")
    curve = counted(scores, positive).curve(200)
    assert curve is not None
    false_rate, true_rate = curve
    assert 100 < len(false_rate) <= 200
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_rate) >= 0).all()
    assert (np.diff(true_rate) >= 0).all()
    steps = quantise(scores)
    expected = set(zip(*roc_curve(positive, steps, drop_intermediate=False)[:2], strict=True))
    assert set(zip(false_rate, true_rate, strict=True)) <= expected


def test_few_scores_give_their_few_points() -> None:
    counter = RocCounter()
    counter.add(np.array([0.1, 0.4, 0.4, 0.9], np.float32), np.array([False, True, False, True]))
    curve = counter.curve()
    assert curve is not None
    assert curve[0].tolist() == [0, 0, 0.5, 1]
    assert curve[1].tolist() == [0, 0.5, 1, 1]
    assert counter.auc == 0.875


def test_one_kind_of_voxel_has_no_curve() -> None:
    for truth in (True, False):
        counter = RocCounter()
        counter.add(np.array([0.2, 0.7], np.float32), np.full(2, truth))
        assert counter.auc is None
        assert counter.curve() is None
    assert RocCounter().auc is None


def test_merged_counters_are_one_that_saw_all() -> None:
    scores, positive = random_scores(1, "uniform", 5000)
    first, second = counted(scores[:1000], positive[:1000]), counted(scores[1000:], positive[1000:])
    first.merge(second)
    assert first.auc == counted(scores, positive).auc


def test_steps_never_fall_and_stay_within_their_number() -> None:
    rng = np.random.default_rng(0)
    logits = np.sort(rng.normal(0, 9, 100_000))
    scores = np.concatenate([[0], 1 / (1 + np.exp(-logits)), [1]]).astype(np.float32)
    steps = quantise(scores)
    assert (np.diff(steps) >= 0).all()
    assert (steps[0], steps[-1]) == (0, STEPS - 1)
    # rounding of a network's interpolated scores
    beyond = quantise(np.array([-1e-7, -0.0, 1 + 1e-6], np.float32))
    assert beyond.tolist() == [0, 0, STEPS - 1]


def test_scores_a_thousandth_apart_differ_near_both_ends() -> None:
    for score in (1e-6, 1e-3, 0.3, 0.5, 0.7, 0.999):
        lacking = min(score, 1 - score)
        pair = np.array([score, score + lacking / 1000], np.float32)
        low, high = quantise(pair)
        assert low < high
