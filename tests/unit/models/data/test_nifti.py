"""NIfTI files that are damaged, or whose headers contradict themselves."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from models.data.inspection import inspect_records
from models.data.nifti import open_nifti
from models.data.problems import Problem
from models.data.records import Record
from models.errors import TrainingError
from tests.datasets.tiny import AFFINE_RAS, SHAPE, body, write_case

#: Offset of quatern_b, quatern_c and quatern_d in a NIfTI-1 header.
_QUATERNION = 256


def problems(record: Record) -> list[Problem]:
    return inspect_records([record], {}).problems


def write_array(path: Path, array: np.ndarray, affine_ras: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, affine_ras), path)
    return path


def test_nifti_is_ras_and_ijk_and_becomes_lps_and_kji(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)  # (i, j, k)
    affine = np.array([[-1.5, 0, 0, 10], [0, -2.5, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1.0]])
    file = open_nifti(write_array(tmp_path / "ct.nii.gz", array, affine))
    found = file.read()
    assert found.shape == file.geometry.shape == (4, 3, 2)
    assert found.dtype == np.int16
    assert found[3, 1, 0] == array[0, 1, 3]
    np.testing.assert_allclose(file.geometry.to_lps((0, 0, 0)), (-10, -20, 30))
    np.testing.assert_allclose(file.geometry.to_lps((1, 1, 1)), (-8.5, -17.5, 35))


def test_what_is_not_a_volume_is_refused(tmp_path: Path) -> None:
    flat = write_array(tmp_path / "flat.nii.gz", np.zeros((4, 4), np.int16), np.eye(4))
    series = write_array(tmp_path / "series.nii.gz", np.zeros((4, 4, 4, 2), np.int16), np.eye(4))
    for path in (flat, series):
        with pytest.raises(TrainingError, match="three dimensions"):
            open_nifti(path)


def test_a_file_that_is_missing_or_not_nifti_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.nii.gz"
    text.write_text("not an image")
    for path in (text, tmp_path / "absent.nii.gz"):
        with pytest.raises(TrainingError, match=path.name):
            open_nifti(path)


def test_a_sheared_nifti_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    path = write_array(tmp_path / "tilted.nii", np.zeros((4, 4, 4), np.int16), affine)
    with pytest.raises(TrainingError, match=r"tilted\.nii: .*shear"):
        open_nifti(path)


def two_forms(path: Path, quaternion: tuple[float, ...], s_code: int = 1) -> Path:
    """A file with an sform and a qform, of which the latter is turned to anything."""
    image = nibabel.Nifti1Image(body().transpose(2, 1, 0), AFFINE_RAS)
    image.set_qform(AFFINE_RAS, 1)
    image.set_sform(AFFINE_RAS, s_code)
    image.to_filename(path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<fff", raw, _QUATERNION, *quaternion)
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


@pytest.mark.parametrize("offset", [15, 30, 60, 120])
def test_a_damaged_start_of_a_gz_is_told(tmp_path: Path, offset: int) -> None:
    image, label = tmp_path / "a.nii.gz", tmp_path / "a_label.nii.gz"
    write_case(image, label)
    raw = bytearray(image.read_bytes())
    raw[offset] ^= 0xFF
    image.write_bytes(raw)
    record = Record(name="a", patient="a", kind="nifti", image=image, label=label)
    (problem,) = problems(record)
    assert (problem.kind, problem.severity) == ("unreadable", "error")
    assert str(image) in problem.found


@pytest.mark.parametrize("quaternion", [(0.9, 0.9, 0.9), (math.nan, 0.0, 0.0)])
def test_an_impossible_qform_beside_an_sform_is_a_warning(
    tmp_path: Path, quaternion: tuple[float, ...]
) -> None:
    image, label = tmp_path / "a.nii.gz", tmp_path / "a_label.nii.gz"
    write_case(image, label)
    two_forms(image, quaternion)
    file = open_nifti(image)
    assert file.forms_apart_mm == math.inf
    assert file.geometry.shape == SHAPE
    np.testing.assert_allclose(
        file.geometry.affine_lps, np.diag((-1.0, -1.0, 1.0, 1.0)) @ AFFINE_RAS
    )
    record = Record(name="a", patient="a", kind="nifti", image=image, label=label)
    (problem,) = problems(record)
    assert (problem.kind, problem.severity) == ("two orientations", "warning")
    assert problem.found == "a qform that is no rotation: the sform is used"


@pytest.mark.parametrize("quaternion", [(0.9, 0.9, 0.9), (math.nan, 0.0, 0.0)])
def test_an_impossible_qform_alone_is_told(tmp_path: Path, quaternion: tuple[float, ...]) -> None:
    path = two_forms(tmp_path / "a.nii.gz", quaternion, s_code=0)
    with pytest.raises(TrainingError, match=r"a\.nii\.gz: "):
        open_nifti(path)


def test_an_sform_without_a_qform_has_nothing_to_differ_from(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(body().transpose(2, 1, 0), AFFINE_RAS)
    image.set_sform(AFFINE_RAS, 1)
    image.set_qform(None, 0)
    image.to_filename(tmp_path / "a.nii")
    file = open_nifti(tmp_path / "a.nii")
    assert (file.placed, file.forms_apart_mm) == (True, 0.0)
