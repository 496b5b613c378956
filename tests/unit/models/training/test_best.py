"""The best epoch, and patience."""

from __future__ import annotations

import torch

from models.training.best import Best
from models.training.plan import EarlyStop


def judge(best: Best, *scores: float, newest: bool = False) -> None:
    for epoch, score in enumerate(scores, start=1):
        best.judge(score, epoch, lambda s=score: {"w": torch.tensor(s)}, newest)  # type: ignore[misc]


def test_the_highest_score_is_kept_and_the_first_of_equals() -> None:
    best = Best()
    judge(best, 0.2, 0.7, 0.7, 0.6)
    assert (best.score, best.epoch) == (0.7, 2)
    assert best.weights == {"w": torch.tensor(0.7)}


def test_the_newest_is_kept_where_it_counts() -> None:
    best = Best()
    judge(best, 0.7, 0.2, newest=True)
    assert (best.score, best.epoch) == (0.2, 2)


def test_patience_ends_after_epochs_without_enough_gain() -> None:
    rule = EarlyStop(patience_epochs=2, minimum_gain=0.05)
    best = Best()
    ends = [
        best.patience_ends(score, epoch, rule)
        for epoch, score in enumerate([0.1, 0.2, 0.24, 0.26, 0.3, 0.31], start=1)
    ]
    assert ends == [False, False, False, False, False, True]
    assert not best.patience_ends(0.0, 99, None)


def test_a_new_stage_waits_anew() -> None:
    rule = EarlyStop(patience_epochs=1)
    best = Best(score=0.9, epoch=3, mark=0.9, mark_epoch=3)
    best.start_stage(5, comparable=True)
    assert not best.patience_ends(0.1, 6, rule)
    assert best.score == 0.9
    best.start_stage(7, comparable=False)
    assert best.score is None
