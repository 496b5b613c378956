"""Reading the cases that a training configuration names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from models.bundle_folders import SHIPPED
from models.errors import TrainingError
from models.geometry import Volume, VolumeGeometry
from models.training.sources import read_sources

NUMBERS = {"liver": 1, "spleen": 2, "gallbladder": 3}
PAIRS: dict[str, Any] = {"pairs": "train", "labels": {"liver": 6, "spleen": 1, "gallbladder": 4}}
SHAPE = (3, 4, 5)
#: RAS affine of `(i, j, k)`: the same grid as `grid()`.
AFFINE = np.array([[-2.0, 0, 0, 10], [0, -2.0, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])


def grid(first_z_mm: float = 30.0, step_mm: float = 5.0) -> VolumeGeometry:
    affine = np.diag((2.0, 2.0, step_mm, 1.0))
    affine[:3, 3] = (-10, -20, first_z_mm)
    return VolumeGeometry(shape=SHAPE, affine_lps=affine)


def never(folder: Path) -> Volume:
    raise AssertionError(f"{folder} is not to be read as DICOM")


def write_pair(folder: Path, name: str, labels: np.ndarray, status: dict[str, str] | None) -> None:
    folder.mkdir(exist_ok=True)
    hu = np.arange(-100, -40, dtype=np.int16).reshape(SHAPE)
    for kind, array in (("ct", hu), ("label", labels.astype(np.uint8))):
        image = nibabel.Nifti1Image(array.transpose(2, 1, 0), AFFINE)
        nibabel.save(image, folder / f"{name}_{kind}.nii.gz")
    if status is not None:
        (folder / f"{name}_status.json").write_text(json.dumps(status))


def labels_with(*values: int) -> np.ndarray:
    labels = np.zeros(60, np.uint8)
    labels[: len(values)] = values
    return labels.reshape(SHAPE)


def test_pairs_are_read_in_order_with_the_networks_classes(tmp_path: Path) -> None:
    for name in ("b-2-portal", "a-1-native", "b-2-native"):
        write_pair(tmp_path / "train", name, labels_with(6, 1, 4, 9), None)
    source = {**PAIRS, "exclude": ["b-2-native"], "patient_pattern": "[a-z]-[0-9]"}
    cases = read_sources([source], tmp_path, NUMBERS, never)
    assert [case.name for case in cases] == ["a-1-native", "b-2-portal"]
    assert [case.patient for case in cases] == ["a-1", "b-2"]
    assert cases[0].labels.ravel()[:5].tolist() == [1, 2, 3, 0, 0]
    assert cases[0].unlabelled == frozenset()
    assert cases[0].spacing_mm == pytest.approx((5.0, 2.0, 2.0))


def test_organs_that_a_source_does_not_name_are_unlabelled(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "one", labels_with(6, 1), None)
    (case,) = read_sources([{**PAIRS, "labels": {"liver": 6}}], tmp_path, NUMBERS, never)
    assert case.labels.ravel()[:2].tolist() == [1, 0]
    assert case.unlabelled == {2, 3}


def test_a_status_tells_which_organs_may_lack_their_label(tmp_path: Path) -> None:
    status = {"L": "bad", "S": "good", "GB": "absent"}
    write_pair(tmp_path / "train", "one", labels_with(6, 1, 4), status)
    source = {
        **PAIRS,
        "status": {"liver": "L", "spleen": "S", "gallbladder": "GB"},
        "unlabelled_when": {"gallbladder": ["bad", "absent"], "*": ["bad"]},
    }
    (case,) = read_sources([source], tmp_path, NUMBERS, never)
    assert case.unlabelled == {1, 3}
    assert case.labels.ravel()[:3].tolist() == [0, 2, 0]  # a bad label is no label
    (case,) = read_sources([{**source, "unlabelled_when": {}}], tmp_path, NUMBERS, never)
    assert case.unlabelled == frozenset()


@pytest.mark.parametrize("content", [b"", b'{"L": ', b"[]", b"\xff\xfe"])
def test_a_status_that_cannot_be_read_is_refused_by_its_name(
    tmp_path: Path, content: bytes
) -> None:
    write_pair(tmp_path / "train", "one", labels_with(6), None)
    (tmp_path / "train" / "one_status.json").write_bytes(content)
    source = {**PAIRS, "status": {"liver": "L"}, "unlabelled_when": {"*": ["bad"]}}
    with pytest.raises(TrainingError, match=r"one_status\.json: expected a JSON object, found \S+"):
        read_sources([source], tmp_path, NUMBERS, never)


def test_labels_of_a_series_that_were_cut_are_refused(tmp_path: Path) -> None:
    def cut() -> None:
        label = tmp_path / "one_label.nii.gz"
        label.write_bytes(label.read_bytes()[:-20])

    with pytest.raises(TrainingError, match=r"one_label\.nii\.gz: expected a .*file, found"):
        dicom_case(tmp_path, grid(), before_reading=cut)


def test_an_organ_that_the_network_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="found brain, heart"):
        read_sources([{**PAIRS, "labels": {"heart": 1, "brain": 2}}], tmp_path, NUMBERS, never)


def test_a_name_that_tells_no_patient_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "one", labels_with(6), None)
    with pytest.raises(TrainingError, match="found 'one'"):
        read_sources([{**PAIRS, "patient_pattern": "[0-9]+"}], tmp_path, NUMBERS, never)


def test_a_status_without_an_organ_that_the_recipe_asks_for_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "one", labels_with(6), {"Liver": "bad"})
    source = {**PAIRS, "status": {"liver": "liver"}, "unlabelled_when": {"*": ["bad"]}}
    told = r"one_status\.json: expected a state of 'liver', found those of Liver"
    with pytest.raises(TrainingError, match=told):
        read_sources([source], tmp_path, NUMBERS, never)


def test_mirrored_labels_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "one", labels_with(1, 1, 0, 6, 6), None)  # i leads to the left
    with pytest.raises(TrainingError, match="one: expected liver to the patient's right of spleen"):
        read_sources([PAIRS], tmp_path, NUMBERS, never)


def test_hidden_files_are_no_pairs(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "one", labels_with(6), None)
    (tmp_path / "train" / "._one_ct.nii.gz").write_bytes(b"of macOS")
    (case,) = read_sources([PAIRS], tmp_path, NUMBERS, never)
    assert case.name == "one"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="found none"):
        read_sources([PAIRS], tmp_path, NUMBERS, never)


def test_an_image_without_its_label_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "train", "one", labels_with(6), None)
    (tmp_path / "train" / "one_label.nii.gz").unlink()
    with pytest.raises(TrainingError, match="one_label"):
        read_sources([PAIRS], tmp_path, NUMBERS, never)


def test_a_single_nifti_case_is_read(tmp_path: Path) -> None:
    write_pair(tmp_path / "ct", "one", labels_with(6), None)
    source = {
        "image": "ct/one_ct.nii.gz",
        "label": "ct/one_label.nii.gz",
        "name": "example",
        "labels": {"liver": 6},
    }
    (case,) = read_sources([source], tmp_path, NUMBERS, never)
    assert (case.name, case.patient, case.labels.max()) == ("example", "example", 1)


def dicom_case(
    tmp_path: Path, geometry: VolumeGeometry, before_reading: Callable[[], None] = lambda: None
) -> Any:
    """A case whose image is a folder, read by the caller on `geometry`."""
    write_pair(tmp_path, "one", labels_with(6, 6), None)
    (tmp_path / "series").mkdir()
    source = {
        "image": "series",
        "label": "one_label.nii.gz",
        "name": "dicom",
        "labels": {"liver": 6},
    }
    hu = np.zeros(SHAPE, np.int16)
    before_reading()

    def reader(folder: Path) -> Volume:
        assert folder == tmp_path / "series"
        return Volume(hu=hu, geometry=geometry)

    return read_sources([source], tmp_path, NUMBERS, reader)


def test_labels_of_a_dicom_series_lie_on_its_grid(tmp_path: Path) -> None:
    (case,) = dicom_case(tmp_path, grid())
    assert case.labels[0, 0, :3].tolist() == [1, 1, 0]
    assert case.labels.sum() == 2


def test_slices_in_the_other_order_are_turned_to_the_series(tmp_path: Path) -> None:
    (case,) = dicom_case(tmp_path, grid(first_z_mm=40.0, step_mm=-5.0))
    # canonical again: the lowest slice is first, and it has the organ
    assert case.labels[0, 0, :3].tolist() == [1, 1, 0]
    assert case.labels.sum() == 2


@pytest.mark.parametrize(
    ("first_z_mm", "step_mm"), [(36.0, 5.0), (30.0, 5.5), (100.0, 5.0), (100.0, -5.0)]
)
def test_labels_of_another_grid_than_the_series_are_refused(
    tmp_path: Path, first_z_mm: float, step_mm: float
) -> None:
    with pytest.raises(TrainingError, match="grid"):
        dicom_case(tmp_path, grid(first_z_mm, step_mm))


WITH_SOURCES = [
    path
    for path in sorted(SHIPPED.glob("*/configs/train.json"))
    if "sources" in json.loads(path.read_text())
]


@pytest.mark.parametrize("path", WITH_SOURCES, ids=str)
def test_shipped_configurations_name_files_that_the_data_have(
    path: Path, shared_data: Path
) -> None:
    sources = json.loads(path.read_text())["sources"]
    assert sources
    for source in sources:
        if "pairs" in source:
            names = {file.name for file in (shared_data / source["pairs"]).glob("*_ct.nii.gz")}
            assert {f"{name}_ct.nii.gz" for name in source.get("exclude", [])} < names
        else:
            assert (shared_data / source["image"]).exists()
            assert (shared_data / source["label"]).is_file()
