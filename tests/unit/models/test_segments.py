"""Entries of a label list."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import BundleError
from models.segments import Code, Segment

ENTRY: dict[str, Any] = {
    "number": 3,
    "name": "kidney_left",
    "label": "Left kidney",
    "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
    "type": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"},
    "modifier": {"value": "7771000", "scheme": "SCT", "meaning": "Left"},
    "rgb": [212, 126, 151],
}


def test_an_entry_is_read_with_its_codes() -> None:
    segment = Segment.from_json(ENTRY)
    assert (segment.number, segment.name, segment.rgb) == (3, "kidney_left", (212, 126, 151))
    assert segment.type == Code(value="64033007", scheme="SCT", meaning="Kidney")
    assert segment.modifier == Code(value="7771000", scheme="SCT", meaning="Left")


def test_an_organ_of_which_there_is_one_has_no_side() -> None:
    assert Segment.from_json({**ENTRY, "modifier": None}).modifier is None
    without = {key: value for key, value in ENTRY.items() if key != "modifier"}
    assert Segment.from_json(without).modifier is None


@pytest.mark.parametrize("key", ["number", "name", "label", "category", "type", "rgb"])
def test_an_entry_without_what_it_needs_is_refused(key: str) -> None:
    with pytest.raises(BundleError, match=key):
        Segment.from_json({k: v for k, v in ENTRY.items() if k != key})


@pytest.mark.parametrize(
    "change",
    [
        {"number": 0},
        {"number": 255},  # kept for unknown voxels in training
        {"number": "three"},
        {"label": ""},
        {"label": "x" * 65},  # LO holds 64 characters
        {"rgb": [1, 2]},
        {"rgb": [1, 2, 256]},
        {"rgb": [-1, 2, 3]},
        {"type": {"value": "64033007", "scheme": "SCT"}},
        {"type": None},
        {"modifier": "Left"},
    ],
    ids=str,
)
def test_a_malformed_entry_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Segment.from_json({**ENTRY, **change})
