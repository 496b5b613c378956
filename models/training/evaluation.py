"""Measure a network on labelled cases through the very path that clinical input takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.bundle import Bundle
from models.metrics.overlap import dice
from models.segmenter import Segmenter
from models.training.cases import UNKNOWN, Case


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """Dice of each organ in one case; None where the case does not label it or lacks it."""

    name: str
    dice: Mapping[str, float | None]


def evaluate(segmenter: Segmenter, cases: Iterable[Case]) -> list[CaseResult]:
    """Segment each case on its own grid and compare it with its labels."""
    return [CaseResult(name=case.name, dice=_dice_of(segmenter, case)) for case in cases]


def _dice_of(segmenter: Segmenter, case: Case) -> dict[str, float | None]:
    bundle = segmenter.bundle
    labels = segmenter.segment(case.volume).labels
    scores: dict[str, float | None] = {}
    for segment in bundle.segments:
        number = bundle.class_of[segment.name]
        unlabelled = number in case.unlabelled
        scores[segment.name] = (
            None if unlabelled else dice(labels, case.labels, segment.number, number, UNKNOWN)
        )
    return scores


def markdown_table(results: Sequence[CaseResult], bundle: Bundle) -> str:
    """A table of one row a case and one column an organ, with the means below."""
    names = [segment.name for segment in bundle.segments]
    rows = [[result.name, *(_cell(result.dice[name]) for name in names)] for result in results]
    means: list[str] = []
    for name in names:
        known = [score for r in results if (score := r.dice[name]) is not None]
        means.append(f"{np.mean(known):.3f}" if known else "-")
    lines = [
        "| case | " + " | ".join(segment.label for segment in bundle.segments) + " |",
        "|---" * (len(names) + 1) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "| **mean** | " + " | ".join(means) + " |",
    ]
    return "\n".join(lines)


def _cell(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
