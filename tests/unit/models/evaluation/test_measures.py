"""The JSON file of an evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import TrainingError
from models.evaluation.measures import MEASURES, RocCurve, read_json, to_json, write_json
from tests.unit.models.evaluation.examples import case_of, evaluation_of


def test_an_evaluation_comes_back_from_its_file_unchanged(tmp_path: Path) -> None:
    curve = RocCurve(
        false_positive_rate=np.array([0, 1 / 3, 1]),
        true_positive_rate=np.array([0, 0.7, 1]),
        auc=0.1 + 0.2,
    )
    cases = [
        case_of("a", "x", (0.1 + 0.2, None, 1.0), hd95_mm=2.5, volume_ml=10.0),
        case_of("b", "größe", (1 / 3, 0.5, None)),
    ]
    evaluation = replace(
        evaluation_of(cases, {"liver": curve}), note="2 networks", learnt_cases=("b",)
    )
    path = tmp_path / "evaluation.json"
    write_json(evaluation, path)
    back = read_json(path)
    assert to_json(back) == to_json(evaluation)
    assert back.organs == evaluation.organs
    assert (back.note, back.learnt_cases) == ("2 networks", ("b",))
    assert back.rgb == evaluation.rgb
    assert back.cases[0].organs == evaluation.cases[0].organs
    assert back.cases[1].confusion.dtype == np.int64
    assert np.array_equal(back.cases[1].confusion, evaluation.cases[1].confusion)
    assert np.array_equal(back.roc["liver"].false_positive_rate, curve.false_positive_rate)
    assert back.roc["liver"].auc == curve.auc
    assert np.array_equal(back.confusion, 2 * evaluation.cases[0].confusion)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": "x"}', "null"])
def test_a_file_that_is_no_evaluation_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"expected an evaluation in .*other\.json"):
        read_json(path)
    with pytest.raises(TrainingError, match=r"absent\.json"):
        read_json(tmp_path / "absent.json")


def test_a_strange_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    content = to_json(evaluation_of([case_of("a", "x", (0.1, 0.2, 0.3))]))
    content["cases"][0]["organs"]["liver"]["beauty"] = 1.0
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TrainingError, match="beauty"):
        read_json(path)


def test_measures_are_all_named_once() -> None:
    assert len(set(MEASURES)) == len(MEASURES) == 12
