"""Contours of RT structure sets are filled at the pixels they enclose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from app.miniature_dicom import outlines, write_rtstruct
from operators.errors import ImagingError, VolumeError
from operators.label_reading import labels_from_dicom, names_in
from operators.label_reading_contours import fill
from operators.label_reading_names import LabelNumbers
from operators.volumes import SeriesVolume
from tests.datasets.series import DIRECTIONS, SHAPE, ct_series, label_map

NUMBERS = LabelNumbers({"Liver": 1, "Spleen": 2, "Left kidney": 3, "Right kidney": 4})


def ring(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """A liver with a hole and an island in it, a spleen that touches it, and a single voxel."""
    labels = np.zeros(shape, np.uint8)
    labels[1:5, 1:8, 1:8] = 1
    labels[1:5, 2:7, 2:7] = 0
    labels[2:5, 4, 4] = 1
    labels[2:6, 8:10, 2:6] = 2
    labels[3:6, 3, 5] = 3
    labels[6, 0, 0] = 4
    return labels


def structures(folder: Path, source: SeriesVolume, labels: NDArray[np.uint8]) -> Path:
    path = folder / "structures"
    write_rtstruct(source, label_map(source, labels), path)
    return path


def changed(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def source(tmp_path: Path) -> SeriesVolume:
    return ct_series(tmp_path / "ct")


@pytest.mark.parametrize("orientation", DIRECTIONS)
def test_outlines_of_pixels_come_back_exactly(tmp_path: Path, orientation: str) -> None:
    source = ct_series(tmp_path / "ct", DIRECTIONS[orientation])
    path = structures(tmp_path, source, ring())
    found = labels_from_dicom(path, source, NUMBERS)
    np.testing.assert_array_equal(found.label_map.labels, ring())
    assert found.values == {1, 2, 3, 4}
    assert names_in(path) == ["Liver", "Spleen", "Left kidney", "Right kidney"]


def test_noise_comes_back_exactly() -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        mask = rng.random((30, 40)) < share
        found = np.zeros_like(mask)
        for line in outlines(mask):
            found ^= fill(line, mask.shape)
        np.testing.assert_array_equal(found, mask)


def test_a_smooth_contour_encloses_the_pixels_of_its_equation() -> None:
    """An ellipse, off the raster and leaning, against its own equation at every centre."""
    angle, (a, b), (j0, i0) = np.radians(25), (17.3, 9.6), (30.2, 33.7)
    t = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    u, v = a * np.cos(t), b * np.sin(t)
    points = np.column_stack(
        (j0 + u * np.sin(angle) + v * np.cos(angle), i0 + u * np.cos(angle) - v * np.sin(angle))
    )
    j, i = np.indices((60, 70))
    x = (i - i0) * np.cos(angle) + (j - j0) * np.sin(angle)
    y = -(i - i0) * np.sin(angle) + (j - j0) * np.cos(angle)
    inside = (x / a) ** 2 + (y / b) ** 2
    found = fill(points, (60, 70))
    clear = np.abs(inside - 1) > 2e-3
    np.testing.assert_array_equal(found[clear], inside[clear] < 1)
    assert int(found.sum()) == pytest.approx(np.pi * a * b, rel=0.01)


def test_centres_on_a_line_belong_to_it_on_every_side() -> None:
    """Some programs draw through the centres of the outermost pixels."""
    points = np.array([[2, 1], [2, 5], [6, 5], [6, 1]], float)
    expected = np.zeros((9, 8), bool)
    expected[2:7, 1:6] = True
    np.testing.assert_array_equal(fill(points, (9, 8)), expected)
    np.testing.assert_array_equal(fill(points[::-1], (9, 8)), expected)
    tenth_of_a_micron = points + 1e-4
    np.testing.assert_array_equal(fill(tenth_of_a_micron, (9, 8)), expected)


def test_a_keyhole_is_a_hole() -> None:
    outer = [[0.5, 0.5], [0.5, 8.5], [8.5, 8.5], [8.5, 0.5]]
    inner = [[2.5, 2.5], [6.5, 2.5], [6.5, 6.5], [2.5, 6.5]]
    keyhole = np.array([*outer, outer[0], inner[0], *inner[1:], inner[0]])
    expected = np.zeros((10, 10), bool)
    expected[1:9, 1:9] = True
    expected[3:7, 3:7] = False
    np.testing.assert_array_equal(fill(keyhole, (10, 10)), expected)


def test_what_reaches_beyond_the_slice_is_cut() -> None:
    points = np.array([[-5, -5], [-5, 3.5], [2.5, 3.5], [2.5, -5]], float)
    expected = np.zeros((4, 5), bool)
    expected[:3, :4] = True
    np.testing.assert_array_equal(fill(points, (4, 5)), expected)


def test_a_region_that_was_named_but_never_drawn_is_not_spoken_of(
    tmp_path: Path, source: SeriesVolume
) -> None:
    path = structures(tmp_path, source, np.where(ring() == 1, ring(), 0).astype(np.uint8))
    found = labels_from_dicom(path, source, NUMBERS)
    assert found.values == {1}
    assert found.ignored == ("Spleen", "Left kidney", "Right kidney")


def test_points_and_lines_enclose_nothing(tmp_path: Path, source: SeriesVolume) -> None:
    def add_point(dataset: Dataset) -> None:
        point = Dataset()
        point.ContourGeometricType = "POINT"
        point.NumberOfContourPoints = 1
        point.ContourData = [0, 0, 0]
        line = Dataset()
        line.ContourGeometricType = "CLOSED_PLANAR"
        line.NumberOfContourPoints = 2
        line.ContourData = [0, 0, 0, 1, 1, 0]
        dataset.ROIContourSequence[0].ContourSequence += [point, line]

    path = changed(structures(tmp_path, source, ring()), add_point)
    found = labels_from_dicom(path, source, NUMBERS)
    np.testing.assert_array_equal(found.label_map.labels, ring())


def first_contour(dataset: Dataset) -> Dataset:
    contour: Dataset = dataset.ROIContourSequence[0].ContourSequence[0]
    return contour


def raised(mm: float) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        data = np.array(first_contour(dataset).ContourData, float)
        data[2::3] += mm
        first_contour(dataset).ContourData = [f"{x:.3f}" for x in data]

    return change


def opened(dataset: Dataset) -> None:
    first_contour(dataset).ContourGeometricType = "OPEN_PLANAR"


def shortened(dataset: Dataset) -> None:
    first_contour(dataset).ContourData = first_contour(dataset).ContourData[:5]


def elsewhere(dataset: Dataset) -> None:
    dataset.FrameOfReferenceUID = "1.2.3"


def thinned(dataset: Dataset) -> None:
    """As if drawn on a series of slices twice as far apart."""
    heights = sorted(
        {float(c.ContourData[2]) for c in dataset.ROIContourSequence[0].ContourSequence}
    )
    for region in dataset.ROIContourSequence:
        region.ContourSequence = [
            c for c in region.ContourSequence if float(c.ContourData[2]) in heights[::2]
        ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (raised(1.6), r"expected every contour on a slice of the series, found it 1\.60 mm"),
        (raised(-50), r"expected every contour on a slice"),
        (opened, r"expected contours of type CLOSED_PLANAR or CLOSEDPLANAR_XOR, found OPEN_PLANAR"),
        (shortened, r"expected contours of points \(x, y, z\), found 5 numbers"),
        (elsewhere, r"expected the frame of reference of the series"),
    ],
)
def test_contours_that_cannot_be_filled_are_refused(
    tmp_path: Path, source: SeriesVolume, change: Callable[[Dataset], None], message: str
) -> None:
    path = changed(structures(tmp_path, source, ring()), change)
    with pytest.raises(VolumeError, match=message):
        labels_from_dicom(path, source, NUMBERS)


def test_contours_of_a_series_with_wider_slices_are_refused(tmp_path: Path) -> None:
    shape = (12, 9, 9)
    source = ct_series(tmp_path / "ct", shape=shape)
    labels = np.zeros(shape, np.uint8)
    labels[1:10, 2:6, 2:6] = 1
    path = changed(structures(tmp_path, source, labels), thinned)
    with pytest.raises(VolumeError, match="found them on every 2th: they were drawn on another"):
        labels_from_dicom(path, source, NUMBERS)


def test_a_contour_a_little_beside_its_slice_counts_for_it(
    tmp_path: Path, source: SeriesVolume
) -> None:
    path = changed(structures(tmp_path, source, ring()), raised(0.9))
    found = labels_from_dicom(path, source, NUMBERS)
    np.testing.assert_array_equal(found.label_map.labels, ring())


def test_a_structure_set_without_contours_is_refused(tmp_path: Path, source: SeriesVolume) -> None:
    path = changed(
        structures(tmp_path, source, ring()), lambda dataset: delattr(dataset, "ROIContourSequence")
    )
    with pytest.raises(ImagingError, match="expected ROIContourSequence, found none"):
        labels_from_dicom(path, source, NUMBERS)
