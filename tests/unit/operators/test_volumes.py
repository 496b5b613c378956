from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from operators.errors import PixelDataError, VolumeError
from operators.loading import scan_folder
from operators.series import Instance, Series
from operators.volumes import build_volume, stack_slices

DEPTH, HEIGHT, WIDTH = 7, 5, 4
ROW_SPACING_MM, COLUMN_SPACING_MM, STEP_MM = 0.75, 1.25, 2.5
ORIGIN = np.array([-101.5, -77.25, 310.125])


def rotation(degrees_x: float, degrees_z: float) -> NDArray[np.float64]:
    """Columns are the directions of i, j and k."""
    x, z = np.radians([degrees_x, degrees_z])
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x)


def headers_of(axes: NDArray[np.float64] | None = None, depth: int = DEPTH) -> list[Dataset]:
    """Anisotropic slices, in order of k."""
    axes = np.eye(3) if axes is None else axes
    headers = []
    for k in range(depth):
        header = Dataset()
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = f"1.2.3.{1000 - 37 * k % 500}"
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2", "1.2.3"
        header.FrameOfReferenceUID = "1.9"
        header.Rows, header.Columns = HEIGHT, WIDTH
        header.PixelSpacing = [ROW_SPACING_MM, COLUMN_SPACING_MM]
        header.ImageOrientationPatient = [f"{v:.9f}" for v in axes[:, :2].T.ravel()]
        header.ImagePositionPatient = [f"{v:.6f}" for v in ORIGIN + k * STEP_MM * axes[:, 2]]
        headers.append(header)
    return headers


def series_of(headers: list[Dataset]) -> Series:
    instances = [Instance(path=Path("unused"), header=header) for header in headers]
    instances.sort(key=lambda instance: instance.SOPInstanceUID)
    return Series(StudyInstanceUID="1.2", SeriesInstanceUID="1.2.3", instances=tuple(instances))


def move(header: Dataset, *offset_mm: float) -> None:
    header.ImagePositionPatient = [
        float(p) + o for p, o in zip(header.ImagePositionPatient, offset_mm, strict=True)
    ]


def write_series(folder: Path, headers: list[Dataset], stored: list[NDArray[np.int16]]) -> Series:
    names = random.Random(3).sample(range(100), len(headers))
    folder.mkdir(exist_ok=True)
    for name, header, pixels in zip(names, headers, stored, strict=True):
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        header.PixelRepresentation = 1
        header.add_new("PixelData", "OW", pixels.tobytes())
        dcmwrite(folder / f"{name}.dcm", header, enforce_file_format=True)
    return scan_folder(folder).studies[0].series[0]


@pytest.mark.parametrize(
    "axes",
    [
        np.eye(3),
        rotation(0, 180),
        rotation(180, 0),
        rotation(90, 0),
        rotation(17, -33),
        rotation(-62, 118),
    ],
    ids=["axial", "prone", "feet up", "coronal", "oblique", "very oblique"],
)
def test_every_pixel_centre_lies_where_its_own_header_says(axes):
    series = series_of(headers_of(axes))
    stack = stack_slices(series)
    assert stack.geometry.shape == (DEPTH, HEIGHT, WIDTH)
    assert stack.geometry.affine_lps.dtype == np.float64
    np.testing.assert_allclose(
        stack.geometry.spacing_mm, (STEP_MM, ROW_SPACING_MM, COLUMN_SPACING_MM), atol=1e-6
    )
    for k, instance in enumerate(stack.instances):
        for j, i in ((0, 0), (HEIGHT - 1, 1), (2, WIDTH - 1)):
            along, down = axes[:, 0] * COLUMN_SPACING_MM, axes[:, 1] * ROW_SPACING_MM
            position = np.array(instance.header.ImagePositionPatient, float)
            np.testing.assert_allclose(
                stack.geometry.to_lps((k, j, i)), position + i * along + j * down, atol=1e-5
            )


def test_slices_ascend_along_the_normal_whatever_order_they_come_in():
    headers = headers_of(rotation(17, -33))
    expected = [h.SOPInstanceUID for h in headers]
    for seed in range(5):
        random.Random(seed).shuffle(headers)
        stack = stack_slices(series_of(headers))
        assert [i.SOPInstanceUID for i in stack.instances] == expected


def test_a_normal_towards_the_feet_orders_slices_towards_the_feet():
    stack = stack_slices(series_of(headers_of(rotation(180, 0))))
    z = [float(i.header.ImagePositionPatient[2]) for i in stack.instances]
    assert z == sorted(z, reverse=True)
    assert np.linalg.det(stack.geometry.affine_lps[:3, :3]) > 0


def test_each_slice_is_rescaled_by_itself_and_put_in_its_place(tmp_path):
    headers = headers_of(rotation(17, -33))
    pixels = [
        np.random.default_rng(k).integers(-400, 400, (HEIGHT, WIDTH)).astype(np.int16)
        for k in range(DEPTH)
    ]
    for k, header in enumerate(headers):
        header.RescaleSlope, header.RescaleIntercept = 1 + k / 4, -10 * k
    built = build_volume(write_series(tmp_path / "s", headers, pixels))
    assert built.volume.hu.dtype == np.int16
    for k in range(DEPTH):
        np.testing.assert_array_equal(built.volume.hu[k], np.rint(pixels[k] * (1 + k / 4) - 10 * k))
        assert built.instances[k].SOPInstanceUID == headers[k].SOPInstanceUID


def test_geometry_is_checked_before_any_pixel_is_read():
    headers = headers_of()
    del headers[3]
    with pytest.raises(VolumeError, match="missing"):
        build_volume(series_of(headers))  # there are no files


def test_pixels_that_cannot_be_had_end_the_build():
    with pytest.raises(PixelDataError, match="cannot be read"):
        build_volume(series_of(headers_of()))


def test_a_missing_slice_is_named_by_its_neighbours():
    headers = headers_of()
    below, above = headers[2].SOPInstanceUID, headers[5].SOPInstanceUID
    del headers[3:5]
    with pytest.raises(
        VolumeError,
        match=rf"a slice every 2\.500 mm, found 1 gaps where 2 slices are missing: 7\.500 mm "
        rf"between {below} at 315\.12 mm and {above} at 322\.62 mm",
    ):
        stack_slices(series_of(headers))


def test_of_three_slices_one_missing_shows_too():
    headers = headers_of(depth=4)
    del headers[1]
    with pytest.raises(VolumeError, match="1 gaps where 1 slices are missing"):
        stack_slices(series_of(headers))


def test_two_phases_in_one_series_are_refused_with_counts():
    headers = headers_of()
    for acquisition in (1, 2):
        for k, header in enumerate(headers_of()):
            if acquisition == 2:
                header.SOPInstanceUID = f"1.2.4.{k}"
                headers.append(header)
            else:
                header = headers[k]
            header.AcquisitionNumber = acquisition
    with pytest.raises(
        VolumeError,
        match=r"14 images at 7 positions \(up to 2 at one\), first at 310\.12 mm .*"
        r"AcquisitionNumber takes 2 values \(1, 2\)",
    ):
        stack_slices(series_of(headers))


def test_one_slice_off_the_even_grid_is_refused():
    headers = headers_of()
    move(headers[3], 0, 0, 0.4)
    with pytest.raises(VolumeError, match=r"evenly spaced slices, found .* 2\.100 to 2\.900 mm"):
        stack_slices(series_of(headers))


def test_a_slice_moved_sideways_is_refused():
    headers = headers_of()
    move(headers[3], 0.4, 0, 0)
    uid = headers[3].SOPInstanceUID
    with pytest.raises(VolumeError, match=rf"found {uid} 0\.400 mm off"):
        stack_slices(series_of(headers))


@pytest.mark.parametrize("degrees", [0.5, -20])
def test_gantry_tilt_is_refused_with_its_angle(degrees):
    tilted = rotation(degrees, 0)
    headers = headers_of(tilted)
    for k, header in enumerate(headers):  # the table moves along z, not along the normal
        header.ImagePositionPatient = list(ORIGIN + np.array([0, 0, k * STEP_MM]))
    with pytest.raises(VolumeError, match=rf"leans by {abs(degrees):.2f} degrees"):
        stack_slices(series_of(headers))


def test_rounding_of_positions_is_no_tilt():
    headers = headers_of(depth=2)
    move(headers[1], 0.004, -0.004, 0)
    geometry = stack_slices(series_of(headers)).geometry
    np.testing.assert_allclose(geometry.affine_lps[:3, 2], (0, 0, STEP_MM), atol=1e-9)


def test_cosines_of_few_decimals_make_an_orthogonal_grid():
    headers = headers_of()
    for header in headers:
        header.ImageOrientationPatient = [0.966, 0.259, 0, -0.259, 0.966, 0]
    axes = stack_slices(series_of(headers)).geometry.direction_lps
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)


def test_a_series_without_any_frame_of_reference_is_one_by_itself():
    headers = headers_of()
    for header in headers:
        del header.FrameOfReferenceUID
    assert stack_slices(series_of(headers)).geometry.shape[0] == DEPTH


def alter(**elements: object) -> Callable[[list[Dataset]], None]:
    """Give the slice 4 other elements; None removes one."""

    def change(headers: list[Dataset]) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(headers[4], keyword)
            else:
                setattr(headers[4], keyword, value)

    return change


def alter_all(**elements: object) -> Callable[[list[Dataset]], None]:
    """Give every slice other elements."""

    def change(headers: list[Dataset]) -> None:
        for header in headers:
            for keyword, value in elements.items():
                setattr(header, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            alter(Rows=6),
            r"one size .*5\\4 in 6 images and others, such as 6\\4, in 1 images: <uid>",
        ),
        (alter(Columns=None), "expected Columns .* found none in 1 images: <uid>"),
        (alter(PixelSpacing=[0.75, 1.26]), r"one PixelSpacing, found 0\.75\\1\.25 in 6 .*1\.26"),
        (alter(PixelSpacing=None), "expected PixelSpacing .* found none in 1 images: <uid>"),
        (alter(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "one ImageOrientationPatient.*<uid>"),
        (
            alter(ImageOrientationPatient=[1, 0, 0, 0, 1]),
            "ImageOrientationPatient .6 values.*<uid>",
        ),
        (alter(ImagePositionPatient=None), "expected ImagePositionPatient .3 values.*<uid>"),
        (alter(FrameOfReferenceUID="1.8"), "one FrameOfReferenceUID, found 2: 1.9 in 6 images"),
        (alter(FrameOfReferenceUID=None), "one FrameOfReferenceUID, found 2"),
        (alter(NumberOfFrames=3), "single-frame images.*<uid>"),
        (alter_all(PixelSpacing=[0, 1]), "positive PixelSpacing"),
        (alter_all(PixelSpacing=[-1, 1]), "positive PixelSpacing"),
        (alter_all(Rows=0), "positive Rows and Columns"),
        (alter_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "two orthogonal unit vectors"),
        (alter_all(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]), "two orthogonal unit vectors"),
        (lambda headers: headers.__delitem__(slice(1, None)), "at least 2 images .* found 1"),
    ],
)
def test_what_forms_no_volume_is_refused_with_the_image_concerned(change, message):
    headers = headers_of()
    uid = headers[4].SOPInstanceUID
    change(headers)
    with pytest.raises(VolumeError, match=message.replace("<uid>", uid)):
        stack_slices(series_of(headers))
