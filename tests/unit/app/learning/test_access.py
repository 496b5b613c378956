"""How the learning commands reach their recipe and their data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from app.learning.access import data_access, read_recipe
from models.bundle import Bundle
from models.data.miniature import make_btcv
from models.errors import TrainingError
from operators.label_reading_folder import DicomFolderReader
from tests.small_recipes import LABELS, RECIPE, with_recipe


def options(bundle: Bundle, **given: Any) -> argparse.Namespace:
    usual = {
        "model": None,
        "models": bundle.folder,
        "config": None,
        "set": [],
        "layout": None,
        "data": Path("data"),
        "exclude": [],
    }
    return argparse.Namespace(**{**usual, **given})


def names_of(bundle: Bundle, **data: Any) -> dict[str, int]:
    """What DICOM objects call the organs, and the label value that each gets."""
    recipe = {**RECIPE, "data": {**RECIPE["data"], **data}}
    parsed = options(with_recipe(bundle, recipe))
    reader = data_access(read_recipe(parsed), parsed, Path("cache")).dicom
    assert isinstance(reader, DicomFolderReader)
    assert reader.numbers is not None
    return dict(reader.numbers.values)


def test_a_recipe_is_changed_by_the_options(tiny_bundle: Bundle) -> None:
    with_recipe(tiny_bundle)
    parsed = options(
        tiny_bundle, set=["seed=8", 'data.labels={"liver": [6, 7]}'], layout="dicom", steps=5
    )
    recipe = read_recipe(parsed)
    assert recipe.seed == 8
    assert recipe.content["data"]["labels"] == {**LABELS, "liver": [6, 7]}
    assert recipe.content["data"]["layout"] == "dicom"  # so that it is on record
    assert recipe.plan.stages[0].steps == 5
    assert recipe.plan.stages[0].epochs is None


def test_a_recipe_of_sources_takes_a_data_set_where_its_layout_is_named(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """So that a model with weights can be measured on whatever data set a user has."""
    with_recipe(tiny_bundle, {"sources": [], "epochs": 1})
    assert "sources" in read_recipe(options(tiny_bundle)).content
    make_btcv(tmp_path / "btcv", 1, tests=0, spacing_mm=12.0)
    content = read_recipe(options(tiny_bundle, layout="btcv", data=tmp_path / "btcv")).content
    assert "sources" not in content
    assert content["data"]["labels"] == {"liver": 6, "kidney_left": 3, "kidney_right": 2}
    assert content["data"]["other_labels"] == [1, 4, 5, 7, 8, 9, 10, 11, 12, 13]
    named = read_recipe(options(tiny_bundle, layout="dicom", data=tmp_path)).content["data"]
    assert named["labels"] == tiny_bundle.class_of


def test_organs_of_dicom_are_known_by_label_name_and_codes(tiny_bundle: Bundle) -> None:
    assert names_of(tiny_bundle) == {
        "Liver": 6,
        "liver": 6,
        "SCT:10200004": 6,
        "Left kidney": 3,
        "kidney_left": 3,
        "SCT:64033007+SCT:7771000": 3,
        "Right kidney": 2,
        "kidney_right": 2,
        "SCT:64033007+SCT:24028007": 2,
    }


def test_names_of_ones_own_stand_for_an_organ_and_its_first_value(tiny_bundle: Bundle) -> None:
    found = names_of(tiny_bundle, labels={"liver": [6, 7]}, dicom_names={"Leber": "liver"})
    assert found == {"Leber": 6, "Liver": 6, "liver": 6, "SCT:10200004": 6}


@pytest.mark.parametrize("names", [["Leber"], {"Milz": "spleen"}, 3])
def test_names_of_an_organ_that_is_not_labelled_are_refused(
    names: object, tiny_bundle: Bundle
) -> None:
    with pytest.raises(TrainingError, match=r"data\.dicom_names: expected names of liver"):
        names_of(tiny_bundle, dicom_names=names)


def test_a_recipe_of_sources_knows_no_names(tiny_bundle: Bundle) -> None:
    parsed = options(with_recipe(tiny_bundle, {"sources": [], "epochs": 1}), only=["a"])
    access = data_access(read_recipe(parsed), parsed, Path("cache"))
    assert isinstance(access.dicom, DicomFolderReader)
    assert access.dicom.numbers is None
    assert access.read_folder is not None
    assert (access.root, access.cache, access.only) == (Path("data"), Path("cache"), ["a"])
