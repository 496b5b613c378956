"""The samples of a recipe: patches, whole volumes, slices, or the starter models' patches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.bundle import Bundle
from models.data.cache import CachedCases
from models.errors import TrainingError
from models.training.augmentation import Augmentation
from models.training.cases import Case
from models.training.feed import Feed
from models.training.native import native_hu_of
from models.training.patches import GridPatches, WholeVolumes
from models.training.patient_patches import PatientPatches
from models.training.recipe import Recipe, configuration_errors, refuse_unknown
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
    make, needed, optional = _KINDS[kind]
    refuse_unknown(samples, [*needed, *optional], f"samples of kind {kind}")
    missing = sorted(needed - samples.keys())
    if missing:
        raise TrainingError(f"samples of kind {kind}: expected {', '.join(missing)}, found none")
    settings: dict[str, Any] = {name: _READERS[name](value) for name, value in samples.items()}
    only = recipe.bundle.network_definition.get("img_size")
    if only is not None and "size" in settings and settings["size"] != tuple(only):
        raise TrainingError(
            f"samples.size: expected {list(only)}, the network's img_size, "
            f"found {list(samples['size'])}"
        )
    _check_size(recipe.bundle, "sliding_window.size", recipe.bundle.sliding_window.size)
    if "size" in settings:
        _check_size(recipe.bundle, "samples.size", settings["size"])
    elif recipe.bundle.preprocessing.grid.shape is not None:
        _check_size(recipe.bundle, "preprocessing.shape", recipe.bundle.preprocessing.grid.shape)
    return make(recipe, data, **settings)


def _check_size(bundle: Bundle, where: str, size: Sequence[int | None]) -> None:
    """Make sure that the network takes images of `size`, as far as its metadata says so."""
    inputs = bundle.metadata.get("network_data_format", {}).get("inputs", {})
    rules = [str(rule) for rule in inputs.get("image", {}).get("spatial_shape", ())]
    # from the last axis: a network of slices has two
    if not all(_fits(rule, n) for rule, n in zip(reversed(rules), reversed(size), strict=False)):
        raise TrainingError(
            f"{where}: expected {' x '.join(rules)} voxels, as the network takes them, "
            f"found {list(size)}"
        )


def _fits(rule: str, length: int | None) -> bool:
    """Whether an axis fits `96` or `16*n`; MONAI has other expressions, which are not judged."""
    found = re.fullmatch(r"([1-9]\d*)(\*n)?", rule)
    if found is None or length is None:
        return True
    stated = int(found.group(1))
    return length % stated == 0 if found.group(2) else length == stated


def _size(value: object) -> tuple[int, ...]:
    if (
        not isinstance(value, Sequence)
        or len(value) != 3
        or not all(type(n) is int and n > 0 for n in value)
    ):
        raise TrainingError(f"samples.size: expected [D, H, W] in voxels, found {value!r}")
    return tuple(value)


def _number(name: str, kind: type[int] | type[float]) -> Callable[[object], float]:
    def read(value: object) -> float:
        if type(value) is not int and (kind is int or type(value) is not float):
            wanted = "a whole number" if kind is int else "a number"
            raise TrainingError(f"samples.{name}: expected {wanted}, found {value!r}")
        return value

    return read


def _variation(recipe: Recipe) -> Variation:
    return augmentation_from_json(
        recipe.part("augmentation"), recipe.bundle.dimensions, recipe.bundle.class_of
    )


def _names(cases: Sequence[Case]) -> Sequence[str] | None:
    """Names without reading the cases, where that would take long."""
    return cases.names if isinstance(cases, CachedCases) else None


def _patches(
    recipe: Recipe, data: RecipeData, *, size: tuple[int, int, int], **settings: Any
) -> Feed:
    return GridPatches(
        data.training,
        size,
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
    size: tuple[int, int, int],
    per_epoch: int,
    synthetic_share: float = 0.15,
) -> Feed:
    grid = recipe.bundle.preprocessing.grid.spacing_mm
    if grid is None or len(set(grid)) != 1:
        raise TrainingError(f"samples: expected one spacing for all axes, found {grid}")
    native_hu = native_hu_of(recipe.bundle.class_of)
    with configuration_errors():
        augmentation = Augmentation(**recipe.part("augmentation"), native_hu=native_hu)
    return PatientPatches(
        real=data.training,
        synthetic=data.synthetic,
        patches_per_epoch=per_epoch,
        shape=size,
        spacing_mm=grid[0],
        window=recipe.bundle.preprocessing.window,
        augmentation=augmentation,
        synthetic_share=synthetic_share,
        seed=recipe.seed,
    )


#: How each kind is made, and the settings that it needs and may have.
_KINDS: Mapping[str, tuple[Callable[..., Feed], frozenset[str], Sequence[str]]] = {
    "patches": (
        _patches,
        frozenset(("size",)),
        ("per_case", "foreground_probability", "balance"),
    ),
    "volumes": (_volumes, frozenset(), ()),
    "slices": (_slices, frozenset(), ("unlabelled_share",)),
    "patients": (_patients, frozenset(("size", "per_epoch")), ("synthetic_share",)),
}
_READERS: Mapping[str, Callable[[object], object]] = {
    "size": _size,
    "balance": lambda value: value,  # a choice, which its feed checks
    **{name: _number(name, int) for name in ("per_case", "per_epoch")},
    **{
        name: _number(name, float)
        for name in ("foreground_probability", "unlabelled_share", "synthetic_share")
    },
}
