"""Folders as the public data sets have them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.data.label_values import BTCV, FLARE22
from models.data.layouts import natural, open_data_set
from models.data.miniature import make_btcv
from models.errors import TrainingError
from tests.datasets.tiny import write_case, write_png

PIXELS = np.zeros((2, 2), np.uint8)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(folder: Path, **options: str) -> list[tuple[str, str, bool]]:
    return [
        (r.name, r.purpose, r.label is not None) for r in open_data_set(folder, **options).records
    ]


def test_btcv_as_the_challenge_gives_it(tmp_path: Path) -> None:
    training = tmp_path / "RawData" / "Training"
    for n in (2, 1):
        touch(training / "img" / f"img{n:04d}.nii.gz")
        touch(training / "label" / f"label{n:04d}.nii.gz")
    touch(training / "img" / "._img0001.nii.gz")  # macOS leaves such beside every file
    touch(tmp_path / "RawData" / "Testing" / "img" / "img0061.nii.gz")
    data = open_data_set(tmp_path)
    assert data.layout == "btcv"
    assert data.label_values == BTCV
    assert names(tmp_path) == [
        ("img0001", "", True),
        ("img0002", "", True),
        ("img0061", "test", False),
    ]
    assert data.records[0].label == training / "label" / "label0001.nii.gz"
    assert names(tmp_path / "RawData") == names(training.parent)


def test_btcv_averaged(tmp_path: Path) -> None:
    touch(tmp_path / "averaged-training-images" / "DET0000101_avg.nii.gz")
    label = touch(tmp_path / "averaged-training-labels" / "DET0000101_avg_seg.nii.gz")
    touch(tmp_path / "averaged-testing-images" / "DET0000301_avg.nii.gz")
    assert names(tmp_path) == [("DET0000101", "", True), ("DET0000301", "test", False)]
    assert open_data_set(tmp_path).records[0].label == label


def test_btcv_as_tutorials_list_it(tmp_path: Path) -> None:
    for n in (1, 2):
        touch(tmp_path / "imagesTr" / f"img{n:04d}.nii.gz")
        touch(tmp_path / "labelsTr" / f"label{n:04d}.nii.gz")
    assert names(tmp_path) == [("img0001", "", True), ("img0002", "", True)]
    pairs = [
        {"image": f"imagesTr/img{n:04d}.nii.gz", "label": f"labelsTr/label{n:04d}.nii.gz"}
        for n in (1, 2)
    ]
    content = {"training": pairs[:1], "validation": pairs[1:], "test": ["imagesTs/img0061.nii.gz"]}
    (tmp_path / "dataset_0.json").write_text(json.dumps(content))
    assert open_data_set(tmp_path).layout == "btcv"
    assert names(tmp_path) == [
        ("img0001", "training", True),
        ("img0002", "validation", True),
        ("img0061", "test", False),
    ]


@pytest.mark.parametrize("top", ["FLARE22Train", "Training/FLARE22_LabeledCase50", ""])
def test_flare22(tmp_path: Path, top: str) -> None:
    touch(tmp_path / top / "images" / "FLARE22_Tr_0001_0000.nii.gz")
    touch(tmp_path / top / "labels" / "FLARE22_Tr_0001.nii.gz")
    data = open_data_set(tmp_path)
    assert data.layout == "flare22"
    assert data.label_values == FLARE22
    assert names(tmp_path) == [("FLARE22_Tr_0001", "training", True)]


def test_flare22_without_labels_and_for_validation(tmp_path: Path) -> None:
    touch(tmp_path / "Training" / "FLARE22_UnlabeledCase1-500" / "Case_00001_0000.nii.gz")
    touch(tmp_path / "Validation" / "FLARETs_0001_0000.nii.gz")
    # archives of some mirrors unpack each file to a folder of its name
    touch(tmp_path / "FLARE22Train" / "images" / "FLARE22_Tr_0002_0000.nii.gz")
    inner = "FLARE22_Tr_0002.nii"
    touch(tmp_path / "FLARE22Train" / "labels" / inner / inner)
    assert names(tmp_path) == [
        ("Case_00001", "unlabelled", False),
        ("FLARE22_Tr_0002", "training", True),
        ("FLARETs_0001", "test", False),
    ]


def test_a_label_without_an_image_is_a_record(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "FLARE22_Tr_0001_0000.nii.gz")
    touch(tmp_path / "labels" / "FLARE22_Tr_0009.nii.gz")
    first, second = open_data_set(tmp_path).records
    assert (first.name, first.label) == ("FLARE22_Tr_0001", None)
    assert second.image == tmp_path / "images" / "FLARE22_Tr_0009_0000.nii.gz"


def test_msd_by_its_list(tmp_path: Path) -> None:
    content = {
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "modality": {"0": "CT"},
        "training": [
            {"image": "./imagesTr/liver_10.nii.gz", "label": "./labelsTr/liver_10.nii.gz"},
            {"image": "./imagesTr/liver_9.nii.gz", "label": "./labelsTr/liver_9.nii.gz"},
            {"image": "./imagesTr/._liver_9.nii.gz", "label": "./labelsTr/._liver_9.nii.gz"},
        ],
        "test": ["./imagesTs/liver_132.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    data = open_data_set(tmp_path)
    assert data.layout == "msd"
    assert data.label_values == {"liver": 1, "cancer": 2}
    assert [r.name for r in data.records] == ["liver_9", "liver_10", "liver_132"]
    assert data.records[0].image == tmp_path / "imagesTr" / "liver_9.nii.gz"


def test_msd_as_nnunet_converts_it(tmp_path: Path) -> None:
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    touch(tmp_path / "imagesTr" / "liver_3_0000.nii.gz")
    touch(tmp_path / "labelsTr" / "liver_3.nii.gz")
    data = open_data_set(tmp_path)
    assert data.label_values == {"liver": 1}
    assert [(r.name, r.label is not None) for r in data.records] == [("liver_3", True)]


def test_nnunets_first_format_finds_its_images(tmp_path: Path) -> None:
    """Its `dataset.json` names images without the number of their channel."""
    content = {
        "labels": {"0": "background", "1": "liver"},
        "training": [
            {"image": f"./imagesTr/liver_{n}.nii.gz", "label": f"./labelsTr/liver_{n}.nii.gz"}
            for n in range(2)
        ],
        "test": ["./imagesTs/liver_2.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    touch(tmp_path / "imagesTr" / "liver_0_0000.nii.gz")
    touch(tmp_path / "imagesTs" / "liver_2_0000.nii.gz")
    records = open_data_set(tmp_path).records
    assert [r.name for r in records] == ["liver_0", "liver_1", "liver_2"]
    assert [r.image.relative_to(tmp_path).as_posix() for r in records] == [
        "imagesTr/liver_0_0000.nii.gz",
        "imagesTr/liver_1.nii.gz",  # neither is there: as it was written
        "imagesTs/liver_2_0000.nii.gz",
    ]
    touch(tmp_path / "imagesTr" / "liver_0.nii.gz")  # what is there as written goes first
    assert open_data_set(tmp_path).records[0].image.name == "liver_0.nii.gz"


@pytest.mark.parametrize("content", ["[]", "{", '{"training": [{"label": "a"}]}'])
def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(TrainingError, match=r"dataset\.json: expected .*, found"):
        open_data_set(tmp_path, "msd")


def test_pairs_with_status_and_patients_by_pattern(tmp_path: Path) -> None:
    for name in ("hcc-005a-portal", "hcc-005b-portal"):
        write_case(tmp_path / f"{name}_ct.nii.gz", tmp_path / f"{name}_label.nii.gz")
    status = touch(tmp_path / "hcc-005a-portal_status.json")
    first, second = open_data_set(tmp_path, patient_pattern="[a-z]+-[0-9]+").records
    assert (first.patient, second.patient) == ("hcc-005", "hcc-005")
    assert (first.status, second.status) == (status, None)
    assert open_data_set(tmp_path, patient_pattern="hcc-(.+?)-").records[0].patient == "005a"
    with pytest.raises(TrainingError, match="expected a name that starts like 'x'"):
        open_data_set(tmp_path, patient_pattern="x")


def test_png_slices_of_rsna(tmp_path: Path) -> None:
    for n in (2, 10):
        write_png(tmp_path / "images" / "10004" / "21057" / f"{n}.png", PIXELS)
        write_png(tmp_path / "masks" / "10004" / "21057" / f"{n}.png", PIXELS)
    data = open_data_set(tmp_path)
    assert data.layout == "png"
    assert [r.name for r in data.records] == ["10004/21057/2", "10004/21057/10"]
    assert {r.patient for r in data.records} == {"10004"}
    assert {r.purpose for r in data.records} == {""}


def test_slices_in_hidden_folders_are_no_records(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        write_png(tmp_path / folder / "p1" / "0.png", PIXELS)
        write_png(tmp_path / folder / ".ipynb_checkpoints" / "0-checkpoint.png", PIXELS)
        write_png(tmp_path / folder / "p1" / ".cache" / "0.png", PIXELS)
    assert [record.name for record in open_data_set(tmp_path).records] == ["p1/0"]


@pytest.mark.parametrize("inner", ["train/images", "images/train"])
def test_png_slices_in_two_sets(tmp_path: Path, inner: str) -> None:
    for side in ("train", "val"):
        image = inner.replace("train", side)
        mask = image.replace("images", "masks")
        write_png(tmp_path / image / f"{side}7_001.png", PIXELS)
        write_png(tmp_path / mask / f"{side}7_001_mask.png", PIXELS)
    assert names(tmp_path) == [
        ("train/train7_001", "training", True),
        ("val/val7_001", "validation", True),
    ]
    assert [r.patient for r in open_data_set(tmp_path).records] == ["train7", "val7"]


@pytest.mark.parametrize("name", ["test", "train", "val"])
def test_a_slice_may_be_called_test(tmp_path: Path, name: str) -> None:
    for folder in ("images", "masks"):
        write_png(tmp_path / folder / f"{name}.png", PIXELS)
        write_png(tmp_path / folder / "val" / "test.png", PIXELS)
    first, second = sorted(open_data_set(tmp_path).records, key=lambda record: len(record.name))
    assert (first.name, first.patient, first.purpose) == (name, name, "")
    assert (second.name, second.patient, second.purpose) == ("val/test", "test", "validation")


def test_png_masks_beside_their_images(tmp_path: Path) -> None:
    write_png(tmp_path / "a_1.png", PIXELS)
    write_png(tmp_path / "a_1_mask.png", PIXELS)
    write_png(tmp_path / "a_2.png", PIXELS)
    assert names(tmp_path) == [("a_1", "", True), ("a_2", "", False)]


def test_rsna_with_nifti_labels_of_dicom_series(tmp_path: Path) -> None:
    touch(tmp_path / "segmentations" / "21057.nii")
    touch(tmp_path / "train_images" / "10004" / "21057" / "30.dcm")
    touch(tmp_path / "train_images" / "10004" / "51033" / "30.dcm")
    data = open_data_set(tmp_path)
    assert data.layout == "rsna"
    (record,) = data.records
    assert (record.name, record.patient, record.kind) == ("21057", "10004", "dicom")
    assert record.image == tmp_path / "train_images" / "10004" / "21057"


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="found none"):
        open_data_set(tmp_path)
    with pytest.raises(TrainingError, match=r"expected a layout of btcv, .*found 'kits'"):
        open_data_set(tmp_path, "kits")
    with pytest.raises(TrainingError, match="found none at"):
        open_data_set(tmp_path / "absent")
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(TrainingError, match="expected a reader of DICOM"):
        open_data_set(tmp_path)


def test_a_moved_data_set_has_the_same_records(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "images" / "FLARE22_Tr_0001_0000.nii.gz")
    before = names(tmp_path / "a")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "b") == before


def test_numbers_in_names_are_numbers() -> None:
    assert sorted(["b", "a10", "a9", "a"], key=natural) == ["a", "a9", "a10", "b"]


def test_a_folder_of_another_layout_is_told_what_it_looks_like(tmp_path: Path) -> None:
    make_btcv(tmp_path / "sets" / "abdomen", 1, tests=0, spacing_mm=12.0)
    with pytest.raises(TrainingError, match="layout flare22, found none; it looks like btcv"):
        open_data_set(tmp_path / "sets" / "abdomen", "flare22")
    with pytest.raises(TrainingError, match="there is one in its folder abdomen"):
        open_data_set(tmp_path / "sets")


def test_a_pattern_that_is_none_is_told(tmp_path: Path) -> None:
    make_btcv(tmp_path, 1, tests=0, spacing_mm=12.0)
    with pytest.raises(TrainingError, match="expected a regular expression"):
        open_data_set(tmp_path, patient_pattern="(")
