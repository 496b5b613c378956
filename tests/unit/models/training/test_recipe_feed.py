"""The four kinds of samples that a recipe may ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import Bundle
from models.bundle_folders import SHIPPED, find_bundle
from models.errors import TrainingError
from models.training.data_access import DataAccess
from models.training.feed import Feed
from models.training.recipe import Recipe
from models.training.recipe_data import RecipeData, read_data
from models.training.recipe_feed import feed_of
from models.variants import make_variant, variants_of
from tests.small_recipes import RECIPE, SHAPE, of_slices, with_recipe, write_pairs

PATIENTS = {"kind": "patients", "size": [16, 16, 16], "per_epoch": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), "one", "two")


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Any:
    def make_feed(bundle: Bundle, samples: dict[str, Any], **changes: Any) -> Feed:
        recipe = Recipe.read(with_recipe(bundle, {**RECIPE, "samples": samples, **changes}))
        return feed_of(recipe, read_data(recipe, DataAccess(root=folder, cache=tmp_path / "c")))

    return make_feed


@pytest.mark.parametrize(
    ("samples", "length", "shape"),
    [
        ({"kind": "patches", "size": [8, 16, 12], "per_case": 3}, 6, (8, 16, 12)),
        ({"kind": "patches", "size": [8, 8, 8], "balance": "voxel"}, 8, (8, 8, 8)),
        ({"kind": "volumes"}, 2, SHAPE),
        ({**PATIENTS, "synthetic_share": 0.0}, 7, (16, 16, 16)),
    ],
)
def test_each_kind_gives_its_number_and_size_of_samples(
    samples: dict[str, Any],
    length: int,
    shape: tuple[int, ...],
    make: Any,
    tiny_bundle: Bundle,
) -> None:
    feed = make(tiny_bundle, samples)
    assert (len(feed), feed.cases) == (length, ("one", "two"))
    sample = feed.draw(0, length - 1)
    assert sample.image.shape == (1, *shape)
    assert sample.labels.shape == shape
    torch.testing.assert_close(feed.draw(0, length - 1).image, sample.image, rtol=0, atol=0)


def test_slices_are_grey_and_the_networks_size(make: Any, tiny_bundle: Bundle) -> None:
    """Slices 4 to 17 of 20 show an organ; of the other 6 of each case a half is shown."""
    bundle = of_slices(tiny_bundle)
    assert len(make(bundle, {"kind": "slices"})) == 40
    feed = make(bundle, {"kind": "slices", "unlabelled_share": 0.5})
    assert len(feed) == 2 * (10 + 5)  # the organ that the network does not know is none
    assert feed.draw(0, 0).image.shape == (1, 32, 32)
    assert feed.draw(0, 0).labels.shape == (32, 32)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ({}, "samples: expected a kind of patches, volumes, slices, patients, found None"),
        ({"kind": "cubes"}, "found 'cubes'"),
        ({"kind": "patches"}, "samples of kind patches: expected size, found none"),
        ({"kind": "patients", "size": [8, 8, 8]}, "kind patients: expected per_epoch, found none"),
        (
            {"kind": "volumes", "size": [8, 8, 8]},
            "samples of kind volumes: unknown key 'size'; known are none",
        ),
        ({"kind": "patches", "size": [8, 8, 8], "per_cases": 2}, "did you mean per_case"),
        ({"kind": "patches", "size": [8, 8, 8], "seed": 2}, "unknown key 'seed'"),
        ({"kind": "patches", "size": [8, 8]}, r"samples\.size: expected \[D, H, W\] in voxels"),
        ({"kind": "patches", "size": 8}, r"samples\.size: expected \[D, H, W\] in voxels"),
        ({"kind": "patches", "size": [8, 8, 0]}, r"samples\.size: expected \[D, H, W\]"),
        (
            {"kind": "patches", "size": [8, 8, 8], "per_case": 1.5},
            r"samples\.per_case: expected a whole number, found 1\.5",
        ),
        (
            {"kind": "patches", "size": [8, 8, 8], "foreground_probability": "often"},
            r"samples\.foreground_probability: expected a number, found 'often'",
        ),
        (
            {"kind": "patches", "size": [8, 8, 8], "foreground_probability": 2},
            "a probability of 0 to 1",
        ),
        ({"kind": "patches", "size": [8, 8, 8], "balance": ["organ"]}, "balance to be organ or"),
        ({"kind": "slices", "unlabelled_share": -1}, "unlabelled_share of 0 to 1"),
        ({**PATIENTS, "synthetic_share": 2}, "synthetic_share from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(
    samples: dict[str, Any], told: str, make: Any, tiny_bundle: Bundle
) -> None:
    with pytest.raises(TrainingError, match=told):
        make(tiny_bundle, samples)


def test_a_transformer_takes_patches_of_its_own_size_alone() -> None:
    recipe = Recipe.read(find_bundle("unetr_btcv"), changes=[{"samples": {"size": [64, 96, 96]}}])
    data = RecipeData(training=())
    with pytest.raises(TrainingError, match=r"expected \[96, 96, 96\], the network's img_size"):
        feed_of(recipe, data)


def test_patches_of_patients_need_one_spacing(make: Any, tiny_bundle: Bundle) -> None:
    with pytest.raises(TrainingError, match="expected one spacing for all axes"):
        make(of_slices(tiny_bundle), PATIENTS)


@pytest.mark.parametrize("samples", [PATIENTS, {"kind": "volumes"}])
def test_a_misspelt_augmentation_is_told(
    samples: dict[str, Any], make: Any, tiny_bundle: Bundle
) -> None:
    with pytest.raises(TrainingError, match="rotation_degree"):
        make(tiny_bundle, samples, augmentation={"rotation_degree": 5})


def stating(bundle: Bundle, *shape: object) -> Bundle:
    """The bundle with the size that its network takes."""
    stated = {"inputs": {"image": {"spatial_shape": shape}}}
    return replace(bundle, metadata={**bundle.metadata, "network_data_format": stated})


def test_a_sample_size_that_the_network_cannot_halve_is_refused(
    make: Any, tiny_bundle: Bundle
) -> None:
    halved = stating(tiny_bundle, "16*n", "16*n", "16*n")
    assert len(make(halved, {"kind": "patches", "size": [16, 48, 32]})) == 8
    told = r"samples\.size: expected 16\*n x 16\*n x 16\*n voxels.*found \[20, 40, 40\]"
    with pytest.raises(TrainingError, match=told):
        make(halved, {"kind": "patches", "size": [20, 40, 40]})
    with pytest.raises(TrainingError, match=r"samples\.size: .*found \[16, 16, 24\]"):
        make(halved, {**PATIENTS, "size": [16, 16, 24]})
    # windows of 32 voxels a side
    with pytest.raises(TrainingError, match=r"sliding_window\.size: .*found \[32, 32, 32\]"):
        make(stating(tiny_bundle, 32, 32, 64), {"kind": "patches", "size": [32, 32, 64]})
    with pytest.raises(TrainingError, match=r"samples\.size: expected 32 x 32 x 32"):
        make(stating(tiny_bundle, "32", "32", "32"), {"kind": "patches", "size": [32, 32, 64]})
    other = stating(tiny_bundle, "2**p*n", "*", "16*n")
    assert len(make(other, {"kind": "patches", "size": [20, 20, 16]})) == 8


def test_slices_are_of_the_size_that_the_network_takes(make: Any, tiny_bundle: Bundle) -> None:
    bundle = of_slices(tiny_bundle)
    assert len(make(stating(bundle, "32*n", "32*n"), {"kind": "slices"})) == 40
    with pytest.raises(TrainingError, match=r"expected 32\*n x 64\*n voxels.*\[1, 32, 32\]"):
        make(stating(bundle, "32*n", "64*n"), {"kind": "slices"})


def test_every_shipped_recipe_and_variant_takes_samples_that_its_network_takes(
    tmp_path: Path,
) -> None:
    """They come as far as the data, of which there are none here."""
    none = RecipeData(training=())
    for folder in sorted(SHIPPED.iterdir()):
        own = find_bundle(folder.name)
        variants = [make_variant(own, [v], tmp_path / own.name / v) for v in variants_of(folder)]
        for bundle in (own, *variants):
            with pytest.raises(TrainingError, match="at least one case"):
                feed_of(Recipe.read(bundle), none)
