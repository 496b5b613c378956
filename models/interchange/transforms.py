"""What a MONAI preprocessing does to an image, as settings of ours.

Differences that remain, since our own resampling is used: going to a coarser grid ours takes a
weighted mean where MONAI's `Spacingd` takes the value at the point; samples are centred on the
volume where MONAI starts at the first voxel, so both grids may be apart by up to half a sample;
grey values are clipped after resampling whatever the order in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.errors import BundleError
from models.interchange.axes import check_directions, in_canonical_order
from models.interchange.grey_values import GreyValues
from models.interchange.references import References

#: Transforms that leave a CT's voxels as they are, or do what our own reading does anyway.
_NO_CHANGE = frozenset(
    {
        "LoadImaged",
        "EnsureChannelFirstd",
        "AddChanneld",
        "AsChannelFirstd",
        "EnsureTyped",
        "CastToTyped",
        "ToTensord",
        "ToDeviced",
        "SpatialPadd",  # the sliding window pads
        "DivisiblePadd",
        "CopyItemsd",
        "SelectItemsd",
        "DeleteItemsd",
        "Identityd",
    }
)
#: MONAI's own letters: the negative and the positive end of each axis.
_LETTERS = [["L", "R"], ["P", "A"], ["I", "S"]]
#: Kinds of interpolation that ours stands for.
_SMOOTH = frozenset({"bilinear", "trilinear", "area", "bicubic", "1", "3"})


@dataclass(kw_only=True)
class Translation:
    """What the steps so far have come to."""

    axcodes: str | None = None
    spacing_mm: list[float] | None = None
    shape: list[int | None] | None = None
    crop: bool = False
    grey_values: GreyValues = field(default_factory=GreyValues)

    def as_json(self) -> dict[str, Any]:
        """As our own `preprocessing` has it."""
        if self.spacing_mm is not None:
            grid: dict[str, Any] = {"spacing_mm": self.spacing_mm, "crop": self.crop}
        else:
            grid = {"shape": self.shape or [None] * 3, "crop": False}
        return {**grid, **self.grey_values.as_json()}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One transform as written."""

    name: str
    key: str
    written: Mapping[str, Any]
    references: References

    def get(self, argument: str, default: Any = None) -> Any:
        """An argument's value."""
        if argument not in self.written:
            return default
        return self.references.value(self.written[argument], f"{self.key}::{argument}")

    def number(self, argument: str) -> float:
        value = self.get(argument)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(argument, "a number", value)
        return float(value)

    def triple(self, argument: str, keep: int | None = None) -> list[Any]:
        """Three positive numbers, or `keep` among them."""
        value = self.get(argument)
        if isinstance(value, (int, float)):
            value = [value] * 3
        if not isinstance(value, Sequence) or len(value) != 3:
            raise self.error(argument, "three numbers", value)
        if not all(isinstance(n, (int, float)) and (n > 0 or n == keep) for n in value):
            raise self.error(argument, "three positive numbers", value)
        return list(value)

    def error(self, argument: str, expected: str, found: Any) -> BundleError:
        return BundleError(
            f"{self.references.name}: {self.key}: {self.name}: {argument}: expected {expected}, "
            f"found {found!r}"
        )


def steps_of(written: Any, key: str, references: References) -> list[Step]:
    """The transforms of a `Compose` that are not switched off; raises BundleError."""
    compose = references.value(written, key) if isinstance(written, str) else written
    if isinstance(compose, Mapping):
        compose = compose.get("transforms")
        key = f"{key}::transforms"
    if isinstance(compose, str):
        compose = references.value(compose, key)
    if not isinstance(compose, list) or not all(isinstance(each, Mapping) for each in compose):
        raise BundleError(
            f"{references.name}: {key}: expected a list of transforms, found "
            f"{type(compose).__name__}"
        )
    steps = [
        Step(name=_plain_name(each), key=f"{key}::{n}", written=each, references=references)
        for n, each in enumerate(compose)
    ]
    return [step for step in steps if not step.get("_disabled_", False)]


def translate(steps: Sequence[Step]) -> Translation:
    """Translate a preprocessing.

    Raises
    ------
    BundleError
        If a transform changes the image in a way that our settings cannot say, or the axes are
        never turned to known directions.
    """
    result = Translation()
    image = next((_keys(step)[0] for step in steps if _keys(step)), None)
    for step in steps:
        keys = _keys(step)
        if step.name in _NO_CHANGE or (keys and image not in keys):
            continue
        handle = _HANDLERS.get(step.name)
        if handle is None:
            raise BundleError(
                f"{step.references.name}: {step.key}: expected one of "
                f"{', '.join(sorted(_HANDLERS))}, found {step.name}, which changes the image"
            )
        handle(step, result)
    if result.axcodes is None:
        where = f"{steps[0].references.name}: " if steps else ""
        raise BundleError(f"{where}preprocessing: expected an Orientationd, found none")
    return result


def _orientation(step: Step, result: Translation) -> None:
    if result.axcodes is not None:
        raise step.error("axcodes", "axes that are turned once", step.get("axcodes"))
    letters = step.get("labels")
    if letters is not None and [list(pair) for pair in letters] != _LETTERS:
        raise step.error("labels", f"MONAI's own, {_LETTERS}", letters)
    codes = "RAS" if step.get("as_closest_canonical") else step.get("axcodes")
    result.axcodes = check_directions(codes, f"{step.references.name}: {step.key}: axcodes")


def _spacing(step: Step, result: Translation) -> None:
    for limit in ("min_pixdim", "max_pixdim"):
        if step.get(limit) is not None:
            raise step.error(limit, "none", step.get(limit))
    _check_smooth(step)
    pixdim = [float(mm) for mm in step.triple("pixdim")]
    result.spacing_mm = in_canonical_order(pixdim, _axcodes(step, result))
    result.shape = None


def _resize(step: Step, result: Translation) -> None:
    if step.get("size_mode", "all") != "all":
        raise step.error("size_mode", "'all'", step.get("size_mode"))
    _check_smooth(step)
    size = [None if n == -1 else int(n) for n in step.triple("spatial_size", keep=-1)]
    if result.crop:
        # our grid of a fixed size is always over the whole image
        raise step.error("spatial_size", "a size without a CropForegroundd before it", size)
    result.shape = in_canonical_order(size, _axcodes(step, result))
    result.spacing_mm = None


def _crop(step: Step, result: Translation) -> None:
    if result.shape is not None:
        raise step.error("source_key", "no crop of what was resized", step.get("source_key"))
    # what counts as foreground is code; ours is the body and a margin around it
    result.crop = True


def _scale_range(step: Step, result: Translation) -> None:
    a_min, a_max = step.number("a_min"), step.number("a_max")
    if not a_min < a_max:
        raise step.error("a_max", f"more than {a_min}", a_max)
    low = 0.0 if step.get("b_min") is None else step.number("b_min")
    high = 1.0 if step.get("b_max") is None else step.number("b_max")
    slope = (high - low) / (a_max - a_min)
    _change(step, result, slope, low - a_min * slope)
    if step.get("clip", False):
        result.grey_values = result.grey_values.clipped(low, high)


def _normalise(step: Step, result: Translation) -> None:
    if step.get("nonzero", False):
        raise step.error("nonzero", "false (the same map for every image)", True)
    mean, deviation = (_single(step, name) for name in ("subtrahend", "divisor"))
    _change(step, result, 1 / deviation, -mean / deviation)


def _shift(step: Step, result: Translation) -> None:
    _change(step, result, 1.0, step.number("offset"))


def _scale(step: Step, result: Translation) -> None:
    if step.get("minv", 0.0) is not None or step.get("maxv", 1.0) is not None:
        raise step.error(
            "minv and maxv", "none (the same map for every image)", step.get("minv", 0.0)
        )
    _change(step, result, 1.0 + step.number("factor"), 0.0)


def _threshold(step: Step, result: Translation) -> None:
    threshold = step.number("threshold")
    value = 0.0 if step.get("cval") is None else step.number("cval")
    if value != threshold:
        raise step.error("cval", f"the threshold {threshold}", value)
    ends = {"low": threshold} if step.get("above", True) else {"high": threshold}
    result.grey_values = result.grey_values.clipped(**ends)


_HANDLERS: Mapping[str, Callable[[Step, Translation], None]] = {
    "Orientationd": _orientation,
    "Spacingd": _spacing,
    "Resized": _resize,
    "CropForegroundd": _crop,
    "ScaleIntensityRanged": _scale_range,
    "ScaleIntensityd": _scale,
    "NormalizeIntensityd": _normalise,
    "ShiftIntensityd": _shift,
    "ThresholdIntensityd": _threshold,
}


def _change(step: Step, result: Translation, slope: float, intercept: float) -> None:
    try:
        result.grey_values = result.grey_values.mapped(slope, intercept)
    except BundleError as exc:
        raise BundleError(f"{step.references.name}: {step.key}: {step.name}: {exc}") from exc


def _single(step: Step, argument: str) -> float:
    value = step.get(argument)
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
        (value,) = value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise step.error(argument, "one number (the same map for every image)", value)
    if argument == "divisor" and not value > 0:
        raise step.error(argument, "a positive number", value)
    return float(value)


def _check_smooth(step: Step) -> None:
    mode = step.get("mode", "bilinear")
    first = mode[0] if isinstance(mode, list) and mode else mode
    if str(first) not in _SMOOTH:
        raise step.error("mode", f"one of {sorted(_SMOOTH)}", first)


def _axcodes(step: Step, result: Translation) -> str:
    if result.axcodes is None:
        raise BundleError(
            f"{step.references.name}: {step.key}: expected an Orientationd before {step.name}, "
            "found none"
        )
    return result.axcodes


def _keys(step: Step) -> list[str]:
    keys = step.get("keys", [])
    return [keys] if isinstance(keys, str) else [str(key) for key in keys]


def _plain_name(written: Mapping[str, Any]) -> str:
    """`Spacingd` for `monai.transforms.SpacingDict`, `SpacingD` and `Spacingd` alike."""
    name = str(written.get("_target_", written.get("name", ""))).rpartition(".")[2]
    return re.sub("(Dict|D)$", "d", name)
