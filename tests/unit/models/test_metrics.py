"""Dice by hand."""

from __future__ import annotations

import numpy as np

from models.metrics import dice

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
