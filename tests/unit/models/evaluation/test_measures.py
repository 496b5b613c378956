"""The JSON file of an evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from models.evaluation.measures import MEASURES, RocCurve, write_json
from tests.unit.models.evaluation.examples import case_of, evaluation_of


def test_the_file_has_every_number_of_an_evaluation_in_full(tmp_path: Path) -> None:
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
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["model"], found["version"]) == ("tiny", "0.0.1")
    assert found["sha256"] == evaluation.sha256
    assert (found["note"], found["learnt_cases"]) == ("2 networks", ["b"])
    assert (found["nsd_tolerance_mm"], found["organ_tolerances_mm"]) == (2.0, {"liver": 3.0})
    assert found["organs"][1] == {"name": "kidney_left", "label": "Left kidney", "rgb": [1, 2, 1]}
    first, second = found["cases"]
    assert (second["name"], second["patient"]) == ("b", "größe")
    assert first["organs"] == {name: asdict(organ) for name, organ in cases[0].organs.items()}
    assert first["organs"]["liver"]["dice"] == 0.1 + 0.2
    assert first["organs"]["kidney_left"]["dice"] is None
    assert first["pixel_accuracy"] == cases[0].pixel_accuracy
    assert first["confusion"] == np.arange(16).reshape(4, 4).tolist()
    assert found["roc"] == {
        "liver": {
            "false_positive_rate": [0, 1 / 3, 1],
            "true_positive_rate": [0, 0.7, 1],
            "auc": 0.1 + 0.2,
        }
    }
    assert np.array_equal(evaluation.confusion, 2 * cases[0].confusion)


def test_a_number_that_json_does_not_have_is_not_written(tmp_path: Path) -> None:
    evaluation = evaluation_of([case_of("a", "x", (float("nan"), 0.2, 0.3))])
    with pytest.raises(ValueError, match="JSON"):
        write_json(evaluation, tmp_path / "evaluation.json")
    assert list(tmp_path.iterdir()) == []


def test_measures_are_all_named_once() -> None:
    assert len(set(MEASURES)) == len(MEASURES) == 12
