"""Plans: what is read from JSON, and what is refused with a hint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import TrainingError
from models.training.plan import (
    Distillation,
    EarlyStop,
    LossWeights,
    Optimiser,
    Schedule,
    Stage,
    TrainingPlan,
)
from models.training.plan_json import plan_from_json, plan_to_json

#: The recipe of the MobileNetV3 U-Net, with keys that others read.
RECIPE: dict[str, Any] = {
    "seed": 4,
    "workers": 3,
    "batch": 32,
    "accumulate": 16,
    "epochs": 30,
    "loss": {"dice": 0.5, "focal": 0.5},
    "optimiser": {"name": "AdamW", "learning_rate": 1e-3, "weight_decay": 1e-4},
    "schedule": {"name": "cosine"},
    "amp": "auto",
    "early_stop": {"patience_epochs": 5},
    "augmentation": {"anything": 1},
    "pseudo_labels": {"anything": 1},
    "distillation": {"teacher": "abdomen_vnet_3mm"},
    "stages": [
        {"name": "train"},
        {
            "name": "finetune",
            "optimiser": {"learning_rate": 5e-5},
            "steps": 70,
            "batch": 64,
            "early_stop": None,
            "distillation": {"teacher": "./other", "weight": 0.2, "where": "unlabelled"},
        },
    ],
}


def test_stages_share_the_top_level_and_override_it() -> None:
    plan = plan_from_json(RECIPE)
    assert (plan.seed, plan.workers) == (4, 3)
    first, second = plan.stages
    assert first == Stage(
        name="train",
        epochs=30,
        batch=32,
        accumulate=16,
        loss=LossWeights(dice=0.5, focal=0.5),
        optimiser=Optimiser(name="AdamW", learning_rate=1e-3, weight_decay=1e-4),
        schedule=Schedule(name="cosine"),
        amp="auto",
        early_stop=EarlyStop(patience_epochs=5),
        distillation=Distillation(teacher="abdomen_vnet_3mm", weight=0.4, where="everywhere"),
    )
    assert first.group == 512
    assert (second.epochs, second.steps, second.group) == (None, 70, 1024)
    assert second.optimiser == Optimiser(name="AdamW", learning_rate=5e-5, weight_decay=1e-4)
    assert second.early_stop is None
    assert second.loss == first.loss
    assert second.distillation == Distillation(teacher="./other", weight=0.2, where="unlabelled")
    assert plan.teachers == ["abdomen_vnet_3mm", "./other"]


def test_a_plan_without_stages_has_one() -> None:
    assert plan_from_json({"minutes": 1.5}) == TrainingPlan(stages=(Stage(minutes=1.5),))


def test_a_plan_comes_back_from_its_json() -> None:
    plan = plan_from_json(RECIPE)
    assert plan_from_json(json.loads(json.dumps(plan_to_json(plan)))) == plan


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"epoch": 3}, "unknown key 'epoch' in the training plan; did you mean 'epochs'"),
        ({"learning_rate": 1e-3}, "did you mean optimiser.learning_rate"),
        ({"optimiser": {"lr": 1e-3}}, "unknown key 'stages.0..optimiser.lr'.*known are"),
        ({"schedule": {"name": "cosin"}}, r"schedule.name: expected one of constant.*'cosin'"),
        ({"early_stop": {"patience": 3}}, "did you mean 'patience_epochs'"),
        ({"batch": "2"}, r"stages\[0\].batch: expected a whole number, found '2'"),
        ({"batch": 2.5}, "batch: expected a whole number"),
        ({"batch": True}, "batch: expected a whole number"),
        ({"batch": float("inf")}, "batch: expected a whole number, found inf"),
        ({"batch": 0}, "expected batch of 1 or more, found 0"),
        ({"optimiser": {"learning_rate": 0}}, r"optimiser: expected a learning rate over 0"),
        ({"optimiser": {"learning_rate": float("nan")}}, "expected a number, found nan"),
        ({"optimiser": "Adam"}, "optimiser: expected an object, found 'Adam'"),
        ({"loss": {"dice": -1}}, "weights of the loss"),
        ({"loss": {}}, "weights of the loss"),
        ({"loss": {"dce": 1}}, "did you mean 'dice'"),
        ({"epochs": None}, "exactly one of epochs, steps and minutes"),
        ({"steps": 4}, "exactly one of epochs, steps and minutes"),
        ({"schedule": {"name": "cosine", "warmup": 0.1}}, "no warm-up in the schedule 'cosine'"),
        (
            {"schedule": {"name": "warmup_cosine", "warmup": 0.1, "warmup_epochs": 1}},
            "warmup or warmup_epochs",
        ),
        (
            {
                "epochs": None,
                "minutes": 2,
                "schedule": {"name": "warmup_cosine", "warmup_epochs": 1},
            },
            "warmup as a share",
        ),
        ({"stages": []}, "stages of different names"),
        ({"stages": [{"name": "a"}, {"name": "a"}]}, "stages of different names"),
        ({"stages": {"name": "a"}}, "stages: expected a list"),
        ({"stages": [3]}, r"stages\[0\]: expected an object, found 3"),
        ({"stages": [{"seed": 3}]}, r"unknown key 'stages\[0\].seed'"),
        ({"seed": -1}, "a seed from 0 up"),
        ({"amp": "half"}, "amp: expected one of off, bf16, fp16, auto"),
        ({"gradient_clip": 0}, "a gradient_clip over 0"),
        ({"ema_decay": 1}, "ema_decay from 0 to below 1"),
        ({"distillation": {"weight": 0.4}}, r"distillation: expected a value of teacher"),
        ({"distillation": {"teacher": " "}}, "the name or folder of a teacher"),
        ({"distillation": {"teacher": "a", "weight": 1.2}}, "distillation from 0 to 1, found 1.2"),
        ({"distillation": {"teacher": "a", "where": "here"}}, "one of everywhere, unlabelled"),
        ({"teacher": "a"}, "did you mean distillation.teacher"),
    ],
)
def test_what_is_wrong_is_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        plan_from_json({"epochs": 2, **wrong})


def test_nan_is_no_whole_number() -> None:
    with pytest.raises(TrainingError, match=r"batch: expected a whole number, found nan"):
        plan_from_json({"epochs": 2, "batch": float("nan")})


def test_a_length_that_no_stage_would_follow_is_refused() -> None:
    stages = [{"name": "train", "epochs": 30}, {"name": "finetune", "steps": 70}]
    told = "epochs: every stage has a length of its own.*stages.0.epochs.*--epochs"
    with pytest.raises(TrainingError, match=told):
        plan_from_json({"epochs": 3, "stages": stages})
    with pytest.raises(TrainingError, match=r"minutes: .*stages\.0\.minutes"):
        plan_from_json({"minutes": 3, "stages": stages})
    assert len(plan_from_json({"epochs": None, "stages": stages}).stages) == 2
