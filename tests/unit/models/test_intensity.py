"""HU to network input."""

from __future__ import annotations

import math

import pytest
import torch

from models.errors import BundleError
from models.intensity import AIR_HU, Window


def test_the_window_maps_to_minus_one_to_one_and_clips() -> None:
    hu = torch.tensor([-3024, AIR_HU, -200, -75, 50, 300, 3071], dtype=torch.int16)
    scaled = Window(low_hu=-200, high_hu=300).apply(hu)
    assert scaled.dtype == torch.float32
    assert scaled.tolist() == [-1.0, -1.0, -1.0, -0.5, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(("low", "high"), [(300, -200), (10, 10), (math.nan, 10), (0, math.nan)])
def test_a_window_without_width_is_refused(low: float, high: float) -> None:
    with pytest.raises(BundleError, match="low_hu < high_hu"):
        Window(low_hu=low, high_hu=high)
