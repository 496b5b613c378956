from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.dicom_file import read_header
from operators.errors import ImagingError, VolumeError
from operators.files import PlainFile
from operators.frames import frames_of
from operators.seg import write_seg
from operators.seg_reading import read_label_map
from operators.series import Candidate, Instance, Series
from operators.volumes import SeriesVolume, build_volume

SHAPE, SPACING_MM = (7, 11, 9), (4.0, 0.9, 1.6)
ORIGIN = (-12.5, 33.0, 410.25)
TILT = np.radians(17)
DIRECTIONS = {
    "axial": np.eye(3),
    "descending": np.diag((1.0, 1.0, -1.0)),
    "oblique": np.array(
        [
            [np.cos(TILT), -np.sin(TILT), 0],
            [np.sin(TILT), np.cos(TILT), 0],
            [0, 0, 1],
        ]
    )
    @ np.array([[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]]),
}
ALGORITHM = Algorithm(name="test", version="1", manufacturer="viscera", model_sha256="0b" * 32)


def segment(number: int, name: str) -> Segment:
    code = Code(value="10200004", scheme="SCT", meaning="Liver")
    category = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
    return Segment(
        number=number,
        name=name,
        label=name.title(),
        category=category,
        type=code,
        modifier=None,
        rgb=(200, 100, 50),
    )


SEGMENTS = (segment(3, "liver"), segment(4, "stomach"), segment(8, "spleen"))


def source(folder: Path, directions: NDArray[np.float64]) -> SeriesVolume:
    geometry = VolumeGeometry.from_spacing(SHAPE, SPACING_MM, ORIGIN, directions)
    volume = Volume(hu=np.zeros(SHAPE, np.int16), geometry=geometry)
    paths = write_ct_series(volume, folder, SeriesIdentity(seed_text="reading"), shuffle_seed=2)
    instances = []
    for path in sorted(paths):
        header, pixels = read_header(PlainFile(path))
        instances.append(Instance(file=PlainFile(path), header=header, pixels=pixels))
    series = Series(
        StudyInstanceUID=header.StudyInstanceUID,
        SeriesInstanceUID=header.SeriesInstanceUID,
        instances=tuple(instances),
    )
    frames = tuple(frame for instance in instances for frame in frames_of(instance))
    return build_volume(Candidate(series=series, frames=frames))


def write(
    folder: Path, labels: NDArray[np.uint8], directions: NDArray[np.float64]
) -> tuple[Path, VolumeGeometry]:
    series = source(folder, directions)
    geometry = series.volume.geometry
    path = folder / "seg.dcm"
    write_seg(series, LabelMap(labels=labels, geometry=geometry), SEGMENTS, ALGORITHM, path)
    return path, geometry


def asymmetric() -> NDArray[np.uint8]:
    """A liver and a spleen without symmetry, the first slice of which is empty."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 1:5, 2:7] = 3
    labels[2, 7, 8] = 3
    labels[3:6, 8:10, 0:2] = 8
    return labels


@pytest.mark.parametrize("directions", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_labels_come_back_to_the_voxel(tmp_path: Path, directions: NDArray[np.float64]) -> None:
    path, geometry = write(tmp_path, asymmetric(), directions)
    label_map, names = read_label_map(path, geometry)
    assert names == {1: "Liver", 2: "Spleen"}
    expected = np.select([asymmetric() == 3, asymmetric() == 8], [1, 2]).astype(np.uint8)
    np.testing.assert_array_equal(label_map.labels, expected)
    assert label_map.geometry is geometry


def test_a_single_organ_comes_back(tmp_path: Path) -> None:
    """Where there is one segment, its number stands in the shared functional groups."""
    labels = np.where(asymmetric() == 3, asymmetric(), np.uint8(0)).astype(np.uint8)
    path, geometry = write(tmp_path, labels, DIRECTIONS["axial"])
    label_map, names = read_label_map(path, geometry)
    assert names == {1: "Liver"}
    np.testing.assert_array_equal(label_map.labels, labels == 3)


def test_a_single_slice_of_a_single_organ_comes_back(tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[5, 2:4, 6] = 8
    path, geometry = write(tmp_path, labels, DIRECTIONS["oblique"])
    label_map, names = read_label_map(path, geometry)
    assert names == {1: "Spleen"}
    np.testing.assert_array_equal(label_map.labels, labels == 8)


@pytest.mark.parametrize("moved_mm", [(0, 0, 1.5), (0, 0, -16.0), (2.5, 0, 0), (0, -1.0, 0)])
def test_a_grid_that_is_not_the_series_own_is_refused(
    tmp_path: Path, moved_mm: tuple[float, float, float]
) -> None:
    """Also where it lies beside the slices' planes by nothing, but begins elsewhere."""
    path, geometry = write(tmp_path, asymmetric(), DIRECTIONS["axial"])
    origin = np.add(geometry.to_lps((0, 0, 0)), moved_mm).tolist()
    other = VolumeGeometry.from_spacing(SHAPE, SPACING_MM, origin)
    with pytest.raises(VolumeError, match="expected every frame on a slice of the series"):
        read_label_map(path, other)


def test_what_is_no_segmentation_is_refused(tmp_path: Path) -> None:
    _, geometry = write(tmp_path, asymmetric(), DIRECTIONS["axial"])
    with pytest.raises(ImagingError, match="expected a segmentation"):
        read_label_map(tmp_path / "CT00001.dcm", geometry)


@pytest.mark.parametrize("content", [b"text", b"", None], ids=["text", "empty", "no file"])
def test_what_is_no_dicom_is_refused(tmp_path: Path, content: bytes | None) -> None:
    geometry = VolumeGeometry.from_spacing(SHAPE, SPACING_MM)
    if content is not None:
        (tmp_path / "seg.dcm").write_bytes(content)
    with pytest.raises(ImagingError, match="expected a segmentation"):
        read_label_map(tmp_path / "seg.dcm", geometry)
