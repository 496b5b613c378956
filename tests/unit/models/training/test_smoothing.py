"""Smoothing against SciPy, and noise of the right strength."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from models.training.smoothing import correlated_noise, gaussian


@pytest.mark.parametrize("shape", [(9, 10, 11), (1, 12, 5), (1, 1, 1)])
def test_smoothing_agrees_with_an_independent_one(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    # SciPy takes taps up to truncate * sigma
    expected = ndimage.gaussian_filter(values, 0.9, mode="nearest", truncate=2 / 0.9)
    found = gaussian(torch.from_numpy(values), 0.9).numpy()
    assert np.abs(found - expected).max() < 1e-12


def test_correlated_noise_has_a_standard_deviation_of_one() -> None:
    noise = correlated_noise(torch.Size((40, 40, 40)), 1)
    assert float(noise[2:-2, 2:-2, 2:-2].std()) == pytest.approx(1, abs=0.02)
    neighbours = noise[..., 1:] * noise[..., :-1]
    assert 0.2 < float(neighbours.mean()) < 0.8
    assert torch.equal(noise, correlated_noise(torch.Size((40, 40, 40)), 1))
