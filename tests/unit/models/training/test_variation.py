"""A recipe's augmentation: read with clear errors, applied to any range of greys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.errors import TrainingError
from models.intensity import AIR_HU, Window
from models.training.cases import Case
from models.training.greys import BrightnessContrast, Gamma, Noise, ScaleIntensity, ShiftIntensity
from models.training.hounsfield import CoarseDropout
from models.training.variation import Variation, augmentation_from_json, draw_sample
from tests.bodies import CLASSES, body

WINDOW = Window(low_hu=-175, high_hu=250)
UNETR = {
    "flip": {"axes": ["z", "y", "x"], "probability": 0.1},
    "rotate90": {"probability": 0.1},
    "shift_intensity": {"offset": 0.1, "probability": 0.5},
}
RSNA = {
    "flip": {"axes": ["y", "x"], "probability": 0.5},
    "warp": {"probability": 0.5, "rotation_degrees": 45, "scale": 0, "elastic_mm": 0},
    "grid_distortion": {"probability": 0.5, "steps": 5, "limit": 0.3},
    "coarse_dropout": {"probability": 0.5, "holes": 8, "size": 0.0625},
    "brightness_contrast": {"probability": 0.5, "brightness": 0.2, "contrast": 0.2},
}
STARTER = {
    "warp": {},
    "native": {"probability": 0.3},
    "organ_shift": {},
    "thick_slices": {},
    "crop_scan": {},
    "blur": {},
    "noise_hu": {},
    "gamma": {},
    "scale_intensity": {},
    "noise": {},
}


def unit(hu: torch.Tensor) -> torch.Tensor:
    return (WINDOW.apply(hu) + 1) / 2


@pytest.mark.parametrize(("recipe", "dimensions"), [(UNETR, 3), (RSNA, 2), (STARTER, 3)])
def test_recipes_give_samples_that_the_seed_alone_decides(
    recipe: dict[str, Any], dimensions: int
) -> None:
    variation = augmentation_from_json(recipe, dimensions, CLASSES)
    depth = 28 if dimensions == 3 else 1
    draws = []
    for seed in (*range(8), 0):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        draws.append(draw_sample(body(), (0, 0, 0), (depth, 28, 28), rng, variation, unit))
    for drawn in draws:
        assert (drawn.image.shape, drawn.image.dtype) == ((1, depth, 28, 28), torch.float32)
        assert (drawn.labels.shape, drawn.labels.dtype) == ((depth, 28, 28), torch.int64)
        assert torch.isfinite(drawn.image).all()
    assert torch.equal(draws[0].image, draws[-1].image)
    assert torch.equal(draws[0].labels, draws[-1].labels)
    assert not all(torch.equal(draws[0].image, drawn.image) for drawn in draws[1:8])


def test_without_augmentation_a_sample_is_the_case_itself() -> None:
    drawn = draw_sample(
        body(), (0, 0, 0), (28, 28, 28), np.random.default_rng(0), Variation(), unit
    )
    assert torch.equal(drawn.image[0], unit(torch.from_numpy(body().hu)))
    assert np.array_equal(drawn.labels.numpy(), body().labels)
    assert augmentation_from_json({}, 3, CLASSES) == Variation()


@pytest.mark.parametrize(
    ("recipe", "dimensions", "message"),
    [
        ({"flips": {}}, 3, "expected names among warp, flip, .* found flips"),
        ({"coarse_dropout": {}}, 3, "for 3 dimensions, found coarse_dropout"),
        ({"thick_slices": {}}, 2, "for 2 dimensions, found thick_slices"),
        ({"gamma": {"strength": 1}}, 3, "gamma: expected settings among .* found strength"),
        ({"gamma": 0.3}, 3, "gamma: expected an object of settings, found 0.3"),
        ({"gamma": {"probability": 1.5}}, 3, "expected 0 to 1 for Gamma.probability, found 1.5"),
        ({"noise": {"sigma": -1}}, 3, "expected 0 or more for Noise.sigma, found -1"),
        ({"noise": {"sigma": "much"}}, 3, "expected a number for Noise.sigma, found 'much'"),
        ({"noise": {"sigma": float("nan")}}, 3, "expected 0 or more for Noise.sigma"),
        ({"coarse_dropout": {"holes": 0}}, 2, "expected at least one hole"),
        ({"coarse_dropout": {"holes": 2.5}}, 2, "expected a whole number for CoarseDropout.holes"),
        ({"warp": {"dimensions": 3}}, 2, "warp: expected settings among"),
        ({"flip": {"sides": []}}, 3, "flip: expected settings among"),
        ({}, 4, "expected 2 or 3 dimensions, found 4"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_expected(
    recipe: dict[str, Any], dimensions: int, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        augmentation_from_json(recipe, dimensions, CLASSES)


def flat(hu: int) -> Case:
    return Case(
        name="flat",
        patient="flat",
        hu=np.full((1, 64, 64), hu, np.int16),
        labels=np.ones((1, 64, 64), np.uint8),
        spacing_mm=(1.0, 1.0, 1.0),
        unlabelled=frozenset(),
    )


def greys(step: Any, hu: int, seed: int, signed: bool) -> torch.Tensor:
    """A flat slice after one step, counted from 0 to 1, by a network of either range."""
    variation = Variation(greys=(step,))
    scale = WINDOW.apply if signed else unit
    rng = np.random.default_rng(seed)
    image = draw_sample(flat(hu), (0, 0, 0), (1, 64, 64), rng, variation, scale).image
    return (image + 1) / 2 if signed else image


@pytest.mark.parametrize(
    "step",
    [
        ShiftIntensity(probability=1.0),
        ScaleIntensity(probability=1.0),
        BrightnessContrast(probability=1.0),
        Gamma(probability=1.0),
        Noise(probability=1.0),
    ],
    ids=lambda step: type(step).__name__,
)
def test_greys_vary_alike_whatever_the_networks_range(step: Any) -> None:
    for seed in range(5):
        one, other = (greys(step, 100, seed, signed) for signed in (True, False))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    means = [float(greys(step, 100, seed, True).mean()) for seed in range(20)]
    assert np.std(means) > (1e-4 if isinstance(step, Noise) else 0.01)


def test_the_shift_of_unetrs_recipe_is_at_most_a_tenth_of_the_range() -> None:
    base = (100 + 175) / 425
    shifts = [
        float(greys(ShiftIntensity(probability=1.0), 100, seed, True).mean()) - base
        for seed in range(60)
    ]
    assert max(map(abs, shifts)) <= 0.1 + 1e-6
    assert min(shifts) < -0.08
    assert max(shifts) > 0.08


def test_holes_are_black_and_their_labels_stay() -> None:
    step = CoarseDropout(probability=1.0, holes=3, size=0.25)
    hu, labels = torch.full((1, 64, 64), 100.0), torch.ones((1, 64, 64), dtype=torch.uint8)
    for seed in range(10):
        holed, kept = step.apply(hu, labels, np.random.default_rng(seed), (1.0, 1.0, 1.0))
        hole = holed == AIR_HU
        assert 8 * 8 <= hole.sum() <= 3 * 16 * 16
        assert (holed[~hole] == 100).all()
        assert (kept == 1).all()
    assert (hu == 100).all()  # what was given is left alone
