"""How a recipe's samples vary: the `augmentation` of its training configuration.

The order is fixed, whatever the order in the file: what moves voxels (one interpolation in all),
flips and quarter turns, HU, greys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import TrainingError
from models.training.cases import Case
from models.training.feed import Sample
from models.training.flips import AXES, Flip, QuarterTurns, Sides
from models.training.greys import (
    BrightnessContrast,
    Gamma,
    GreyStep,
    Noise,
    ScaleIntensity,
    ShiftIntensity,
)
from models.training.hounsfield import (
    Blur,
    CoarseDropout,
    ContrastPhase,
    CropScan,
    HounsfieldStep,
    NoiseHu,
    OrganShift,
    ThickSlices,
)
from models.training.native import Native, native_hu_of
from models.training.settings import from_settings
from models.training.warps import GridDistortion, Size, Warp, crop, nodes_mm, sample

#: HU `(...)` to the network's input of the same shape.
Scale = Callable[[Tensor], Tensor]

#: In the order in which they are applied.
HOUNSFIELD: Mapping[str, type[Any]] = {
    "thick_slices": ThickSlices,
    "crop_scan": CropScan,
    "blur": Blur,
    "noise_hu": NoiseHu,
    "coarse_dropout": CoarseDropout,
}
GREYS: Mapping[str, type[Any]] = {
    "scale_intensity": ScaleIntensity,
    "shift_intensity": ShiftIntensity,
    "brightness_contrast": BrightnessContrast,
    "gamma": Gamma,
    "noise": Noise,
}
#: What is only for volumes, and only for slices.
VOLUMES_ALONE = ("thick_slices", "crop_scan")
SLICES_ALONE = ("coarse_dropout", "grid_distortion")
NAMES = ("warp", "grid_distortion", "flip", "rotate90", "native", "organ_shift") + (
    *HOUNSFIELD,
    *GREYS,
)


@dataclass(frozen=True, kw_only=True)
class Variation:
    """All that varies a sample; nothing by default."""

    warp: Warp | None = None
    distortion: GridDistortion | None = None
    flip: Flip | None = None
    turns: QuarterTurns | None = None
    hounsfield: tuple[HounsfieldStep, ...] = ()
    greys: tuple[GreyStep, ...] = ()


def augmentation_from_json(
    settings: Mapping[str, Any], dimensions: int, class_of: Mapping[str, int]
) -> Variation:
    """Read the `augmentation` of a recipe.

    Parameters
    ----------
    settings
        An object of settings by name: `warp`, `flip`, `rotate90`, `native`, `organ_shift`, `blur`,
        `noise_hu`, `scale_intensity`, `shift_intensity`, `brightness_contrast`, `gamma`, `noise`;
        for volumes `thick_slices` and `crop_scan`; for slices `grid_distortion` and
        `coarse_dropout`. The settings of each are the fields of its class.
    dimensions
        3 for volumes, 2 for slices.
    class_of
        Network class of each organ: decides which labels a mirror exchanges.

    Raises
    ------
    TrainingError
        If a name or setting is unknown, a number out of its range, or paired organs forbid a flip.
    """
    if dimensions not in (2, 3):
        raise TrainingError(f"expected 2 or 3 dimensions, found {dimensions}")
    refused = SLICES_ALONE if dimensions == 3 else VOLUMES_ALONE
    known = [name for name in NAMES if name not in refused]
    strangers = sorted(set(settings) - set(known))
    if strangers:
        raise TrainingError(
            f"augmentation: expected names among {', '.join(known)} for {dimensions} dimensions, "
            f"found {', '.join(strangers)}"
        )

    def read(kind: type[Any], name: str, **given: Any) -> Any:
        return from_settings(kind, name, settings[name], **given) if name in settings else None

    steps = {name: read(kind, name) for name, kind in HOUNSFIELD.items()}
    phase = _phase(settings, class_of)
    in_order = (steps.pop("thick_slices"), phase, *steps.values())
    return Variation(
        warp=read(Warp, "warp", dimensions=dimensions),
        distortion=read(GridDistortion, "grid_distortion"),
        flip=_flip(settings, dimensions, Sides.of(class_of)),
        turns=read(QuarterTurns, "rotate90"),
        hounsfield=tuple(step for step in in_order if step is not None),
        greys=tuple(read(kind, name) for name, kind in GREYS.items() if name in settings),
    )


def _flip(settings: Mapping[str, Any], dimensions: int, sides: Sides) -> Flip | None:
    if "flip" not in settings:
        return None
    axes = AXES if dimensions == 3 else AXES[1:]
    wanted = settings["flip"]
    if isinstance(wanted, Mapping):
        wanted = {"axes": axes, **wanted}
    flip = from_settings(Flip, "flip", wanted, sides=sides)
    if not set(flip.axes) <= set(axes):
        raise TrainingError(f"flip: expected axes among {axes} for slices, found {flip.axes}")
    return flip


def _phase(settings: Mapping[str, Any], class_of: Mapping[str, int]) -> ContrastPhase | None:
    if not {"native", "organ_shift"} & set(settings):
        return None
    never = {"probability": 0.0}
    return ContrastPhase(
        native=from_settings(
            Native, "native", settings.get("native", never), native_hu=native_hu_of(class_of)
        ),
        shift=from_settings(OrganShift, "organ_shift", settings.get("organ_shift", never)),
    )


def draw_sample(
    case: Case,
    start: Size,
    shape: Size,
    rng: np.random.Generator,
    variation: Variation,
    scale: Scale,
) -> Sample:
    """Cut or sample `shape` voxels of a grid case from `start` on, and vary them.

    Returns
    -------
    Image `(1, D, H, W)` and labels `(D, H, W)`; outside the case lie air and background.
    """
    nodes = _moved(case, start, shape, rng, variation)
    if nodes is None:
        hu, labels = crop(case.hu, case.labels, start, shape)
    else:
        hu, labels = sample(case.hu, case.labels, nodes, shape)
    unlabelled = case.unlabelled
    if variation.flip is not None:
        hu, labels, unlabelled = variation.flip.apply(hu, labels, unlabelled, rng)
    if variation.turns is not None:
        hu, labels = variation.turns.apply(hu, labels, rng)
    for step in variation.hounsfield:
        hu, labels = step.apply(hu, labels, rng, case.spacing_mm)
    image = _vary_greys(scale(hu), rng, variation, scale)
    return Sample(image=image[None].contiguous(), labels=labels.long(), unlabelled=unlabelled)


def _moved(
    case: Case, start: Size, shape: Size, rng: np.random.Generator, variation: Variation
) -> Tensor | None:
    """Where a sample's voxels come from, in voxels of the case; None where nothing moves."""
    steps = [
        step
        for step in (variation.distortion, variation.warp)
        if step is not None and rng.random() < step.probability
    ]
    if not steps:
        return None
    points_mm = nodes_mm(shape, case.spacing_mm)
    for step in steps:
        points_mm = step.apply(points_mm, rng)
    centre = torch.tensor([s + (n - 1) / 2 for s, n in zip(start, shape, strict=True)])
    return centre + points_mm / torch.tensor(case.spacing_mm, dtype=torch.float32)


def _vary_greys(
    image: Tensor, rng: np.random.Generator, variation: Variation, scale: Scale
) -> Tensor:
    """Apply steps that count from 0 to 1 to an input of any range."""
    if not variation.greys:
        return image
    low, high = (float(end) for end in scale(torch.tensor([-32768.0, 32767.0])))
    greys = (image - low) / (high - low)
    for step in variation.greys:
        greys = step.apply(greys, rng)
    return greys * (high - low) + low
