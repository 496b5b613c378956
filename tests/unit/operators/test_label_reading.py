"""SEG and RTSTRUCT objects become label maps on the grid of the CT they were drawn on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes

from operators.ct_series import SeriesIdentity, write_ct_series
from operators.errors import ImagingError, VolumeError
from operators.label_reading import DicomLabels, labels_from_dicom, names_in
from operators.label_reading_names import LabelNumbers
from operators.label_reading_slices import UNKNOWN
from operators.seg import write_seg
from operators.volumes import SeriesVolume
from tests.datasets.series import (
    ALGORITHM,
    DIRECTIONS,
    SEGMENTS,
    SHAPE,
    asymmetric,
    ct_series,
    label_map,
    read_series,
)

NUMBERS = LabelNumbers({"Liver": 3, "left_kidney": 4, "RIGHT-KIDNEY": 8})
LIVER, LEFT, RIGHT = 3, 4, 8


def written(folder: Path, source: SeriesVolume, labels: NDArray[np.uint8]) -> Path:
    path = folder / "any name"
    write_seg(source, label_map(source, labels), SEGMENTS, ALGORITHM, path)
    return path


def changed(path: Path, change: Callable[[Dataset], None]) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(path: Path, source: SeriesVolume, **options: str) -> DicomLabels:
    return labels_from_dicom(path, source, NUMBERS, **options)  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path) -> SeriesVolume:
    return ct_series(tmp_path / "ct")


@pytest.mark.parametrize("orientation", DIRECTIONS)
def test_our_own_segmentation_comes_back(tmp_path: Path, orientation: str) -> None:
    source = ct_series(tmp_path / "ct", DIRECTIONS[orientation])
    found = read(written(tmp_path, source, asymmetric()), source)
    np.testing.assert_array_equal(found.label_map.labels, asymmetric())
    assert found.label_map.geometry is source.volume.geometry
    assert (found.values, found.ignored) == ({LIVER, LEFT, RIGHT}, ())


def highdicom_seg(
    path: Path, source: SeriesVolume, kind: SegmentationTypeValues, pixels: NDArray[np.generic]
) -> Path:
    """A segmentation straight from highdicom, of two segments."""
    images = [pydicom.dcmread(frame.instance.path) for frame in source.stack.frames]
    seg = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[
            SegmentDescription(
                segment_number=number,
                segment_label=label,
                segmented_property_category=codes.SCT.Organ,
                segmented_property_type=kind_of_organ,
                algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
            )
            for number, (label, kind_of_organ) in enumerate(
                (("Liver", codes.SCT.Liver), ("Left kidney", codes.SCT.Kidney)), start=1
            )
        ],
        series_instance_uid="1.2.3",
        series_number=4,
        sop_instance_uid="1.2.3.4",
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="n",
        software_versions="1",
        device_serial_number="1",
        max_fractional_value=100,
    )
    seg.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segmentations_of_highdicom_come_back(
    tmp_path: Path, source: SeriesVolume, kind: str
) -> None:
    expected = np.where(asymmetric() == RIGHT, 0, asymmetric())
    pixels = np.select([expected == LIVER, expected == LEFT], [1, 2]).astype(np.uint8)
    path = highdicom_seg(tmp_path / "seg", source, SegmentationTypeValues[kind], pixels)
    found = read(path, source)
    np.testing.assert_array_equal(found.label_map.labels, expected)
    assert found.values == {LIVER, LEFT}
    assert names_in(path) == ["Liver", "Left kidney"]


def test_half_a_fraction_or_more_counts(tmp_path: Path, source: SeriesVolume) -> None:
    share = np.zeros((*SHAPE, 2), np.float32)
    share[2, 3, 4, 0], share[2, 3, 5, 0] = 0.5, 0.48
    share[4, 1, 1, 1] = 1.0
    path = highdicom_seg(tmp_path / "seg", source, SegmentationTypeValues.FRACTIONAL, share)
    labels = read(path, source).label_map.labels
    assert [tuple(at) for at in np.argwhere(labels)] == [(2, 3, 4), (4, 1, 1)]
    assert (labels[2, 3, 4], labels[4, 1, 1]) == (LIVER, LEFT)


def test_frames_may_be_turned_and_smaller(tmp_path: Path, source: SeriesVolume) -> None:
    """Rows run backwards, and the frame holds a part of the slice."""
    path = written(tmp_path, source, asymmetric())

    def turn(seg: Dataset) -> None:
        frames = highdicom.seg.Segmentation.from_dataset(seg).pixel_array[:, ::-1, 1:]
        seg.Rows, seg.Columns = frames.shape[1:]
        bits = np.packbits(frames.astype(np.uint8).ravel(), bitorder="little").tobytes()
        seg.PixelData = bits + bytes(len(bits) % 2)
        shared = seg.SharedFunctionalGroupsSequence[0]
        plane = shared.PlaneOrientationSequence[0]
        plane.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]
        for item in seg.PerFrameFunctionalGroupsSequence:
            position = item.PlanePositionSequence[0]
            x, y, z = map(float, position.ImagePositionPatient)
            position.ImagePositionPatient = [x + 1.6, y + 0.9 * (SHAPE[1] - 1), z]

    expected = asymmetric()
    expected[..., 0] = 0
    found = read(changed(path, turn), source)
    np.testing.assert_array_equal(found.label_map.labels, expected)


def moved(x_mm: float, z_mm: float) -> Callable[[Dataset], None]:
    def change(seg: Dataset) -> None:
        for item in seg.PerFrameFunctionalGroupsSequence:
            position = item.PlanePositionSequence[0]
            x, y, z = map(float, position.ImagePositionPatient)
            position.ImagePositionPatient = [x + x_mm, y, z + z_mm]

    return change


def finer(seg: Dataset) -> None:
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = [0.45, 0.8]


def elsewhere(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "1.2.3.4.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved(0, 1.5), r"expected every frame on a slice of the series, found it 1\.50 mm beside"),
        (moved(0.8, 0), r"expected pixels on those of the series, .* at the pixel 0\.00, 0\.50"),
        (moved(-4.8, 0), r"expected labels within the slices, found \d+ pixels outside"),
        (finer, r"expected pixels of the series' size, found others"),
        (elsewhere, r"expected the frame of reference of the series .*found 1\.2\.3\.4\.5"),
    ],
)
def test_what_does_not_lie_on_the_series_is_refused(
    tmp_path: Path, source: SeriesVolume, change: Callable[[Dataset], None], message: str
) -> None:
    path = changed(written(tmp_path, source, asymmetric()), change)
    with pytest.raises(VolumeError, match=message):
        read(path, source)


def test_overlapping_organs_are_refused_or_go_by_the_order_of_names(
    tmp_path: Path, source: SeriesVolume
) -> None:
    both = np.zeros((*SHAPE, 2), np.uint8)
    both[2, 1:4, 2, 0] = both[2, 2:6, 2, 1] = 1
    path = highdicom_seg(tmp_path / "seg", source, SegmentationTypeValues.BINARY, both)
    with pytest.raises(VolumeError, match=r"do not overlap, found label 4 on 2 pixels of label 3"):
        read(path, source)
    labels = read(path, source, overlap="first").label_map.labels
    assert labels[2, :, 2].tolist() == [0, 3, 3, 3, 4, 4, 0, 0, 0, 0, 0]
    kidney_first = LabelNumbers({"Left kidney": LEFT, "Liver": LIVER})
    labels = labels_from_dicom(path, source, kidney_first, overlap="first").label_map.labels
    assert labels[2, :, 2].tolist() == [0, 3, 4, 4, 4, 4, 0, 0, 0, 0, 0]


def test_organs_are_known_by_code_and_side(tmp_path: Path, source: SeriesVolume) -> None:
    path = written(tmp_path, source, asymmetric())
    codes = LabelNumbers({"SCT:64033007+SCT:7771000": 1, "SCT:10200004": 2})
    found = labels_from_dicom(path, source, codes)
    assert found.values == {1, 2}
    assert found.ignored == ("Right kidney",)
    np.testing.assert_array_equal(found.label_map.labels == 1, asymmetric() == LEFT)
    either = labels_from_dicom(path, source, LabelNumbers({"SCT:64033007": 5}))
    np.testing.assert_array_equal(either.label_map.labels == 5, np.isin(asymmetric(), (4, 8)))
    # SRT codes are the older names of SNOMED CT's
    old = labels_from_dicom(path, source, LabelNumbers({"SRT:T-62000": 7}))
    np.testing.assert_array_equal(old.label_map.labels == 7, asymmetric() == LIVER)


def test_an_object_without_any_named_organ_is_refused(tmp_path: Path, source: SeriesVolume) -> None:
    path = written(tmp_path, source, asymmetric())
    with pytest.raises(
        ImagingError, match=r"expected one of Heart, found Liver, Left kidney, Right"
    ):
        labels_from_dicom(path, source, LabelNumbers({"Heart": 1}))
    with pytest.raises(ImagingError, match="expected names with values of 1 to 254"):
        LabelNumbers({"Heart": 255})


def test_an_organ_that_the_object_lacks_is_not_spoken_of(
    tmp_path: Path, source: SeriesVolume
) -> None:
    labels = np.where(asymmetric() == LIVER, asymmetric(), 0).astype(np.uint8)
    assert read(written(tmp_path, source, labels), source).values == {LIVER}


def test_what_is_no_label_object_is_refused(tmp_path: Path, source: SeriesVolume) -> None:
    with pytest.raises(ImagingError, match="expected a SEG or RTSTRUCT, found CT Image Storage"):
        read(tmp_path / "ct" / "CT00001.dcm", source)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ImagingError, match="expected a SEG or RTSTRUCT, found"):
        read(tmp_path / "text", source)


def test_where_a_slice_is_missing_nobody_knows(tmp_path: Path) -> None:
    """The grid bridges the gap, and its plane in there is unknown."""
    folder = tmp_path / "ct"
    whole = ct_series(folder, shape=(9, 11, 9))
    by_height = sorted(
        folder.iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2])
    )
    by_height[4].unlink()
    source = read_series(folder)
    assert not source.stack.is_grid
    assert source.volume.geometry.shape == whole.volume.geometry.shape
    labels = asymmetric((9, 11, 9))
    labels[4] = 0
    found = read(written(tmp_path, source, labels), source).label_map.labels
    np.testing.assert_array_equal(found[:4], labels[:4])
    np.testing.assert_array_equal(found[5:], labels[5:])
    assert (found[4] == UNKNOWN).all()


def test_identities_without_a_frame_of_reference_are_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "ct"
    volume = ct_series(tmp_path / "other").volume
    for path in write_ct_series(volume, folder, SeriesIdentity(seed_text="none")):
        changed(path, lambda dataset: delattr(dataset, "FrameOfReferenceUID"))
    source = read_series(folder)
    found = read(written(tmp_path, source, asymmetric()), source)
    np.testing.assert_array_equal(found.label_map.labels, asymmetric())
