"""Whose cases a recipe trains on, and what their labels become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.bundle import Bundle
from models.bundle_folders import find_bundle
from models.data.miniature import make_msd
from models.errors import TrainingError
from models.training.data_access import DataAccess
from models.training.recipe import Recipe
from models.training.recipe_data import RecipeData, people_of, read_data, reading_of
from tests.small_recipes import LABELS, LIVER_VOXELS, SHAPE, of_slices, with_recipe, write_pairs

NAMES = ("a-1", "a-2", "b-1", "c-1", "d-1", "e-1")
BY_PATIENT = {"patient_pattern": "[a-z]", "validation_share": 0.4}


def status_of(status: object, when: object = None) -> dict[str, object]:
    """Settings for files of states."""
    return {"status": status, "unlabelled_when": {"*": ["bad"]} if when is None else when}


def recipe_of(bundle: Bundle, **data: Any) -> Recipe:
    return Recipe.read(with_recipe(bundle), changes=[{"data": data}])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of five people."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), *NAMES)


@pytest.fixture
def read(folder: Path, tiny_bundle: Bundle, tmp_path: Path) -> Any:
    def read_with(
        access: dict[str, Any] | None = None, *, own: bool = True, **data: Any
    ) -> RecipeData:
        where = DataAccess(root=folder, cache=tmp_path / "cache", **(access or {}))
        return read_data(recipe_of(tiny_bundle, **data), where, on_own_grid=own)

    return read_with


# --- labels


def test_labels_become_the_classes_of_the_network(read: Any, tiny_bundle: Bundle) -> None:
    case = read().training[0]
    assert case.labels.shape == SHAPE
    # kidneys swap their values; what the network does not know is background
    assert {organ: int((case.labels == n).sum()) for organ, n in tiny_bundle.class_of.items()} == {
        "liver": LIVER_VOXELS,
        "kidney_left": 96,
        "kidney_right": 96,
    }
    assert case.unlabelled == frozenset()


def test_two_values_of_one_organ_are_one_class(read: Any) -> None:
    labels = {"liver": [6, 1], "kidney_left": 3, "kidney_right": 2}
    case = read(labels=labels, other_labels=[]).training[0]
    assert int((case.labels == 1).sum()) == LIVER_VOXELS + 6 * 6 * 6


def test_organs_that_the_data_set_does_not_label_are_unlabelled(
    tiny_bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    content = {"data": {"layout": "pairs", "labels": {"liver": 6}, "other_labels": [1, 2, 3]}}
    recipe = Recipe.read(with_recipe(tiny_bundle, content))
    access = DataAccess(root=folder, cache=tmp_path)
    (case, *_) = read_data(recipe, access, on_own_grid=True).training
    assert case.unlabelled == {tiny_bundle.class_of[o] for o in ("kidney_left", "kidney_right")}
    assert set(np.unique(case.labels)) == {0, 1}


def test_an_organ_that_is_taken_away_stays_known_in_the_files(
    tiny_bundle: Bundle, read: Any
) -> None:
    recipe = recipe_of(tiny_bundle, labels={"kidney_left": None})
    assert recipe.part("data")["other_labels"] == [1, 3]
    case = read(labels={"kidney_left": None}).training[0]
    assert case.unlabelled == {tiny_bundle.class_of["kidney_left"]}
    assert tiny_bundle.class_of["kidney_left"] not in case.labels
    explicit = recipe_of(tiny_bundle, labels={"kidney_left": None}, other_labels=[7])
    assert explicit.part("data")["other_labels"] == [7, 3]


def test_an_organ_without_a_value_is_unlabelled(read: Any, tiny_bundle: Bundle) -> None:
    labels = {"liver": 6, "kidney_left": None, "kidney_right": 2}
    case = read(labels=labels, other_labels=[1, 3]).training[0]
    assert case.unlabelled == {tiny_bundle.class_of["kidney_left"]}


def test_a_value_that_the_recipe_does_not_name_is_an_error_with_the_file(read: Any) -> None:
    with pytest.raises(TrainingError, match=r"a-1_label\.nii\.gz: expected .*found 1"):
        _ = read(other_labels=[]).training[0]


def test_a_value_that_nobody_knows_is_unknown(read: Any) -> None:
    case = read(other_labels=[], unknown_labels=[1]).training[0]
    assert int((case.labels == 255).sum()) == 6 * 6 * 6
    assert int((case.labels == 1).sum()) == LIVER_VOXELS


def test_an_organ_with_a_bad_status_is_unlabelled_in_a_recipe_of_pairs(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    where = write_pairs(tmp_path / "pairs", "a", "b")
    (where / "a_status.json").write_text('{"liver": "bad", "Lkid": "absent", "Rkid": "absent"}')
    recipe = recipe_of(
        tiny_bundle,
        status={"liver": "liver", "kidney_left": "Lkid", "kidney_right": "Rkid"},
        unlabelled_when={"kidney_left": ["bad", "absent"], "*": ["bad"]},
    )
    access = DataAccess(root=where, cache=tmp_path / "cache")
    first, second = read_data(recipe, access, on_own_grid=True).training
    classes = tiny_bundle.class_of
    assert first.unlabelled == {classes["liver"], classes["kidney_left"]}
    assert set(np.unique(first.labels)) == {0, classes["kidney_right"]}
    assert second.unlabelled == frozenset()


def test_an_image_without_its_label_is_refused_unless_it_is_left_out(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    where = write_pairs(tmp_path / "pairs", "a", "b", "c")
    (where / "b_label.nii.gz").unlink()
    access = DataAccess(root=where, cache=tmp_path / "cache")
    recipe = recipe_of(tiny_bundle)
    with pytest.raises(
        TrainingError, match="label of every image, found none of 1 of 3: b; --excl"
    ):
        read_data(recipe, access)
    kept = read_data(recipe, replace(access, exclude=["b"]), on_own_grid=True)
    assert [case.name for case in kept.training] == ["a", "c"]


def test_slices_without_a_mask_are_left_out_and_told(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for folder, names in (("images", "abc"), ("masks", "ac")):
        (tmp_path / folder / "p").mkdir(parents=True)
        for name in names:
            Image.new("L", (32, 32), 6).save(tmp_path / folder / "p" / f"{name}.png")
    for path in (tmp_path / "images" / "p").iterdir():
        Image.new("L", (32, 32), 200).save(path)
    told: list[str] = []
    access = DataAccess(root=tmp_path, cache=tmp_path / "cache", on_warning=told.append)
    recipe = recipe_of(of_slices(tiny_bundle), layout="png")
    assert [case.name for case in read_data(recipe, access, on_own_grid=True).training] == [
        "p/a",
        "p/c",
    ]
    assert told == ["1 of 3 images have no label and are left out: p/b"]
    for path in (tmp_path / "masks" / "p").iterdir():
        path.unlink()
    with pytest.raises(TrainingError, match="expected a label of every image, found none of 3"):
        read_data(recipe, access)


def test_who_has_other_volumes_left_is_not_held_out(tiny_bundle: Bundle, tmp_path: Path) -> None:
    where = write_pairs(tmp_path / "pairs", "p1-portal", "p1-native", "p2-portal")
    recipe = recipe_of(tiny_bundle, patient_pattern="p[0-9]")

    def excluded(*names: str) -> frozenset[str]:
        access = DataAccess(root=where, cache=tmp_path / "cache", exclude=names)
        return read_data(recipe, access).excluded

    assert excluded("p1-portal") == {"p1-portal"}
    assert excluded("p1-portal", "p1-native") == {"p1-portal", "p1-native", "p1"}
    assert excluded("p2") == {"p2-portal", "p2"}


def test_an_organ_without_a_label_needs_no_state(tiny_bundle: Bundle, tmp_path: Path) -> None:
    where = write_pairs(tmp_path / "pairs", "a")
    (where / "a_status.json").write_text('{"liver": "good"}')
    status = {"liver": "liver", "kidney_left": "Lkid", "kidney_right": None}
    access = DataAccess(root=where, cache=tmp_path / "cache")
    recipe = recipe_of(tiny_bundle, **status_of(status), labels={"kidney_left": None})
    (case,) = read_data(recipe, access, on_own_grid=True).training
    assert case.unlabelled == {tiny_bundle.class_of["kidney_left"]}


def test_mirrored_labels_are_refused_unless_they_are_left_out(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    where = write_pairs(tmp_path / "pairs", "a", "b")
    write_pairs(where, "b", values={6: 6, 3: 2, 2: 3, 1: 1})
    access = DataAccess(root=where, cache=tmp_path / "cache")
    recipe = recipe_of(tiny_bundle)
    told = r"b_label\.nii\.gz: expected kidney_right to the patient's right of kidney_left"
    with pytest.raises(TrainingError, match=told):
        list(read_data(recipe, access).training)
    (case,) = read_data(recipe, replace(access, exclude=["b"])).training
    assert case.name == "a"


def test_what_may_be_wrong_with_a_whole_data_set_is_told(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    where = write_pairs(tmp_path / "pairs", "p1-portal", "p1-native", "p2")
    told: list[str] = []
    access = DataAccess(root=where, cache=tmp_path / "cache", on_warning=told.append)
    read_data(recipe_of(tiny_bundle), access)
    (text,) = told
    assert "p1-native and p1-portal as two people" in text
    read_data(recipe_of(tiny_bundle, patient_pattern="p[0-9]"), access)
    assert len(told) == 1


@pytest.mark.parametrize("on_own_grid", [True, False])
def test_a_data_set_that_names_another_organ_for_a_value_is_refused(
    on_own_grid: bool, tmp_path: Path
) -> None:
    spleens = make_msd(tmp_path / "msd", task="Task09_Spleen", count=1, spacing_mm=12.0)
    recipe = Recipe.read(find_bundle("unet_liver_msd", None))
    access = DataAccess(root=spleens, cache=tmp_path / "cache")
    told = r"label 1 is spleen rather than liver.*--variant.*--set data\.labels"
    with pytest.raises(TrainingError, match=told):
        read_data(recipe, access, on_own_grid=on_own_grid)
    with pytest.raises(TrainingError, match=told):
        people_of(recipe, access)
    livers = make_msd(tmp_path / "livers", task="Task03_Liver", count=2, spacing_mm=12.0)
    found = read_data(recipe, DataAccess(root=livers, cache=tmp_path), on_own_grid=on_own_grid)
    assert (len(found.training), len(found.validation)) == (1, 1)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"labels": {"spleen": 1}}, "expected organs of the network, found spleen"),
        ({"labels": {"liver": 3}}, "expected one organ for label 3, found two"),
        ({"labels": {"liver": 255}}, r"data\.labels\.liver: expected label values of 1 to 254"),
        ({"labels": {"liver": "6"}}, r"data\.labels\.liver: expected label values of 1 to 254"),
        ({"labels": {"liver": [6, True]}}, r"data\.labels\.liver: expected label values"),
        ({"labels": 6}, r"data\.labels: expected the value of each organ, found 6"),
        ({"other_labels": 1}, r"data\.other_labels: expected label values of 1 to 254, found 1"),
        ({"validation_share": "half"}, r"data\.validation_share: expected a number"),
        ({"validation_share": 1}, "expected a share of 0 to less than 1"),
        ({"patient_pattern": "("}, r"data\.patient_pattern: expected a regular expression"),
        ({"patient_pattern": "x"}, "expected a name that starts like 'x'"),
        ({"shades": 3}, r"data\.shades: expected an object"),
        ({"shades": {"red": 1}}, "expected a grey or #rrggbb"),
        ({"unknown_labels": [0]}, r"data\.unknown_labels: expected label values of 1 to 254"),
        ({"unknown_labels": [3]}, "expected one meaning for label 3, found two"),
        ({"status": {"liver": "liver"}}, r"data\.status and data\.unlabelled_when: expected both"),
        ({"unlabelled_when": {"*": ["bad"]}}, r"data\.status and data\.unlabelled_when"),
        (status_of({"spleen": "spleen"}), r"data\.status: expected .* organs of the network"),
        (status_of({"liver": 3}), r"data\.status: expected texts"),
        (status_of("liver"), r"data\.status: expected texts"),
        (status_of({"liver": "liver"}, {"spleen": ["bad"]}), r"data\.unlabelled_when: expected"),
        (status_of({"liver": "liver"}, {"*": "bad"}), r"data\.unlabelled_when: expected"),
        (status_of({"liver": "liver"}, ["bad"]), r"data\.unlabelled_when: expected"),
        ({"layout": "btcv"}, "expected a data set in the layout btcv"),
        ({"layout": "nifti"}, "expected a layout of btcv"),
    ],
)
def test_a_wrong_setting_is_told(data: dict[str, Any], told: str, read: Any) -> None:
    with pytest.raises(TrainingError, match=told):
        read(**data)


def test_shades_of_masks_stand_for_label_values(tiny_bundle: Bundle, tmp_path: Path) -> None:
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[4:10, 4:10] = (255, 128, 0)
    colours[20:24, 4:8] = (0, 0, 255)
    for kind, array in (("images", colours[..., 0]), ("masks", colours)):
        (tmp_path / "set" / kind / "p1").mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / "set" / kind / "p1" / "7.png")
    shades = {"#000000": 0, "#ff8000": 6, "#0000ff": 3}
    recipe = recipe_of(of_slices(tiny_bundle), layout="png", shades=shades)
    access = DataAccess(root=tmp_path / "set", cache=tmp_path / "cache")
    (case,) = read_data(recipe, access, on_own_grid=True).training
    assert (case.name, case.patient, case.labels.shape) == ("p1/7", "p1", (1, 32, 32))
    classes = tiny_bundle.class_of
    assert int((case.labels == classes["liver"]).sum()) == 36
    assert int((case.labels == classes["kidney_left"]).sum()) == 16
    assert set(np.unique(case.hu)) == {-200, 300}  # black and white are the window's ends


def test_the_reading_says_all_that_a_cache_depends_on(tiny_bundle: Bundle) -> None:
    first = reading_of(recipe_of(tiny_bundle)).settings
    assert reading_of(recipe_of(tiny_bundle)).settings == first
    for change in (
        {"other_labels": [1, 9]},
        {"unknown_labels": [1]},
        {"labels": {"liver": [6, 7]}},
        status_of({"liver": "liver"}),
    ):
        assert reading_of(recipe_of(tiny_bundle, **change)).settings != first
    assert LABELS["liver"] in dict(first["classes"])  # type: ignore[call-overload]


# --- grids


def test_cases_come_on_the_networks_grid_or_their_own(read: Any, tmp_path: Path) -> None:
    own, grid = read(), read(own=False)
    assert own.training[0].hu.shape == SHAPE
    assert grid.training.names == NAMES
    assert not (tmp_path / "cache").exists()  # nothing is read before it is asked for
    assert grid.training[0].spacing_mm == pytest.approx((3.0, 3.0, 3.0))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert [case.name for case in own.training[1:3]] == ["a-2", "b-1"]


# --- who takes part


def names(cases: Any) -> set[str]:
    return {case.name for case in cases}


def test_a_patient_is_on_one_side_alone(read: Any) -> None:
    found = read(**BY_PATIENT)
    assert names(found.training) | names(found.validation) == set(NAMES)
    patients = [{case.patient for case in side} for side in (found.training, found.validation)]
    assert not patients[0] & patients[1]
    assert len(patients[1]) == 2


def test_who_validates_does_not_depend_on_who_takes_part(read: Any) -> None:
    everyone = read(**BY_PATIENT)
    gone = everyone.validation[0].patient
    others = read({"exclude": [gone, everyone.training[0].name]}, **BY_PATIENT)
    assert names(others.training) == names(everyone.training) - {everyone.training[0].name}
    assert names(others.validation) == {
        case.name for case in everyone.validation if case.patient != gone
    }


def test_cases_and_patients_are_known_by_their_names(read: Any) -> None:
    found = read({"only": ["a", "b-1"]}, patient_pattern="[a-z]")
    assert names(found.training) == {"a-1", "a-2", "b-1"}
    found = read({"only": ["a", "b"], "exclude": ["a-2"]}, patient_pattern="[a-z]")
    assert names(found.training) == {"a-1", "b-1"}


@pytest.mark.parametrize("option", ["exclude", "only"])
def test_a_name_that_nobody_has_is_refused(option: str, read: Any) -> None:
    """Else a patient whose name is misspelt would be learnt from."""
    with pytest.raises(TrainingError, match=r"expected names of cases or patients .* found z-9"):
        read({option: ["a-1", "z-9"]})


def test_people_are_all_that_are_labelled(
    tiny_bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    access = DataAccess(root=folder, cache=tmp_path, exclude=["b"])
    people = people_of(recipe_of(tiny_bundle, **BY_PATIENT), access)
    assert [one.name for one in people] == ["a-1", "a-2", "c-1", "d-1", "e-1"]


# --- what there has to be


def test_a_recipe_has_data_or_sources(tiny_bundle: Bundle, tmp_path: Path) -> None:
    access = DataAccess(root=tmp_path, cache=tmp_path)
    with pytest.raises(TrainingError, match="expected data or sources"):
        read_data(Recipe.read(with_recipe(tiny_bundle, {"epochs": 1})), access)
    sources = [{"pairs": ".", "labels": {"liver": 6}}]
    with pytest.raises(TrainingError, match="expected a way to read folders of DICOM"):
        read_data(Recipe.read(with_recipe(tiny_bundle, {"sources": sources})), access)


def test_names_of_sources_are_checked_too(
    tiny_bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    sources = [{"pairs": ".", "labels": {"liver": 6}}]
    recipe = Recipe.read(with_recipe(tiny_bundle, {"sources": sources}))

    def never(path: Path) -> Any:
        raise AssertionError(path)

    def access(*excluded: str) -> DataAccess:
        return DataAccess(root=folder, cache=tmp_path, exclude=excluded, read_folder=never)

    assert names(read_data(recipe, access("a-1")).training) == set(NAMES) - {"a-1"}
    with pytest.raises(TrainingError, match="found z-9"):
        read_data(recipe, access("z-9"))
