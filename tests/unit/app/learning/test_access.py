"""How the learning commands reach their recipe and their data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from highdicom.seg import SegmentationTypeValues

from app.learning.access import data_access, read_recipe
from models.bundle import Bundle
from models.bundle_folders import find_bundle
from models.data.label_values import BTCV, FLARE22
from models.data.miniature import make_btcv, make_flare22, make_msd
from models.data.nifti import open_nifti
from models.errors import TrainingError
from models.training.recipe import Recipe
from models.training.recipe_data import read_data
from operators.label_reading_folder import DicomFolderReader
from tests.datasets.series import SHAPE, ct_series
from tests.small_recipes import LABELS, RECIPE, with_recipe
from tests.unit.operators.test_label_reading import highdicom_seg


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
    phantoms = {"count": 2, "first_seed": 1000, "labels": {"liver": 6}}
    with_recipe(tiny_bundle, {"sources": [], "phantoms": phantoms, "epochs": 1})
    assert read_recipe(options(tiny_bundle)).content.keys() == {"sources", "phantoms", "epochs"}
    make_btcv(tmp_path / "btcv", 1, tests=0, spacing_mm=12.0)
    content = read_recipe(options(tiny_bundle, layout="btcv", data=tmp_path / "btcv")).content
    assert content.keys() == {"data", "epochs"}
    by_setting = options(tiny_bundle, set=["data.layout=btcv"], data=tmp_path / "btcv")
    assert read_recipe(by_setting).content == content
    assert content["data"]["labels"] == {"liver": 6, "kidney_left": 3, "kidney_right": 2}
    assert content["data"]["other_labels"] == [1, 4, 5, 7, 8, 9, 10, 11, 12, 13]
    named = read_recipe(options(tiny_bundle, layout="dicom", data=tmp_path)).content["data"]
    assert named["labels"] == tiny_bundle.class_of


def of_shipped(name: str, layout: str | None, folder: Path, **given: Any) -> argparse.Namespace:
    whole = ["data.validation_share=0"]  # there is one case alone
    given = {**given, "set": [*whole, *given.get("set", [])]}
    return options(find_bundle(name, None), layout=layout, data=folder, **given)


def voxels_of(recipe: Recipe, parsed: argparse.Namespace, cache: Path) -> dict[str, int]:
    """Voxels of each organ, and of what nobody knows, in the first case."""
    data = read_data(recipe, data_access(recipe, parsed, cache), on_own_grid=True)
    labels = [*data.training, *data.validation][0].labels
    counts = {organ: int((labels == n).sum()) for organ, n in recipe.bundle.class_of.items()}
    return {**counts, "unknown": int((labels == 255).sum())}


def stored(folder: Path, pattern: str) -> Any:
    """Label values of the only label file."""
    (path,) = folder.rglob(pattern)
    return open_nifti(path).read()


def test_another_layout_brings_its_own_label_values(tmp_path: Path) -> None:
    """Else FLARE22's liver is learnt as BTCV's spleen."""
    folder = make_flare22(tmp_path / "flare22", 1, spacing_mm=12.0)
    parsed = of_shipped("unetr_btcv", "flare22", folder)
    recipe = read_recipe(parsed)
    data = recipe.content["data"]
    assert data["labels"] == {organ: v for organ, v in FLARE22.items() if organ in BTCV}
    assert data["other_labels"] == [FLARE22["duodenum"]]
    labels, found = stored(folder, "labels/*.nii.gz"), voxels_of(recipe, parsed, tmp_path)
    for organ in ("liver", "spleen", "kidney_left", "aorta"):
        assert found[organ] == int((labels == FLARE22[organ]).sum())
    assert found["portal_and_splenic_veins"] == found["unknown"] == 0
    # however the layout was given
    parsed = of_shipped("unetr_btcv", None, folder, set=["data.layout=flare22"])
    assert read_recipe(parsed).content["data"] == data
    parsed = of_shipped("unetr_btcv", None, folder, set=["data.layout=null"])
    assert read_recipe(parsed).content["data"] == {**data, "layout": None}


def test_labels_of_ones_own_win_over_those_of_a_layout(tmp_path: Path) -> None:
    folder = make_flare22(tmp_path, 1, spacing_mm=12.0)
    parsed = of_shipped("unetr_btcv", "flare22", folder, set=['data.labels={"liver": [1, 99]}'])
    data = read_recipe(parsed).content["data"]
    assert data["labels"]["liver"] == [1, 99]
    assert data["labels"]["spleen"] == FLARE22["spleen"]


def test_what_a_data_set_does_not_label_and_what_becomes_background_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_flare22(tmp_path, 1, spacing_mm=12.0)
    parsed = of_shipped("unetr_btcv", "flare22", folder)
    read_recipe(parsed)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"{folder} for unetr_btcv: not labelled: portal_and_splenic_veins; "
        "taken as background: duodenum\n"
    )
    read_recipe(of_shipped("vnet_flare22", "flare22", folder))
    assert capsys.readouterr().err == ""
    # once for all processes that train together
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    read_recipe(parsed)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("layout", ["png", "pairs", "dicom", "btcv", None])
def test_a_layout_without_label_values_leaves_the_recipes(layout: str | None) -> None:
    data = read_recipe(of_shipped("unetr_btcv", layout, Path("nowhere"))).content["data"]
    assert data["labels"] == BTCV


def test_a_data_set_without_an_organ_of_the_model_is_refused(tmp_path: Path) -> None:
    folder = make_msd(tmp_path, task="Task09_Spleen", count=1, spacing_mm=12.0)
    parsed = of_shipped("mobilenetv3_rsna", "msd", folder)
    assert read_recipe(parsed).content["data"]["labels"] == {"spleen": 1}
    parsed = of_shipped("unet_liver_msd", None, folder, set=["data.layout=null"])
    assert read_recipe(parsed).content["data"]["labels"] == {"liver": 1, "liver_tumour": 2}
    (folder / "dataset.json").write_text(
        (folder / "dataset.json").read_text().replace('"spleen"', '"prostate"')
    )
    with pytest.raises(TrainingError, match=r"expected an organ of mobilenetv3_rsna.*prostate"):
        read_recipe(of_shipped("mobilenetv3_rsna", "msd", folder))


def test_tumours_of_msd_are_not_background_for_a_model_of_the_liver(tmp_path: Path) -> None:
    folder = make_msd(tmp_path / "msd", task="Task03_Liver", count=1, spacing_mm=12.0)
    labels = stored(folder, "labelsTr/*.nii.gz")
    tumour = int((labels == 2).sum())
    assert tumour > 0
    for model in ("abdomen_vnet_3mm", "unetr_btcv"):
        parsed = of_shipped(model, "msd", folder)
        recipe = read_recipe(parsed)
        assert recipe.content["data"]["labels"] == {"liver": [1, 2]}
        assert voxels_of(recipe, parsed, tmp_path)["liver"] == int((labels > 0).sum())
    # a recipe that has the tumour as a class of its own stays as it is
    parsed = of_shipped("unet_liver_msd", "msd", folder)
    assert voxels_of(read_recipe(parsed), parsed, tmp_path)["liver_tumour"] == tumour
    # nobody knows whose tumour it is
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace('"cancer"', '"cancer", "3": "spleen"'))
    parsed = of_shipped("abdomen_vnet_3mm", "msd", folder)
    recipe = read_recipe(parsed)
    assert recipe.content["data"]["unknown_labels"] == [2]
    found = voxels_of(recipe, parsed, tmp_path)
    assert (found["liver"], found["unknown"]) == (int((labels == 1).sum()), tumour)


def test_a_recipe_may_say_who_wins_where_organs_overlap(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    source = ct_series(tmp_path / "set" / "ct", seed_text="overlap")
    both = np.zeros((*SHAPE, 2), np.uint8)
    both[2, 1:4, 2, 0] = both[2, 2:6, 2, 1] = 1
    highdicom_seg(tmp_path / "set" / "seg", source, SegmentationTypeValues.BINARY, both)
    with_recipe(tiny_bundle, {**RECIPE, "data": {"layout": "dicom", "labels": LABELS}})

    def read(*given: str) -> dict[str, int]:
        parsed = options(tiny_bundle, data=tmp_path / "set", set=given)
        return voxels_of(read_recipe(parsed), parsed, tmp_path)

    with pytest.raises(TrainingError, match=r"do not overlap, found .* data\.overlap=first"):
        read()
    found = read("data.overlap=first")
    assert (found["liver"], found["kidney_left"]) == (3, 2)
    with pytest.raises(TrainingError, match=r"data\.overlap: expected error or first, found 'las"):
        read("data.overlap=last")


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
