from __future__ import annotations

import pytest
import torch

from models.errors import BundleError
from models.intensity import Window
from models.interchange.grey_values import GreyValues

HU = torch.tensor([-1024.0, -200.0, -57.0, 0.0, 60.0, 164.0, 400.0, 3000.0])


def test_a_chain_of_maps_and_clips_is_one_window() -> None:
    chain = GreyValues().clipped(-900.0, 270.0).mapped(1 / 140, -80 / 140).clipped(high=1.0)
    window = Window.from_json(chain.as_json())
    expected = ((HU.clamp(-900, 270) - 80) / 140).clamp(max=1.0)
    torch.testing.assert_close(window.apply(HU), expected, atol=1e-5, rtol=0)


def test_without_a_clip_every_hu_keeps_its_value() -> None:
    window = Window.from_json(GreyValues().mapped(0.001, 0.5).as_json())
    torch.testing.assert_close(window.apply(HU), HU * 0.001 + 0.5, atol=1e-5, rtol=0)


def test_window_and_range_come_back_as_they_were_written() -> None:
    slope = 1 / 221
    chain = GreyValues().mapped(slope, 57 * slope).clipped(0.0, 1.0)
    assert chain.as_json() == {"low_hu": -57.0, "high_hu": 164.0, "range": [0.0, 1.0]}


def test_falling_grey_values_are_refused() -> None:
    with pytest.raises(BundleError, match=r"rise with HU, found a slope of -1"):
        GreyValues().mapped(-1.0, 0.0)


def test_a_clip_that_leaves_one_value_is_refused() -> None:
    with pytest.raises(BundleError, match="expected grey values that differ"):
        GreyValues().clipped(5000.0, 5000.0)
