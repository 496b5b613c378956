"""Grids in the patient: what may exist, and where its voxels lie."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.errors import GeometryError
from models.geometry import LabelMap, Volume, VolumeGeometry

#: Columns i, j, k of an oblique grid whose slices go from head to feet.
OBLIQUE = Rotation.from_euler("xyz", (11, -24, 37), degrees=True).as_matrix() * (1, 1, -1)


def affine(**changes: float) -> NDArray[np.float64]:
    """An identity affine with entries such as `a01=0.5` replaced."""
    matrix = np.eye(4)
    for name, value in changes.items():
        matrix[int(name[1]), int(name[2])] = value
    return matrix


def oblique() -> VolumeGeometry:
    return VolumeGeometry.from_spacing((5, 7, 9), (4.7, 0.9, 1.3), (-31.0, 12.5, 880.25), OBLIQUE)


@pytest.mark.parametrize(
    "shape", [(4, 5), (4, 5, 6, 1), (4, 0, 6), (-1, 5, 6), ()], ids=lambda s: f"{len(s)} sizes {s}"
)
def test_a_shape_that_is_no_volume_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(GeometryError, match="three positive sizes"):
        VolumeGeometry(shape=shape, affine_lps=np.eye(4))


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (np.eye(3), "4 x 4"),
        (np.eye(4)[:3], "4 x 4"),
        (affine(a00=np.nan), "finite"),
        (affine(a23=np.inf), "finite"),
        (affine(a33=2.0), "last row"),
        (affine(a30=1.0), "last row"),
        (affine(a11=0.0), "positive spacings"),
        (affine(a01=0.1), "shear of 5.7"),
        (affine(a12=2e-4), "shear"),
        (affine(a00=0.0, a11=0.0, a01=1.0, a02=0.0), "positive spacings"),
    ],
)
def test_an_affine_that_is_no_grid_in_the_patient_is_refused(
    matrix: NDArray[np.float64], reason: str
) -> None:
    with pytest.raises(GeometryError, match=reason):
        VolumeGeometry(shape=(4, 5, 6), affine_lps=matrix)


def test_rounded_direction_cosines_are_accepted() -> None:
    rounded = VolumeGeometry.from_spacing((4, 5, 6), (5.0, 0.7, 0.7), (0, 0, 0), OBLIQUE.round(6))
    assert rounded.spacing_mm == pytest.approx((5.0, 0.7, 0.7), abs=1e-5)
    VolumeGeometry(shape=(4, 5, 6), affine_lps=affine(a12=5e-5))


def test_a_negative_spacing_is_refused_rather_than_mirrored() -> None:
    with pytest.raises(GeometryError):
        VolumeGeometry.from_spacing((4, 5, 6), (5.0, 0.7, -0.7))


def test_the_grid_keeps_its_own_affine() -> None:
    given = affine(a03=10.0)
    geometry = VolumeGeometry(shape=(4, 5, 6), affine_lps=given)
    given[0, 3] = 99.0
    assert geometry.affine_lps[0, 3] == 10.0
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine_lps[0, 3] = 99.0


def test_index_order_is_kji_and_world_order_is_xyz() -> None:
    geometry = VolumeGeometry.from_spacing((4, 5, 6), (5.0, 0.7, 1.3), (100.0, -20.0, 7.0))
    np.testing.assert_allclose(geometry.to_lps((2, 3, 4)), (100 + 4 * 1.3, -20 + 3 * 0.7, 7 + 10))
    assert geometry.spacing_mm == pytest.approx((5.0, 0.7, 1.3))
    assert geometry.voxel_volume_ml == pytest.approx(5.0 * 0.7 * 1.3 / 1000)


def test_a_sagittal_grid_has_its_slices_along_x() -> None:
    columns = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])  # i to the back, j down, k to the right
    geometry = VolumeGeometry.from_spacing((4, 5, 6), (5.0, 0.7, 1.3), (40, 0, 0), columns)
    np.testing.assert_allclose(geometry.to_lps((1, 1, 1)), (35.0, 1.3, -0.7))
    np.testing.assert_allclose(geometry.direction_lps, columns, atol=1e-12)


def test_lps_and_index_are_inverse_on_an_oblique_anisotropic_grid() -> None:
    geometry = oblique()
    points = np.random.default_rng(0).uniform(-50, 50, (3, 17, 3))
    np.testing.assert_allclose(geometry.to_index(geometry.to_lps(points)), points, atol=1e-9)
    np.testing.assert_allclose(geometry.to_lps(geometry.to_index(points)), points, atol=1e-9)
    np.testing.assert_allclose(geometry.to_lps((0, 0, 0)), (-31.0, 12.5, 880.25))
    np.testing.assert_allclose(geometry.direction_lps, OBLIQUE, atol=1e-12)
    step = geometry.to_lps((0, 1, 0)) - geometry.to_lps((0, 0, 0))
    np.testing.assert_allclose(step, 0.9 * OBLIQUE[:, 1], atol=1e-9)


def test_grids_agree_only_where_all_corners_do() -> None:
    geometry = oblique()

    def moved(by_mm: float, turn_degrees: float = 0.0) -> VolumeGeometry:
        turned = Rotation.from_euler("z", turn_degrees, degrees=True).as_matrix() @ OBLIQUE
        origin = geometry.affine_lps[:3, 3] + (by_mm, 0, 0)
        return VolumeGeometry.from_spacing(geometry.shape, geometry.spacing_mm, origin, turned)

    assert geometry.agrees_with(moved(0.9e-3))
    assert not geometry.agrees_with(moved(1.1e-3))
    assert geometry.agrees_with(moved(0.5), tolerance_mm=0.6)
    assert not geometry.agrees_with(moved(0.0, turn_degrees=0.02))  # the far corners are apart
    other = VolumeGeometry(shape=(5, 9, 7), affine_lps=geometry.affine_lps)
    assert not geometry.agrees_with(other)


def test_a_volume_must_fit_its_grid_and_cannot_be_changed() -> None:
    geometry = oblique()
    hu = np.zeros(geometry.shape, np.int16)
    volume = Volume(hu=hu, geometry=geometry)
    assert volume.hu is hu
    with pytest.raises(ValueError, match="read-only"):
        volume.hu[0, 0, 0] = 1
    with pytest.raises(GeometryError, match="int16"):
        Volume(hu=hu.astype(np.float32), geometry=geometry)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=r"shape \(5, 7, 9\), found \(9, 7, 5\)"):
        Volume(hu=hu.transpose(), geometry=geometry)


def test_labels_must_fit_their_grid_and_cannot_be_changed() -> None:
    geometry = oblique()
    labels = np.zeros(geometry.shape, np.uint8)
    label_map = LabelMap(labels=labels, geometry=geometry)
    with pytest.raises(ValueError, match="read-only"):
        label_map.labels[0, 0, 0] = 1
    with pytest.raises(GeometryError, match="uint8"):
        LabelMap(labels=labels.astype(np.int16), geometry=geometry)  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="shape"):
        LabelMap(labels=labels[1:], geometry=geometry)


def test_a_centroid_is_the_mean_place_of_the_voxels() -> None:
    geometry = oblique()
    labels = np.zeros(geometry.shape, np.uint8)
    voxels = [(0, 1, 2), (4, 6, 8), (2, 3, 1)]
    for voxel in voxels:
        labels[voxel] = 7
    label_map = LabelMap(labels=labels, geometry=geometry)
    centroid = label_map.centroid_lps(7)
    assert centroid is not None
    np.testing.assert_allclose(centroid, geometry.to_lps(voxels).mean(axis=0))
    assert label_map.centroid_lps(3) is None
