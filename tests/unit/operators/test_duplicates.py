from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from models.geometry import Volume, VolumeGeometry
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.dicom_file import read_header
from operators.duplicates import find_copies
from operators.files import PlainFile
from operators.frame_groups import FrameGroup
from operators.series import Candidate, Frame, Instance, Series
from operators.splitting import split_series

DEPTH = 5
AFFINE = np.array(
    [[0.75, 0, 0, -20.0], [0, 0.6, -1.6, 7.5], [0, 0.8, 1.2, 310.25], [0, 0, 0, 1]], np.float64
)


class CountingFile(PlainFile):
    """Remembers which files were opened."""

    opened: list[str] = []  # noqa: RUF012

    def open(self) -> BinaryIO:
        self.opened.append(self.path.name)
        return super().open()


def voxels(seed: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-900, 900, (DEPTH, 6, 4), np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "a", voxels(1))
    return tmp_path


def write(folder: Path, name: str, hu: NDArray[np.int16], **elements: int) -> None:
    """A scan of one place; scans of other names lie in the same series."""
    geometry = VolumeGeometry(shape=(DEPTH, 6, 4), affine_lps=AFFINE)
    for k, path in enumerate(
        write_ct_series(
            Volume(hu=hu, geometry=geometry), folder / name, SeriesIdentity(seed_text="1")
        )
    ):
        dataset = dcmread(path)
        dataset.SeriesInstanceUID = "1.2.3"
        dataset.SOPInstanceUID = f"1.2.3.{ord(name[0])}.{k}"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value + k if keyword == "InstanceNumber" else value)
        dataset.save_as(folder / f"{name}{k}.dcm")
        path.unlink()


def copy(folder: Path, k: int, change: Callable[[Dataset], object] = lambda _: None) -> str:
    """Another instance of slice k of scan a; returns its UID, which sorts behind that slice's."""
    dataset = dcmread(folder / f"a{k}.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.99.{k}"
    change(dataset)
    dataset.save_as(folder / f"copy{k}.dcm", enforce_file_format=True)
    return str(dataset.SOPInstanceUID)


def instances_of(folder: Path) -> tuple[Instance, ...]:
    files = [CountingFile(path) for path in sorted(folder.glob("*.dcm"))]
    read = [(file, *read_header(file)) for file in files]
    CountingFile.opened.clear()
    return tuple(Instance(file=file, header=header, pixels=px) for file, header, px in read)


def split(folder: Path) -> tuple[Candidate, ...]:
    images = instances_of(folder)
    return split_series(
        Series(StudyInstanceUID="1", SeriesInstanceUID="1.2.3", instances=images), images
    )


def uids(candidate: Candidate) -> list[str]:
    return [frame.SOPInstanceUID for frame in candidate.frames]


SCAN_A = [f"1.2.3.97.{k}" for k in range(DEPTH)]


def test_a_series_that_was_stored_twice_is_one_volume(folder):
    for k in range(DEPTH):
        copy(folder, k)
    (only,) = split(folder)
    assert uids(only) == SCAN_A
    assert (only.part, only.notes) == ("", ("5 images are copies of others, left out",))


def test_single_copies_are_left_out(folder):
    copy(folder, 3)
    (only,) = split(folder)
    assert uids(only) == SCAN_A
    assert only.notes == ("1 image is a copy of others, left out",)


def test_a_series_without_repeated_positions_is_not_read(folder):
    split(folder)
    assert CountingFile.opened == []


def test_two_acquisitions_cost_no_more_than_reading_one_position(folder):
    write(folder, "b", voxels(2), AcquisitionNumber=2)
    first, second = split(folder)
    assert (first.part, second.part) == ("AcquisitionNumber 1", "AcquisitionNumber 2")
    assert len(set(CountingFile.opened)) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda header: setattr(header, "RescaleIntercept", "-1000"),
        lambda header: setattr(header, "RescaleSlope", "2"),
        lambda header: setattr(header, "PixelRepresentation", 1),
        lambda header: setattr(header, "PixelData", bytes(48)),
        lambda header: header.ImagePositionPatient.__setitem__(0, "-19.5"),  # same height
    ],
)
def test_images_that_mean_other_hounsfield_units_are_no_copies(folder, change):
    for k in range(DEPTH):
        copy(folder, k, lambda header: (change(header), setattr(header, "AcquisitionNumber", 2)))
    first, second = split(folder)
    assert uids(first) == SCAN_A
    assert (first.part, second.part) == ("AcquisitionNumber 1", "AcquisitionNumber 2")


def test_equal_numbers_in_other_words_are_equal(folder):
    copy(folder, 0, lambda header: setattr(header, "RescaleSlope", "1.000"))
    (only,) = split(folder)
    assert uids(only) == SCAN_A


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_copy_is_found_in_another_encoding_of_the_same_bytes(folder, syntax):
    copy(folder, 2, lambda header: setattr(header.file_meta, "TransferSyntaxUID", syntax))
    (only,) = split(folder)
    assert uids(only) == SCAN_A


def test_compressed_copies_are_found_whatever_stands_behind_their_pixels(folder):
    for k in range(DEPTH):
        path = folder / f"a{k}.dcm"
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
        copy(folder, k, lambda header: header.add_new(0xFFFCFFFC, "OB", b"padding "))
    (only,) = split(folder)
    assert uids(only) == SCAN_A


def test_the_same_bytes_in_another_order_are_no_copy(folder):
    for k in range(DEPTH):
        copy(folder, k, lambda header: setattr(header, "AcquisitionNumber", 2))
        path = folder / f"copy{k}.dcm"
        swapped = Dataset()
        swapped.update(dcmread(path))
        swapped.file_meta = dcmread(path).file_meta
        swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        swapped.save_as(path, enforce_file_format=True)
    assert [c.part for c in split(folder)] == ["AcquisitionNumber 1", "AcquisitionNumber 2"]


def test_equal_bytes_are_no_copy_where_one_image_swaps_them(folder):
    for name, vr in (("a0", "OB"), ("copy", "OW")):
        dataset = dcmread(folder / "a0.dcm")
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.add_new("PixelData", vr, bytes(range(24)))
        dataset.SOPInstanceUID = f"1.2.3.{ord(name[0])}"
        swapped = Dataset()
        swapped.update(dataset)
        swapped.file_meta = dataset.file_meta
        swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        swapped.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    for k in range(1, DEPTH):
        (folder / f"a{k}.dcm").unlink()
    (only,) = split(folder)
    assert len(only.frames) == 2


def test_blank_slices_that_two_phases_share_are_no_copies(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        hu = voxels(seed)
        hu[[0, -1]] = -1000  # air beyond the patient
        write(tmp_path, name, hu, AcquisitionNumber=seed)
    first, second = split(tmp_path)
    assert [len(first.frames), len(second.frames)] == [DEPTH, DEPTH]
    assert uids(first) == SCAN_A


def test_copies_behind_the_first_repeated_position_are_found_where_nothing_else_helps(folder):
    write(folder, "b", voxels(2), InstanceNumber=11)
    for k in (1, 3):
        copy(folder, k)
    first, second = split(folder)
    assert uids(first) == SCAN_A
    assert second.part == "InstanceNumber 11 to 15"
    assert first.notes[0] == "2 images are copies of others, left out"


def test_unreadable_files_are_taken_for_different(folder):
    copy(folder, 0)
    images = instances_of(folder)
    (folder / "copy0.dcm").unlink()
    series = Series(StudyInstanceUID="1", SeriesInstanceUID="1.2.3", instances=images)
    (only,) = split_series(series, images)
    assert len(only.frames) == DEPTH + 1
    assert "nothing tells them apart" in only.notes[0]


@pytest.mark.parametrize("is_compressed", [False, True])
def test_frames_of_a_multi_frame_image_are_compared_one_by_one(folder, is_compressed):
    frames = [dcmread(folder / f"a{k}.dcm").PixelData for k in (0, 1, 0)]

    def stack(header: Dataset) -> None:
        header.NumberOfFrames = 3
        header.PixelData = b"".join(frames)
        if is_compressed:  # opaque to the comparison, so plain bytes do
            header.file_meta.TransferSyntaxUID = RLELossless
            header.PixelData = encapsulate(frames)
            header["PixelData"].is_undefined_length = True

    copy(folder, 0, stack)
    file = PlainFile(folder / "copy0.dcm")
    header, pixels = read_header(file)
    instance = Instance(file=file, header=header, pixels=pixels)
    group = FrameGroup(
        name="",
        frames=tuple(Frame(instance=instance, number=n, header=header) for n in (1, 2, 3)),
        positions_mm=np.zeros((3, 3)),
        heights_mm=np.zeros(3),
    )
    assert find_copies(group).tolist() == [False, False, True]
