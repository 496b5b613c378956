"""CT series as written: geometry, stored values and identity, read back from the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from models.geometry import Volume, VolumeGeometry
from operators.ct_series import SIGNED, UNSIGNED, SeriesIdentity, Storage, write_ct_series
from operators.errors import OutputError
from operators.loading import scan
from operators.splitting import split_series
from operators.volumes import build_volume

IDENTITY = SeriesIdentity(seed_text="test")


def rotation() -> np.ndarray:
    a, b = np.radians(25.0), np.radians(-10.0)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


def oblique_volume(flip_k: bool = False) -> Volume:
    """A non-cubic grid with three different spacings, turned about two axes."""
    directions = rotation()
    if flip_k:
        directions = directions * (1.0, 1.0, -1.0)
    geometry = VolumeGeometry.from_spacing(
        (5, 6, 8), (2.5, 0.7, 1.3), (-12.5, 33.25, -410.75), directions
    )
    hu = np.random.default_rng(1).integers(-1024, 3072, geometry.shape, dtype=np.int16)
    return Volume(hu=hu, geometry=geometry)


def volume_in(folder: Path) -> Volume:
    (series,) = scan(folder).studies[0].series
    (candidate,) = split_series(series, series.instances)
    return build_volume(candidate).volume


def read(paths: list[Path]) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in paths]


def test_row_spacing_comes_first(tmp_path: Path) -> None:
    for dataset in read(write_ct_series(oblique_volume(), tmp_path, IDENTITY)):
        assert [float(v) for v in dataset.PixelSpacing] == [0.7, 1.3]
        assert float(dataset.SliceThickness) == 2.5
        assert (dataset.Rows, dataset.Columns) == (6, 8)


def test_orientation_and_positions_place_every_slice(tmp_path: Path) -> None:
    volume = oblique_volume()
    directions = volume.geometry.direction_lps
    for k, dataset in enumerate(read(write_ct_series(volume, tmp_path, IDENTITY))):
        expected = np.concatenate([directions[:, 0], directions[:, 1]])
        np.testing.assert_allclose(
            np.array(dataset.ImageOrientationPatient, float), expected, atol=1e-9
        )
        np.testing.assert_allclose(
            np.array(dataset.ImagePositionPatient, float),
            volume.geometry.to_lps((k, 0, 0)),
            atol=1e-9,
        )


@pytest.mark.parametrize(
    "storage",
    [UNSIGNED, SIGNED, Storage(rescale_slope=0.5, rescale_intercept=-500.0)],
    ids=["unsigned", "signed", "half steps"],
)
def test_hounsfield_units_come_back(tmp_path: Path, storage: Storage) -> None:
    volume = oblique_volume()
    for k, dataset in enumerate(read(write_ct_series(volume, tmp_path, IDENTITY, storage=storage))):
        assert dataset.PixelRepresentation == int(storage.signed)
        assert dataset.RescaleType == "HU"
        hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_array_equal(hu, volume.hu[k])


def test_the_volume_comes_back_from_shuffled_files(tmp_path: Path) -> None:
    volume = oblique_volume()
    paths = write_ct_series(volume, tmp_path, IDENTITY, shuffle_seed=3)
    numbers = [int(dataset.InstanceNumber) for dataset in read(paths)]
    assert sorted(numbers) == [1, 2, 3, 4, 5]
    assert numbers != sorted(numbers)
    assert [path.name for path in paths] == [f"CT{number:05d}.dcm" for number in numbers]
    found = volume_in(tmp_path)
    assert found.geometry.agrees_with(volume.geometry, 1e-6)
    np.testing.assert_array_equal(found.hu, volume.hu)


def test_a_descending_grid_comes_back_with_k_reversed(tmp_path: Path) -> None:
    volume = oblique_volume(flip_k=True)
    write_ct_series(volume, tmp_path, IDENTITY)
    found = volume_in(tmp_path)
    np.testing.assert_array_equal(found.hu, volume.hu[::-1])
    np.testing.assert_allclose(
        found.geometry.to_lps((0, 2, 3)), volume.geometry.to_lps((4, 2, 3)), atol=1e-6
    )


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_ct_series(oblique_volume(), tmp_path / "a", IDENTITY)
    second = write_ct_series(oblique_volume(), tmp_path / "b", IDENTITY)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_series_of_one_seed_text_share_study_and_frame_only(tmp_path: Path) -> None:
    other = SeriesIdentity(seed_text="test", SeriesNumber=3)
    first = read(write_ct_series(oblique_volume(), tmp_path / "a", IDENTITY))
    second = read(write_ct_series(oblique_volume(), tmp_path / "b", other))
    assert first[0].StudyInstanceUID == second[0].StudyInstanceUID
    assert first[0].FrameOfReferenceUID == second[0].FrameOfReferenceUID
    assert first[0].SeriesInstanceUID != second[0].SeriesInstanceUID
    assert len({dataset.SOPInstanceUID for dataset in first + second}) == 10


def test_other_voxels_make_another_series(tmp_path: Path) -> None:
    volume = oblique_volume()
    changed = Volume(hu=(volume.hu + np.int16(1)).astype(np.int16), geometry=volume.geometry)
    first = read(write_ct_series(volume, tmp_path / "a", IDENTITY))
    second = read(write_ct_series(changed, tmp_path / "b", IDENTITY))
    assert first[0].SeriesInstanceUID != second[0].SeriesInstanceUID


def test_a_name_in_two_scripts_survives(tmp_path: Path) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    identity = SeriesIdentity(seed_text="test", PatientName=name)
    dataset = read(write_ct_series(oblique_volume(), tmp_path, identity))[0]
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert str(dataset.PatientName) == name
    assert dataset.PatientName.family_name == "Yamada"
    assert dataset.PatientName.ideographic == "山田^太郎"


def test_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="0 to 65535"):
        write_ct_series(oblique_volume(), tmp_path, IDENTITY, storage=Storage(signed=False))
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="taken"):
        write_ct_series(oblique_volume(), tmp_path / "taken", IDENTITY)
