"""What the measures of many cases come to, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.measures import MEASURES, Evaluation

#: Share of the resamples within a bootstrap interval.
INTERVAL = 0.95


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of the cases in which a measure is defined; all None where it is in none.

    Parameters
    ----------
    standard_deviation
        Of the cases (n - 1); None for one case.
    low, high
        95 % bootstrap interval of the mean; None where fewer than two patients have a value.
    count
        Cases; smaller than another measure's where a measure is not always defined: `hd95_mm` has
        no value for an organ that was missed, so read it beside `dice`, which has.
    """

    mean: float | None
    standard_deviation: float | None
    median: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, kw_only=True)
class EvaluationSummary:
    """By measure, in the order of `MEASURES`.

    Parameters
    ----------
    organs
        Of each organ.
    mean_of_organs
        Of the organs' means: each organ weighs the same, however many cases have it. `count` is
        of organs. An interval needs two patients with each of them.
    pixel_accuracy
        Of the cases.
    """

    organs: Mapping[str, Mapping[str, Summary]]
    mean_of_organs: Mapping[str, Summary]
    pixel_accuracy: Summary


def summarise(evaluation: Evaluation, *, resamples: int = 2000, seed: int = 0) -> EvaluationSummary:
    """Summarise an evaluation, with percentile bootstrap intervals (Efron and Tibshirani 1993).

    Patients are drawn, each with all of its cases: cases of one patient are alike, and drawing
    them one by one would feign certainty. All organs and measures share the draws. A draw in
    which nobody has an organ counts neither for it nor for the mean of the organs.
    """
    weights = _draw_patients(evaluation, resamples, seed)
    organs: dict[str, dict[str, Summary]] = {name: {} for name in evaluation.organs}
    mean_of_organs = {}
    for measure in MEASURES:
        values = _values(evaluation, measure)
        drawn = _drawn_means(evaluation, weights, values)
        means = _nan_mean(values, 0)
        for column, name in enumerate(evaluation.organs):
            organs[name][measure] = _summary(values[:, column], drawn[:, column])
        # the mean of fewer organs would be of something else
        mean_of_organs[measure] = _summary(means, _mean_of_all(drawn[:, ~np.isnan(means)]))
    accuracy = np.array([[_number(case.pixel_accuracy)] for case in evaluation.cases]).reshape(
        -1, 1
    )
    return EvaluationSummary(
        organs=organs,
        mean_of_organs=mean_of_organs,
        pixel_accuracy=_summary(accuracy[:, 0], _drawn_means(evaluation, weights, accuracy)[:, 0]),
    )


def _draw_patients(evaluation: Evaluation, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each case is in each draw of as many patients as there are: `(R, cases)`."""
    patients = [case.patient for case in evaluation.cases]
    names, index = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        return np.zeros((0, len(patients)))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return drawn[:, index].astype(np.float64)


def _drawn_means(
    evaluation: Evaluation, weights: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means of `values` `(cases, n)` in each draw, `(R, n)`; NaN where one patient has them all."""
    drawn = _means(weights, values)
    patients = np.array([case.patient for case in evaluation.cases])
    for column, defined in enumerate(~np.isnan(values).T):
        if len(np.unique(patients[defined])) < 2:
            drawn[:, column] = np.nan
    return drawn


def _mean_of_all(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the columns of `(R, n)`, NaN where one of them is."""
    return drawn.mean(axis=1) if drawn.shape[1] else np.zeros(0)


def _values(evaluation: Evaluation, measure: str) -> NDArray[np.float64]:
    """`(cases, organs)`, NaN where the measure is not defined."""
    rows = [
        [_number(getattr(case.organs[name], measure)) for name in evaluation.organs]
        for case in evaluation.cases
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(evaluation.organs))


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _means(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means of the values that are defined: `(R, cases)` x `(cases, n)` to `(R, n)`."""
    defined = ~np.isnan(values)
    return _quotient(weights @ np.where(defined, values, 0), weights @ defined)


def _nan_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    defined = ~np.isnan(values)
    return _quotient(np.where(defined, values, 0).sum(axis), defined.sum(axis))


def _quotient(sums: NDArray[np.float64], counts: NDArray[Any]) -> NDArray[np.float64]:
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _summary(values: NDArray[np.float64], drawn: NDArray[np.float64]) -> Summary:
    """Summarise values `(n,)` and the means of the draws `(R,)`, both with NaN for undefined."""
    values, drawn = values[~np.isnan(values)], drawn[~np.isnan(drawn)]
    if len(values) == 0:
        return Summary(
            mean=None, standard_deviation=None, median=None, low=None, high=None, count=0
        )
    edges = (0.5 - INTERVAL / 2, 0.5 + INTERVAL / 2)
    low, high = np.quantile(drawn, edges).tolist() if len(drawn) else (None, None)
    return Summary(
        mean=float(values.mean()),
        standard_deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
        median=float(np.median(values)),
        low=low,
        high=high,
        count=len(values),
    )
