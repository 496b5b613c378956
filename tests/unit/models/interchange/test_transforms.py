from __future__ import annotations

from typing import Any

import pytest

from models.errors import BundleError
from models.interchange.references import References
from models.interchange.transforms import Translation, steps_of, translate
from tests.unit.models.interchange.foreign_folders import zoo_inference, zoo_transforms


def translated(transforms: Any, **values: Any) -> Translation:
    config = zoo_inference(preprocessing={"transforms": transforms}, **values)
    references = References(config, "zoo")
    return translate(steps_of(config["preprocessing"], "preprocessing", references))


def scale(**arguments: Any) -> dict[str, Any]:
    return {"_target_": "NormalizeIntensityd", "keys": "image", **arguments}


def test_a_usual_preprocessing_is_ours_with_axes_in_our_order() -> None:
    translation = translated(zoo_transforms())
    assert translation.axcodes == "RAS"
    assert translation.as_json() == {
        "spacing_mm": [2.0, 1.5, 1.5],
        "crop": False,
        "low_hu": -57.0,
        "high_hu": 164.0,
        "range": [0.0, 1.0],
    }


def test_the_list_of_transforms_may_be_a_reference() -> None:
    assert translated("@steps", steps=zoo_transforms()).axcodes == "RAS"


def test_anisotropic_spacing_follows_the_axes() -> None:
    transforms = zoo_transforms()
    transforms[2]["axcodes"] = "PIR"
    transforms[3]["pixdim"] = [1.0, 2.0, 3.0]
    assert translated(transforms).spacing_mm == [2.0, 1.0, 3.0]


def test_cropping_the_foreground_is_our_crop() -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "select_fn": "$lambda x: x > 0"}
    assert translated(zoo_transforms(crop)).as_json()["crop"] is True


def test_a_fixed_size_replaces_the_spacing() -> None:
    resize = {"_target_": "Resized", "keys": ["image"], "spatial_size": [256, -1, 128]}
    assert translated(zoo_transforms(resize)).as_json()["shape"] == [128, None, 256]


def test_a_crop_before_a_resize_is_refused() -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}
    resize = {"_target_": "Resized", "keys": "image", "spatial_size": [64, 64, 64]}
    told = "transforms::6: Resized: spatial_size: expected a size without a CropForegroundd before"
    with pytest.raises(BundleError, match=told):
        translated(zoo_transforms(crop, resize))
    with pytest.raises(BundleError, match=r"CropForegroundd: .* no crop of what was resized"):
        translated(zoo_transforms(resize, crop))


def test_orientation_labels_of_ones_own_are_refused() -> None:
    transforms = zoo_transforms()
    transforms[2]["labels"] = [["L", "R"], ["P", "A"], ["I", "S"]]
    assert translated(transforms).axcodes == "RAS"
    transforms[2]["labels"] = "$(('R', 'L'), ('A', 'P'), ('I', 'S'))"
    with pytest.raises(BundleError, match="transforms::2: Orientationd: labels: expected MONAI's"):
        translated(transforms)


def test_without_a_grid_the_network_sees_the_sources_own() -> None:
    transforms = [step for step in zoo_transforms() if step["_target_"] != "Spacingd"]
    assert translated(transforms).as_json()["shape"] == [None, None, None]


def test_fixed_mean_and_deviation_are_a_range() -> None:
    transforms = zoo_transforms()
    transforms[4] = scale(subtrahend=80.0, divisor=[140.0])
    clip = {"_target_": "ThresholdIntensityd", "keys": "image"}
    low = {**clip, "threshold": -1.0, "above": True, "cval": -1.0}
    high = {**clip, "threshold": 2.0, "above": False, "cval": 2.0}
    transforms[5:5] = [low, high]
    settings = translated(transforms).as_json()
    assert (settings["low_hu"], settings["high_hu"]) == pytest.approx((-60.0, 360.0))
    assert settings["range"] == pytest.approx([-1.0, 2.0])


@pytest.mark.parametrize(
    "target", ["monai.transforms.SpacingDict", "SpacingD", "monai.transforms.Spacingd"]
)
def test_spellings_of_a_transform_are_one(target: str) -> None:
    transforms = zoo_transforms()
    transforms[3]["_target_"] = target
    assert translated(transforms).spacing_mm == [2.0, 1.5, 1.5]


def test_transforms_of_labels_alone_and_those_switched_off_do_not_count() -> None:
    label = {"_target_": "Lambdad", "keys": "label", "func": "$lambda x: x"}
    off = {"_target_": "RandFlipd", "keys": "image", "_disabled_": True}
    assert translated(zoo_transforms(label, off)).axcodes == "RAS"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"_target_": "Lambdad", "func": "$lambda x: -x"}, "found Lambdad, which changes"),
        ({"_target_": "ScaleIntensityRangePercentilesd"}, "found ScaleIntensityRangePercentilesd"),
        ({"_target_": "NormalizeIntensityd"}, "subtrahend: expected one number .* found None"),
        ({"_target_": "NormalizeIntensityd", "nonzero": True}, "nonzero: expected false"),
        ({"_target_": "NormalizeIntensityd", "subtrahend": 0, "divisor": 0}, "a positive number"),
        ({"_target_": "ScaleIntensityd", "minv": -1, "maxv": 1}, "minv and maxv: expected none"),
        ({"_target_": "ThresholdIntensityd", "threshold": 5, "cval": 0}, "cval: expected the"),
        ({"_target_": "Orientationd", "axcodes": "LPS"}, "axes that are turned once"),
        ({"_target_": "Spacingd", "pixdim": [1, 1]}, "pixdim: expected three numbers"),
        ({"_target_": "Spacingd", "pixdim": [1, 1, 0]}, "expected three positive numbers"),
        ({"_target_": "Spacingd", "pixdim": [1, 1, 1], "mode": "nearest"}, "mode: expected one"),
        ({"_target_": "Spacingd", "pixdim": "$sys.argv"}, "pixdim: expected a value"),
        ({"_target_": "ScaleIntensityRanged", "a_min": 5, "a_max": 5}, "a_max: expected more than"),
        ({"_target_": "ScaleIntensityRanged", "a_min": "x", "a_max": 5}, "a_min: expected a num"),
    ],
)
def test_what_our_settings_cannot_say_is_refused_by_name(step: dict[str, Any], told: str) -> None:
    with pytest.raises(BundleError, match=f"zoo: preprocessing::transforms::5.*{told}"):
        translated(zoo_transforms({"keys": "image", **step}))


def test_axes_that_are_never_turned_are_refused() -> None:
    transforms = [step for step in zoo_transforms() if step["_target_"] != "Orientationd"]
    with pytest.raises(BundleError, match="expected an Orientationd before Spacingd"):
        translated(transforms)
    without_grid = [step for step in transforms if step["_target_"] != "Spacingd"]
    with pytest.raises(BundleError, match="expected an Orientationd, found none"):
        translated(without_grid)
