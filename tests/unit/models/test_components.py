"""Keeping an organ's largest piece."""

from __future__ import annotations

import torch
from torch import Tensor

from models.components import keep_largest


def scores_of(winner: Tensor, runner_up: int = 0) -> Tensor:
    """Scores `(3, 1, 1, W)` in which `winner` has 0.6 and `runner_up` the rest."""
    scores = torch.zeros(3, *winner.shape)
    scores[runner_up] = 0.4
    return scores.scatter_(0, winner[None], 0.6)


def test_only_the_largest_piece_stays_and_the_next_best_class_takes_the_rest() -> None:
    winner = torch.tensor([[[1, 1, 0, 1, 1, 1, 0, 1]]])
    kept = keep_largest(scores_of(winner, runner_up=2), [1])
    assert kept.argmax(dim=0).tolist() == [[[2, 2, 0, 1, 1, 1, 0, 2]]]


def test_a_runner_up_that_would_be_stray_as_well_gives_way_to_background() -> None:
    """Class 1 loses a piece to class 2, which has a larger piece elsewhere."""
    winner = torch.tensor([[[1, 1, 0, 2, 2, 2, 0, 1]]])
    scores = scores_of(winner)
    scores[:, 0, 0, 7] = torch.tensor([0.1, 0.6, 0.3])
    kept = keep_largest(scores, [1, 2])
    assert kept.argmax(dim=0).tolist() == [[[1, 1, 0, 2, 2, 2, 0, 0]]]


def test_classes_that_are_not_named_keep_all_their_pieces() -> None:
    winner = torch.tensor([[[2, 0, 2, 2, 1, 0, 1, 1]]])
    kept = keep_largest(scores_of(winner), [1])
    assert kept.argmax(dim=0).tolist() == [[[2, 0, 2, 2, 0, 0, 1, 1]]]


def test_one_piece_and_no_piece_stay_as_they_are() -> None:
    before = scores_of(torch.tensor([[[0, 1, 1, 0]]]))
    torch.testing.assert_close(keep_largest(before.clone(), [1, 2]), before)


def test_pieces_join_over_faces_and_not_over_corners() -> None:
    winner = torch.zeros(2, 2, 3, dtype=torch.int64)
    winner[0, 0, 0] = winner[1, 0, 0] = 1  # share a face
    winner[0, 1, 1] = 1  # touches by an edge alone
    kept = keep_largest(scores_of(winner), [1]).argmax(dim=0)
    assert kept.nonzero().tolist() == [[0, 0, 0], [1, 0, 0]]
