from __future__ import annotations

import math

import pytest

from app.evaluation.axes import Axis, round_axis


def _texts(axis: Axis) -> list[str]:
    return [tick.text for tick in axis.ticks]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.3, 1.83], ["0.0", "0.5", "1.0", "1.5", "2.0"]),
        ([40], ["0", "10", "20", "30", "40"]),
        ([1, 2, 3], ["0", "1", "2", "3"]),
        ([-0.4, 0.9], ["-0.5", "0.0", "0.5", "1.0"]),
        ([2e-4, 1e-3], ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1e-3"]),
        ([], ["0", "1"]),
        ([0.0], ["0", "1"]),
    ],
)
def test_ticks_are_round_and_hold_all_values(values: list[float], expected: list[str]) -> None:
    assert _texts(round_axis(values)) == expected


def test_places_are_per_cent_of_the_way() -> None:
    axis = Axis(low=0.5, high=1.0, step=0.1)

    assert axis.place(0.5) == 0
    assert axis.place(0.85) == 70
    assert [tick.place for tick in axis.ticks] == [0, 20, 40, 60, 80, 100]


def test_what_was_not_measured_does_not_stretch_an_axis() -> None:
    assert round_axis([math.nan, math.inf, 4.0]) == round_axis([4.0])
