"""Segmentations that other programs wrote are read as those programs meant them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from operators.errors import VolumeError
from operators.label_reading import labels_from_dicom, names_in
from operators.label_reading_names import LabelNumbers
from operators.volumes import SeriesVolume
from tests.datasets.series import read_series

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom_stress" / "seg_examples"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}")


@pytest.fixture(scope="module")
def source() -> SeriesVolume:
    return read_series(DATA / "ct-3slice")


def truth(source: SeriesVolume, name: str) -> NDArray[np.bool_]:
    """What dcmqi made a segmentation of, at every voxel of the series."""
    image = sitk.ReadImage(str(DATA / f"{name}_seg.nrrd"))
    grid = source.volume.geometry
    reference = sitk.Image(*map(int, grid.shape[::-1]), sitk.sitkUInt8)
    reference.SetOrigin(grid.to_lps((0, 0, 0)).tolist())
    reference.SetSpacing(grid.spacing_mm[::-1])
    reference.SetDirection(grid.direction_lps.ravel().tolist())
    nearest = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(nearest) > 0


def test_a_segment_of_dcmqi(source: SeriesVolume) -> None:
    assert names_in(DATA / "liver.dcm") == ["Liver"]
    found = labels_from_dicom(DATA / "liver.dcm", source, LabelNumbers({"SCT:10200004": 1}))
    expected = truth(source, "liver")
    assert int(expected.sum()) > 10_000
    np.testing.assert_array_equal(found.label_map.labels == 1, expected)


def test_overlapping_segments_of_dcmqi(source: SeriesVolume) -> None:
    path = DATA / "partial_overlaps.dcm"
    names = names_in(path)
    numbers = LabelNumbers({name: n for n, name in enumerate(names, start=1)})
    with pytest.raises(VolumeError, match="expected organs that do not overlap"):
        labels_from_dicom(path, source, numbers)
    first = labels_from_dicom(path, source, numbers, overlap="first").label_map.labels
    alone = [
        labels_from_dicom(path, source, LabelNumbers({name: 1})).label_map.labels == 1
        for name in names
    ]
    expected = np.zeros(first.shape, np.uint8)
    for number, mask in reversed(list(enumerate(alone, start=1))):
        expected[mask] = number
    np.testing.assert_array_equal(first, expected)
