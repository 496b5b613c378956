"""Labelled volumes: axes, classes and files."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from models.errors import TrainingError
from models.geometry import LabelMap, Volume, VolumeGeometry
from models.training.cases import UNKNOWN, Case, folds, read_pair

#: Columns i, j, k of a sagittal scan from left to right.
SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])


def case_of(patient: str, name: str = "") -> Case:
    return Case(
        name=name or patient,
        patient=patient,
        hu=np.zeros((1, 1, 1), np.int16),
        labels=np.zeros((1, 1, 1), np.uint8),
        spacing_mm=(1.0, 1.0, 1.0),
        unlabelled=frozenset(),
    )


def sagittal(shift_mm: float = 0.0) -> VolumeGeometry:
    return VolumeGeometry.from_spacing(
        (4, 6, 8), (5.0, 0.7, 1.3), (40 + shift_mm, -10, 90), SAGITTAL
    )


def write(path: Path, array: np.ndarray, affine_ras: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine_ras), path)
    return path


def test_a_case_is_canonical_and_its_classes_are_the_networks() -> None:
    geometry = sagittal()
    labels = np.zeros(geometry.shape, np.uint8)
    labels[0, 1, 2] = 6  # k 0 is furthest left, j 1 near the head, i 2 near the front
    labels[3, 5, 7] = 9
    labels[1, 1, 1] = UNKNOWN
    labels[2, 2, 2] = 77  # not a class of this network
    hu = np.arange(labels.size, dtype=np.int16).reshape(labels.shape)
    case = Case.from_volume(
        Volume(hu=hu, geometry=geometry),
        LabelMap(labels=labels, geometry=sagittal(shift_mm=0.05)),
        name="one",
        patient="p",
        classes={6: 1, 9: 2},
        unlabelled=[3],
    )
    assert case.spacing_mm == pytest.approx((0.7, 1.3, 5.0))
    assert case.labels.shape == (6, 8, 4)
    # z runs to the head (j backwards), y to the back (i), x to the left (k backwards)
    assert case.labels[4, 2, 3] == 1
    assert case.labels[0, 7, 0] == 2
    assert case.labels[4, 1, 2] == UNKNOWN
    assert case.labels[3, 2, 1] == 0
    assert case.hu[4, 2, 3] == hu[0, 1, 2]
    assert case.unlabelled == {3}
    np.testing.assert_allclose(case.volume.geometry.direction_lps, np.eye(3))
    assert case.volume.geometry.spacing_mm == pytest.approx(case.spacing_mm)


def test_labels_on_another_grid_are_refused() -> None:
    volume = Volume(hu=np.zeros((4, 6, 8), np.int16), geometry=sagittal())
    labels = LabelMap(labels=np.zeros((4, 6, 8), np.uint8), geometry=sagittal(shift_mm=0.2))
    with pytest.raises(TrainingError, match="case 7: image and labels lie on different grids"):
        Case.from_volume(volume, labels, name="case 7", patient="p", classes={1: 1})


def test_hu_are_rounded_to_sixteen_bits(tmp_path: Path) -> None:
    hu = np.array([-1000.6, 0.4, 0.6, 32767.0, -32768.0], np.float32).reshape(5, 1, 1)
    image = write(tmp_path / "ct.nii.gz", hu, np.eye(4))
    label = write(tmp_path / "label.nii.gz", np.full((5, 1, 1), 3, np.int16), np.eye(4))
    volume, labels = read_pair(image, label)
    assert volume.hu.ravel().tolist() == [-1001, 0, 1, 32767, -32768]
    assert labels.labels.ravel().tolist() == [3] * 5


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0, 100, 255], "8-bit grey values"),
        ([-1000.0, np.nan, 40], "1 voxels of NaN"),
        ([-1000, 40, 40000], "within 16 bits"),
    ],
)
def test_an_image_that_is_not_in_hu_is_refused(
    tmp_path: Path, values: list[float], told: str
) -> None:
    pixels = np.array(values, np.float32).reshape(3, 1, 1)
    image = write(tmp_path / "ct.nii.gz", pixels, np.eye(4))
    label = write(tmp_path / "label.nii.gz", np.zeros((3, 1, 1), np.uint8), np.eye(4))
    with pytest.raises(TrainingError, match=rf"ct\.nii\.gz: expected .*{told}"):
        read_pair(image, label)


@pytest.mark.parametrize("value", [256, 300, -1, 2.5])
def test_label_values_that_eight_bits_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    hu = np.arange(-100, 60, 20, dtype=np.int16).reshape(2, 2, 2)
    image = write(tmp_path / "ct.nii.gz", hu, np.eye(4))
    labels = np.full((2, 2, 2), value, np.float32)
    label = write(tmp_path / "label.nii.gz", labels, np.eye(4))
    with pytest.raises(TrainingError, match=r"label\.nii\.gz: expected whole label values"):
        read_pair(image, label)


@pytest.mark.parametrize("damaged", ["ct", "label"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
def test_a_file_that_was_cut_is_refused_by_its_name(
    tmp_path: Path, damaged: str, keep: float
) -> None:
    array = np.random.default_rng(0).integers(0, 200, (12, 12, 12), np.int16)
    paths = {
        "ct": write(tmp_path / "ct.nii.gz", array - 100, np.eye(4)),
        "label": write(tmp_path / "label.nii.gz", array, np.eye(4)),
    }
    content = paths[damaged].read_bytes()
    paths[damaged].write_bytes(content[: int(keep * len(content))])
    with pytest.raises(TrainingError, match=rf"{damaged}\.nii\.gz: expected a .*file, found"):
        read_pair(paths["ct"], paths["label"])


def test_a_pair_with_a_channel_is_a_volume(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    image = write(tmp_path / "ct.nii.gz", array * 10 - 100, np.eye(4))
    label = write(tmp_path / "label.nii.gz", array.astype(np.uint8), np.eye(4))
    volume, labels = read_pair(image, label)
    assert volume.hu.shape == labels.labels.shape == (4, 3, 2)
    assert (volume.hu[3, 1, 0] + 100) / 10 == labels.labels[3, 1, 0] == array[0, 1, 3, 0]


def test_folds_keep_patients_together_and_are_nearly_equal() -> None:
    cases = [
        case_of(p, f"{p}-{n}")
        for p, count in zip("abcdef", (5, 1, 2, 2, 1, 1), strict=True)
        for n in range(count)
    ]
    dealt = folds(cases, 3)
    assert sorted(patient for fold in dealt for patient in fold) == list("abcdef")
    sizes = [sum(case.patient in fold for case in cases) for fold in dealt]
    assert sorted(sizes) == [3, 4, 5]
    assert folds(cases[::-1], 3) == dealt


@pytest.mark.parametrize("count", [0, 1, 4])
def test_impossible_numbers_of_folds_are_refused(count: int) -> None:
    with pytest.raises(TrainingError, match="2 to 3 folds"):
        folds([case_of(patient) for patient in "abc"], count)
