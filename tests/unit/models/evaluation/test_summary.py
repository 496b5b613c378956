"""Means and bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from models.evaluation.summary import summarise
from tests.unit.models.evaluation.examples import case_of, evaluation_of


def test_a_summary_is_of_the_cases_in_which_the_measure_is_defined() -> None:
    cases = [
        case_of("a", "x", (0.9, None, 0.5)),
        case_of("b", "y", (0.7, None, None)),
        case_of("c", "z", (0.5, None, None)),
    ]
    summary = summarise(evaluation_of(cases))
    liver = summary.organs["liver"]["dice"]
    assert liver.mean == pytest.approx(0.7)
    assert liver.median == 0.7
    assert liver.standard_deviation == pytest.approx(0.2)
    assert liver.count == 3
    nobody = summary.organs["kidney_left"]["dice"]
    assert (nobody.mean, nobody.median, nobody.low, nobody.count) == (None, None, None, 0)
    one = summary.organs["kidney_right"]["dice"]
    assert (one.mean, one.standard_deviation, one.low, one.high, one.count) == (
        0.5, None, None, None, 1,
    )  # fmt: skip
    mean = summary.mean_of_organs["dice"]
    assert mean.mean == pytest.approx((0.7 + 0.5) / 2)
    assert mean.count == 2
    assert summary.pixel_accuracy.mean == pytest.approx(0.5 + 0.4 * 0.7)
    assert summary.pixel_accuracy.count == 3
    assert summary.organs["liver"]["hd95_mm"].count == 0


def test_the_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    scores = np.random.default_rng(5).beta(8, 2, 40)
    cases = [case_of(f"{n}", f"{n}", (float(s), 0.5, None)) for n, s in enumerate(scores)]
    summary = summarise(evaluation_of(cases), resamples=20_000)
    liver = summary.organs["liver"]["dice"]
    peer = bootstrap(
        (scores,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert liver.low == pytest.approx(peer.low, abs=1e-3)
    assert liver.high == pytest.approx(peer.high, abs=1e-3)
    mean = summary.mean_of_organs["dice"]
    assert mean.low == pytest.approx((peer.low + 0.5) / 2, abs=1e-3)


def test_all_cases_of_a_patient_are_drawn_together() -> None:
    alone = [case_of(f"{n}", f"{n}", (0.2 * n, None, None)) for n in range(5)]
    copies = [
        case_of(f"{n}-{m}", f"{n}", (0.2 * n, None, None)) for n in range(5) for m in range(9)
    ]
    once = summarise(evaluation_of(alone)).organs["liver"]["dice"]
    often = summarise(evaluation_of(copies)).organs["liver"]["dice"]
    assert (often.low, often.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert often.count == 45
    strangers = [case_of(c.name, c.name, (c.organs["liver"].dice, None, None)) for c in copies]
    narrow = summarise(evaluation_of(strangers)).organs["liver"]["dice"]
    assert once.low is not None
    assert narrow.low is not None
    assert narrow.low > once.low + 0.1


def test_an_organ_of_one_patient_has_no_interval_and_leaves_the_mean_none() -> None:
    cases = [case_of(f"{n}", f"{n}", (0.8 + 0.02 * n, None, None)) for n in range(6)]
    cases += [case_of(f"{n}", "5", (0.9, 0.6 + 0.02 * n, None)) for n in range(3)]
    summary = summarise(evaluation_of(cases))
    rare = summary.organs["kidney_left"]["dice"]
    assert (rare.mean, rare.low, rare.high) == (pytest.approx(0.62), None, None)
    assert summary.organs["liver"]["dice"].low is not None
    mean = summary.mean_of_organs["dice"]
    assert (mean.count, mean.low, mean.high) == (2, None, None)


def test_the_mean_of_organs_is_drawn_with_all_of_them() -> None:
    cases = [case_of(f"{n}", f"{n}", (0.94, None, None)) for n in range(6)]
    cases += [case_of(f"{n}", f"{n}", (0.94, 0.6, None)) for n in (6, 7)]
    mean = summarise(evaluation_of(cases)).mean_of_organs["dice"]
    assert (mean.mean, mean.low, mean.high) == (pytest.approx(0.77),) * 3


def test_a_seed_decides_the_interval() -> None:
    cases = [case_of(f"{n}", f"{n}", (n / 7, None, None)) for n in range(7)]
    evaluation = evaluation_of(cases)
    assert summarise(evaluation) == summarise(evaluation)
    other = summarise(evaluation, seed=1).organs["liver"]["dice"]
    assert other != summarise(evaluation).organs["liver"]["dice"]


def test_one_patient_has_no_interval_and_no_case_no_mean() -> None:
    one = summarise(evaluation_of([case_of("a", "x", (0.9, 0.8, None))])).organs["liver"]["dice"]
    assert (one.mean, one.low, one.high) == (0.9, None, None)
    none = summarise(evaluation_of([]))
    assert none.organs["liver"]["dice"].mean is None
    assert none.mean_of_organs["dice"].count == 0
    assert none.pixel_accuracy.count == 0
