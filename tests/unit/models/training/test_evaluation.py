"""Scores of cases that are labelled in part, and the table of them."""

from __future__ import annotations

import numpy as np
import pytest

from models.bundle import Bundle
from models.segmenter import Segmenter
from models.training.cases import UNKNOWN, Case
from models.training.evaluation import CaseResult, evaluate, markdown_table


def labelled(segmenter: Segmenter, unlabelled: frozenset[int]) -> Case:
    """A case whose truth is what the network finds, in part."""
    hu = np.random.default_rng(0).integers(-150, 250, (20, 40, 44), np.int16)
    case = Case(
        name="case",
        patient="case",
        hu=hu,
        labels=np.zeros(hu.shape, np.uint8),
        spacing_mm=(5.0, 2.5, 2.2),
        unlabelled=unlabelled,
    )
    found = segmenter.segment(case.volume).labels
    numbers = segmenter.bundle.label_numbers
    classes = np.argsort(numbers)[np.searchsorted(np.sort(numbers), found)].astype(np.uint8)
    case.labels[:] = classes
    return case


def test_a_network_that_agrees_scores_one_for_each_organ_that_there_is(tiny_bundle: Bundle) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")
    case = labelled(segmenter, frozenset())
    present = {name for name, n in tiny_bundle.class_of.items() if (case.labels == n).any()}
    assert present
    (result,) = evaluate(segmenter, [case])
    assert result.name == "case"
    assert result.dice == {name: 1.0 if name in present else None for name in tiny_bundle.class_of}


def test_an_unlabelled_organ_has_no_score(tiny_bundle: Bundle) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")
    case = labelled(segmenter, frozenset({1, 2, 3}))
    (result,) = evaluate(segmenter, [case])
    assert result.dice == {"liver": None, "kidney_left": None, "kidney_right": None}


def test_unknown_voxels_do_not_count(tiny_bundle: Bundle) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")
    case = labelled(segmenter, frozenset())
    number = int(np.bincount(case.labels[case.labels > 0]).argmax())
    name = next(name for name, n in tiny_bundle.class_of.items() if n == number)
    half = (case.labels == number) & (
        np.arange(case.labels.size).reshape(case.labels.shape) % 2 > 0
    )
    case.labels[half] = UNKNOWN
    (result,) = evaluate(segmenter, [case])
    assert result.dice[name] == 1.0
    case.labels[half] = 0  # known to be background: half of what was found is wrong
    (result,) = evaluate(segmenter, [case])
    right = int((case.labels == number).sum())
    assert result.dice[name] == pytest.approx(2 * right / (2 * right + int(half.sum())))


def test_the_table_has_a_row_a_case_and_the_means_of_what_is_known(tiny_bundle: Bundle) -> None:
    results = [
        CaseResult(name="a", dice={"liver": 0.9, "kidney_left": None, "kidney_right": 1.0}),
        CaseResult(name="b", dice={"liver": 0.8, "kidney_left": None, "kidney_right": None}),
    ]
    assert markdown_table(results, tiny_bundle).splitlines() == [
        "| case | Liver | Left kidney | Right kidney |",
        "|---|---|---|---|",
        "| a | 0.900 | - | 1.000 |",
        "| b | 0.800 | - | - |",
        "| **mean** | 0.850 | - | 1.000 |",
    ]
