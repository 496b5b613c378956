"""The samples of a recipe: patches, whole volumes, slices, or the starter models' patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.data.cache import CachedCases
from models.errors import TrainingError
from models.training.augmentation import Augmentation
from models.training.cases import Case
from models.training.feed import Feed
from models.training.native import native_hu_of
from models.training.patches import GridPatches, WholeVolumes
from models.training.patient_patches import PatientPatches
from models.training.recipe import Recipe, configuration_errors
from models.training.recipe_data import RecipeData
from models.training.slices import Slices2D
from models.training.variation import Variation, augmentation_from_json


def feed_of(recipe: Recipe, data: RecipeData) -> Feed:
    """Make the feed that `samples` asks for.

    Raises
    ------
    TrainingError
        If the samples are of no known kind, or a setting of theirs is wrong.
    """
    samples = dict(recipe.part("samples"))
    kind = samples.pop("kind", None)
    if kind not in _KINDS:
        raise TrainingError(f"samples: expected a kind of {', '.join(_KINDS)}, found {kind!r}")
    with configuration_errors():
        return _KINDS[kind](recipe, data, **samples)


def _variation(recipe: Recipe) -> Variation:
    return augmentation_from_json(
        recipe.part("augmentation"), recipe.bundle.dimensions, recipe.bundle.class_of
    )


def _names(cases: Sequence[Case]) -> Sequence[str] | None:
    """Names without reading the cases, where that would take long."""
    return cases.names if isinstance(cases, CachedCases) else None


def _patches(recipe: Recipe, data: RecipeData, *, size: Sequence[int], **settings: Any) -> Feed:
    depth, height, width = size
    return GridPatches(
        data.training,
        (depth, height, width),
        scale=recipe.bundle.preprocessing.window.apply,
        seed=recipe.seed,
        variation=_variation(recipe),
        names=_names(data.training),
        **settings,
    )


def _volumes(recipe: Recipe, data: RecipeData) -> Feed:
    return WholeVolumes(
        data.training,
        scale=recipe.bundle.preprocessing.window.apply,
        seed=recipe.seed,
        variation=_variation(recipe),
        names=_names(data.training),
    )


def _slices(recipe: Recipe, data: RecipeData, **settings: Any) -> Feed:
    return Slices2D(
        data.training,
        scale=recipe.bundle.preprocessing.window.apply,
        seed=recipe.seed,
        variation=_variation(recipe),
        **settings,
    )


def _patients(
    recipe: Recipe,
    data: RecipeData,
    *,
    size: Sequence[int],
    per_epoch: int,
    synthetic_share: float = 0.15,
) -> Feed:
    grid = recipe.bundle.preprocessing.grid.spacing_mm
    if grid is None or len(set(grid)) != 1:
        raise TrainingError(f"samples: expected one spacing for all axes, found {grid}")
    depth, height, width = size
    return PatientPatches(
        real=data.training,
        synthetic=data.synthetic,
        patches_per_epoch=per_epoch,
        shape=(depth, height, width),
        spacing_mm=grid[0],
        window=recipe.bundle.preprocessing.window,
        augmentation=Augmentation(
            **recipe.part("augmentation"), native_hu=native_hu_of(recipe.bundle.class_of)
        ),
        synthetic_share=synthetic_share,
        seed=recipe.seed,
    )


_KINDS: dict[str, Callable[..., Feed]] = {
    "patches": _patches,
    "volumes": _volumes,
    "slices": _slices,
    "patients": _patients,
}
