"""From a CT on any grid to the network's grid and back, measured in millimetres.

A patient of ellipsoids is known at every point. It is scanned on grids as scanners and exporters
make them; organs must come back on the same grid, in the same place, on the same side.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from models.errors import BundleError
from models.geometry import Volume, VolumeGeometry
from models.intensity import Window
from models.network_grid import NetworkGrid
from models.orientation import AxisOrder
from models.preprocessing import MARGIN_MM, Prepared, Preprocessing, body_box, restore

#: Centre and radii in LPS mm. Body first; the others are classes 1 to 3.
BODY = ((4.0, -3.0, 2.0), (78.0, 66.0, 400.0))
LIVER = ((-31.0, -14.0, 21.0), (30.0, 24.0, 27.0))
LEFT_KIDNEY = ((36.0, 22.0, -9.0), (17.0, 19.0, 30.0))
RIGHT_KIDNEY = ((-35.0, 27.0, -24.0), (16.0, 18.0, 27.0))
ORGANS = (LIVER, LEFT_KIDNEY, RIGHT_KIDNEY)
NUMBERS = np.array([0, 6, 3, 9], np.uint8)
WINDOW = Window(low_hu=-200, high_hu=300)
SETTINGS = Preprocessing(grid=NetworkGrid(spacing_mm=(3.0, 3.0, 3.0)), window=WINDOW)
#: Grids of published recipes, made small.
RECIPES = {
    "spacing of three sizes": Preprocessing(
        grid=NetworkGrid(spacing_mm=(4.0, 2.5, 3.0)), window=WINDOW
    ),
    "without a crop": Preprocessing(
        grid=NetworkGrid(spacing_mm=(4.0, 2.5, 3.0)), window=WINDOW, crop=False
    ),
    "one shape for all": Preprocessing(
        grid=NetworkGrid(shape=(48, 64, 56)), window=WINDOW, crop=False
    ),
    "slices of one size": Preprocessing(
        grid=NetworkGrid(shape=(None, 72, 64)), window=WINDOW, crop=False
    ),
}

#: Columns i, j, k in LPS.
AXIAL = np.eye(3)
SAGITTAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]])
CORONAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
TURN = Rotation.from_euler("xyz", (12, -17, 23), degrees=True).as_matrix()
GRIDS = {
    "axial, pixels not square": (AXIAL, (5.0, 0.9, 1.7)),
    "descending slices": (AXIAL * (1, 1, -1), (4.2, 1.3, 1.1)),
    "feet first": (AXIAL * (-1, 1, -1), (5.0, 1.2, 1.2)),
    "prone": (AXIAL * (-1, -1, 1), (3.3, 1.4, 1.4)),
    "sagittal from right to left": (SAGITTAL, (4.0, 1.2, 1.5)),
    "sagittal from left to right": (SAGITTAL * (1, 1, -1), (4.0, 1.5, 1.2)),
    "coronal": (CORONAL, (4.5, 1.5, 1.3)),
    "coronal from back to front": (CORONAL * (1, 1, -1), (4.5, 1.3, 1.5)),
    "oblique": (TURN, (4.0, 1.2, 1.6)),
    "oblique, descending": (TURN * (1, 1, -1), (4.0, 1.6, 1.2)),
    "oblique sagittal": (TURN @ SAGITTAL, (4.0, 1.3, 1.7)),
    "coarser than the network": (AXIAL, (7.5, 3.7, 4.1)),
    "the network's own spacing": (AXIAL, (3.0, 3.0, 3.0)),
}


def inside(points_lps: NDArray[np.float64], ellipsoid: object) -> NDArray[np.bool_]:
    centre, radii = np.asarray(ellipsoid)
    within: NDArray[np.bool_] = (((points_lps - centre) / radii) ** 2).sum(axis=-1) <= 1
    return within


def places(geometry: VolumeGeometry) -> NDArray[np.float64]:
    return geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1))


def classes_at(points_lps: NDArray[np.float64]) -> NDArray[np.uint8]:
    classes = np.zeros(points_lps.shape[:-1], np.uint8)
    for number, organ in enumerate(ORGANS, start=1):
        classes[inside(points_lps, organ)] = number
    return classes


def grid(
    name: str, extent_mm: tuple[float, float, float] = (175.0, 150.0, 135.0)
) -> VolumeGeometry:
    """A grid `name` that covers about `extent_mm` (x, y, z) around the middle of the patient."""
    directions, spacing = GRIDS[name]
    along = np.abs(directions.T) @ extent_mm
    shape = np.ceil(along[::-1] / spacing).astype(int)
    half = (shape - 1) / 2 * spacing
    origin = np.array([1.3, -2.1, 3.7]) - directions @ half[::-1]
    return VolumeGeometry.from_spacing(shape, spacing, origin, directions)


def scan(geometry: VolumeGeometry, organ_hu: tuple[int, ...] = (60, 60, 60)) -> Volume:
    points = places(geometry)
    hu = np.where(inside(points, BODY), 20, -1000).astype(np.int16)
    for organ, value in zip(ORGANS, organ_hu, strict=True):
        hu[inside(points, organ)] = value
    return Volume(hu=hu, geometry=geometry)


def network_grid(prepared: Prepared) -> VolumeGeometry:
    """Where the voxels of `prepared.image` lie, from what its docstring promises."""
    canonical = prepared.order.geometry(prepared.source)
    first = [
        (corner - (samples - 1) / 2) * step + (size - 1) / 2
        for corner, samples, step, size in zip(
            prepared.corner,
            prepared.sampled_shape,
            prepared.step,
            prepared.canonical_shape,
            strict=True,
        )
    ]
    shape = prepared.image.shape[2:]
    spacing_mm = np.multiply(prepared.step, canonical.spacing_mm)
    return VolumeGeometry.from_spacing(
        shape, spacing_mm, canonical.to_lps(first), canonical.direction_lps
    )


def one_hot(classes: NDArray[np.uint8], count: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(classes).long(), count).movedim(-1, 0)


@pytest.mark.parametrize("name", GRIDS)
def test_an_oracles_organs_come_back_where_they_are(name: str) -> None:
    geometry = grid(name)
    prepared = SETTINGS.prepare(scan(geometry))
    scores = one_hot(classes_at(places(network_grid(prepared))), 4)
    result = restore(scores, prepared, NUMBERS)
    assert result.geometry is geometry
    truth = NUMBERS[classes_at(places(geometry))]
    for number in NUMBERS[1:]:
        _assert_same_place(result.labels == number, truth == number, geometry)
    left, right = result.centroid_lps(3), result.centroid_lps(9)
    assert left is not None
    assert right is not None
    assert right[0] < -30 < 30 < left[0]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["axial, pixels not square", "oblique, descending", "coronal"])
def test_organs_come_back_from_every_kind_of_grid(recipe: str, name: str) -> None:
    geometry = grid(name)
    prepared = RECIPES[recipe].prepare(scan(geometry))
    scores = one_hot(classes_at(places(network_grid(prepared))), 4)
    result = restore(scores, prepared, NUMBERS)
    truth = NUMBERS[classes_at(places(geometry))]
    for number in NUMBERS[1:]:
        _assert_same_place(result.labels == number, truth == number, geometry)


def test_a_grid_has_the_spacing_along_each_axis_that_was_asked_for() -> None:
    volume = scan(grid("axial, pixels not square"))  # 5.0 x 0.9 x 1.7 mm
    prepared = RECIPES["spacing of three sizes"].prepare(volume)
    np.testing.assert_allclose(prepared.step, (4.0 / 5.0, 2.5 / 0.9, 3.0 / 1.7))
    assert network_grid(prepared).spacing_mm == pytest.approx((4.0, 2.5, 3.0))


def test_a_volume_that_is_resized_is_covered_from_edge_to_edge() -> None:
    geometry = VolumeGeometry.from_spacing((12, 30, 40), (5.0, 0.9, 1.7))
    volume = Volume(hu=np.zeros(geometry.shape, np.int16), geometry=geometry)
    prepared = RECIPES["one shape for all"].prepare(volume)
    assert prepared.image.shape == (1, 1, 48, 64, 56)
    samples = network_grid(prepared)
    for axis in range(3):  # half a sample beyond the first and the last is the volume's edge
        covered = samples.shape[axis] * samples.spacing_mm[axis]
        assert covered == pytest.approx(geometry.shape[axis] * geometry.spacing_mm[axis])
    np.testing.assert_allclose(
        samples.to_lps((np.array(samples.shape) - 1) / 2),
        geometry.to_lps((np.array(geometry.shape) - 1) / 2),
    )


def test_slices_keep_their_number_and_place() -> None:
    geometry = VolumeGeometry.from_spacing((7, 30, 40), (5.0, 0.9, 1.7))
    hu = np.zeros(geometry.shape, np.int16)
    hu[:] = np.arange(7)[:, None, None] * 50 - 100
    prepared = RECIPES["slices of one size"].prepare(Volume(hu=hu, geometry=geometry))
    assert prepared.image.shape == (1, 1, 7, 72, 64)
    expected = WINDOW.apply(torch.arange(7) * 50 - 100)
    torch.testing.assert_close(prepared.image[0, 0, :, 30, 30], expected)


def test_the_scores_of_every_slice_are_told_and_sum_to_one() -> None:
    geometry = grid("coronal")
    prepared = SETTINGS.prepare(scan(geometry))
    scores = one_hot(classes_at(places(network_grid(prepared))), 4)
    told: dict[int, Tensor] = {}
    result = restore(scores, prepared, NUMBERS, on_scores=told.__setitem__)
    assert list(told) == list(range(prepared.canonical_shape[0]))
    stack = torch.stack([told[k] for k in told], dim=1)  # (C, D, H, W), canonical
    torch.testing.assert_close(stack.sum(dim=0), torch.ones(prepared.canonical_shape))
    labels = prepared.order.invert(NUMBERS[stack.argmax(dim=0).numpy()])
    np.testing.assert_array_equal(labels, result.labels)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"spacing_mm": 3, "shape": [8, 8, 8]},
        {"spacing_mm": [3, 0, 3]},
        {"spacing_mm": [3, 3]},
        {"shape": [8, -8, 8]},
        {"spacing_mm": 3, "range": [1, 0]},
        {"shape": [8, 8, 8], "crop": True},
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises((BundleError, ValueError)):
        Preprocessing.from_json({"low_hu": -200, "high_hu": 300, **entry})


def test_settings_are_read_as_a_bundle_has_them() -> None:
    hu = {"low_hu": -175, "high_hu": 250}
    read = Preprocessing.from_json({"spacing_mm": [2, 1.5, 1.5], "range": [0, 1], **hu})
    assert read.grid == NetworkGrid(spacing_mm=(2.0, 1.5, 1.5))
    assert read.crop
    assert read.window.apply(torch.tensor([-500.0, -175, 37.5, 250])).tolist() == pytest.approx(
        [0, 0, 0.5, 1]
    )
    assert Preprocessing.from_json({"spacing_mm": 3, **hu}).grid.spacing_mm == (3.0, 3.0, 3.0)
    slices = Preprocessing.from_json({"shape": [None, 512, 512], **hu})
    assert slices.grid == NetworkGrid(shape=(None, 512, 512))
    assert not slices.crop


@pytest.mark.parametrize("name", GRIDS)
def test_an_organ_found_by_its_brightness_comes_back_where_it_is(name: str) -> None:
    """Nothing but voxel values crosses the network here: no geometry is told to it."""
    geometry = grid(name)
    prepared = SETTINGS.prepare(scan(geometry, (-130, 20, 170)))
    seen = prepared.image[0, 0]
    edges = SETTINGS.window.apply(torch.tensor([20.0, -130.0, 170.0]))
    scores = torch.stack([-(seen - edge).abs() for edge in edges])  # the nearest value wins
    scores[1][seen <= -0.999] = -9.0  # air is not liver
    labels = restore(scores, prepared, np.array([0, 6, 9], np.uint8)).labels
    points = places(geometry)
    _assert_same_place(labels == 9, inside(points, RIGHT_KIDNEY), geometry)
    deep = (np.asarray(BODY[0]), np.asarray(BODY[1]) * 0.85)  # the skin is as dark as the liver
    _assert_same_place((labels == 6) & inside(points, deep), inside(points, LIVER), geometry)


def _assert_same_place(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], geometry: VolumeGeometry
) -> None:
    """Centroids within half a source voxel on each axis, volumes within 5 %."""
    assert found.any()
    apart = np.argwhere(found).mean(axis=0) - np.argwhere(truth).mean(axis=0)
    assert np.abs(apart).max() < 0.5, f"off by {apart} voxels of {geometry.spacing_mm} mm"
    assert found.sum() == pytest.approx(truth.sum(), rel=0.05)


@pytest.mark.parametrize("name", GRIDS)
def test_the_network_sees_the_patient_head_up_and_facing_front(name: str) -> None:
    """The image agrees with the patient at each place that its grid claims."""
    prepared = SETTINGS.prepare(scan(grid(name), (300, 300, 300)))
    seen_on = network_grid(prepared)
    assert (np.diag(seen_on.direction_lps) > 0.85).all()
    organ = (prepared.image[0, 0] > 0.44).numpy()  # half way between 20 and 300 HU
    truth = classes_at(places(seen_on)) > 0
    assert 2 * (organ & truth).sum() / (organ.sum() + truth.sum()) > 0.93


def test_the_empty_margin_is_cut_and_its_labels_are_background() -> None:
    geometry = grid("axial, pixels not square", extent_mm=(360.0, 340.0, 60.0))
    prepared = SETTINGS.prepare(scan(geometry))
    _, _, depth, height, width = prepared.image.shape
    assert (height, width) == pytest.approx(
        ((2 * 66 + 2 * MARGIN_MM) / 3, (2 * 78 + 2 * MARGIN_MM) / 3), abs=2
    )
    assert depth == prepared.sampled_shape[0]  # the body goes through the first and last slice
    scores = one_hot(classes_at(places(network_grid(prepared))), 4)
    labels = restore(scores, prepared, NUMBERS).labels
    assert labels.shape == geometry.shape
    _assert_same_place(labels == 6, inside(places(geometry), LIVER), geometry)


def test_what_was_cut_away_is_background_whatever_the_border_says() -> None:
    geometry = grid("axial, pixels not square", extent_mm=(360.0, 340.0, 60.0))
    prepared = SETTINGS.prepare(scan(geometry))
    scores = one_hot(np.ones(prepared.image.shape[2:], np.uint8), 2)  # organ everywhere
    labels = restore(scores, prepared, np.array([0, 5], np.uint8)).labels
    seen = network_grid(prepared).to_index(places(geometry))
    apart = np.maximum(-seen, seen - (np.array(prepared.image.shape[2:]) - 1)).max(axis=-1)
    assert (labels[apart <= 0] == 5).all()
    assert (labels[apart > 1] == 0).all()
    assert (apart > 1).sum() > labels.size / 2


@pytest.mark.parametrize("shape", [(1, 64, 51), (2, 40, 40), (9, 1, 30), (1, 1, 1)], ids=str)
def test_a_volume_of_few_slices_goes_there_and_back(shape: tuple[int, int, int]) -> None:
    geometry = VolumeGeometry.from_spacing(shape, (5.0, 1.1, 1.3), (-20, -20, 10))
    prepared = SETTINGS.prepare(scan(geometry))
    assert torch.isfinite(prepared.image).all()
    scores = one_hot(np.ones(prepared.image.shape[2:], np.uint8), 2)
    labels = restore(scores, prepared, np.array([0, 5], np.uint8)).labels
    np.testing.assert_array_equal(labels, np.full(shape, 5, np.uint8))


def test_a_volume_of_air_keeps_its_size() -> None:
    geometry = VolumeGeometry.from_spacing((6, 30, 30), (3.0, 3.0, 3.0))
    hu = np.full(geometry.shape, -1024, np.int16)
    prepared = SETTINGS.prepare(Volume(hu=hu, geometry=geometry))
    assert prepared.image.shape == (1, 1, 6, 30, 30)
    assert (prepared.image == -1).all()


def test_equal_spacing_and_order_give_the_voxels_themselves() -> None:
    hu = np.random.default_rng(0).integers(-300, 400, (9, 10, 11), np.int16)
    volume = Volume(hu=hu, geometry=VolumeGeometry.from_spacing(hu.shape, (3.0, 3.0, 3.0)))
    image = SETTINGS.prepare(volume).image[0, 0]
    torch.testing.assert_close(image, SETTINGS.window.apply(torch.from_numpy(hu.copy())))


def test_scores_are_interpolated_and_then_decided() -> None:
    """Between samples of 0.9 and 0.2 an organ ends where the line crosses 0.5."""
    geometry = VolumeGeometry.from_spacing((1, 1, 21), (3.0, 3.0, 0.3))
    volume = Volume(hu=np.zeros(geometry.shape, np.int16), geometry=geometry)
    prepared = SETTINGS.prepare(volume)  # samples at 0.15, 3.15, 6.15 - 0.3 and so on
    organ = torch.tensor([0.9, 0.2, 0.2])[: prepared.image.shape[-1]]
    at = network_grid(prepared).to_lps([(0, 0, n) for n in range(len(organ))])[:, 0]
    scores = torch.stack([1 - organ, organ])[:, None, None]
    labels = restore(scores, prepared, np.array([0, 1], np.uint8)).labels[0, 0]
    crossing = at[0] + 3.0 * 0.4 / 0.7
    np.testing.assert_array_equal(labels, (np.arange(21) * 0.3 < crossing).astype(np.uint8))


def test_body_box_keeps_a_margin_within_the_image() -> None:
    hu = torch.full((20, 30, 40), -1000.0)
    hu[1, 10:15, 20:39] = 0
    assert body_box(hu, (4, 4, 4)) == (slice(0, 6), slice(6, 19), slice(16, 40))


def test_progress_reaches_one_and_never_falls() -> None:
    geometry = grid("descending slices")
    prepared = SETTINGS.prepare(scan(geometry))
    told: list[float] = []
    restore(
        one_hot(np.zeros(prepared.image.shape[2:], np.uint8), 2), prepared, NUMBERS, told.append
    )
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= 2


def test_the_order_belongs_to_the_source() -> None:
    geometry = grid("coronal from back to front")
    prepared = SETTINGS.prepare(scan(geometry))
    assert prepared.source is geometry
    assert prepared.order == AxisOrder.closest(geometry)
