"""Multi-frame CT images give the volume of the single-frame series that they were made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from models.geometry import Volume, VolumeGeometry
from operators.ct_series import SIGNED, UNSIGNED, SeriesIdentity, Storage, write_ct_series
from operators.dicom_file import read_header
from operators.errors import NothingUsableError, VolumeError
from operators.files import PlainFile
from operators.frames import frames_of
from operators.series import Candidate, Frame, Instance, Series
from operators.volumes import SeriesVolume, build_volume

SHAPE, SPACING_MM, ORIGIN = (6, 9, 7), (2.5, 0.7, 1.3), (-12.5, 33.25, -410.75)
TILT = np.radians(25)
OBLIQUE = np.array(
    [
        [np.cos(TILT), -np.sin(TILT) * np.cos(0.3), np.sin(TILT) * np.sin(0.3)],
        [np.sin(TILT), np.cos(TILT) * np.cos(0.3), -np.cos(TILT) * np.sin(0.3)],
        [0, np.sin(0.3), np.cos(0.3)],
    ]
)
Stored = Callable[[Dataset, Path], Instance]


def write_slices(
    folder: Path, storage: Storage = UNSIGNED, directions: NDArray[np.float64] = OBLIQUE
) -> list[Path]:
    """A series of noise, oblique and with three different spacings, in an order by chance."""
    geometry = VolumeGeometry.from_spacing(SHAPE, SPACING_MM, ORIGIN, directions)
    hu = np.random.default_rng(7).integers(-1000, 2000, SHAPE).astype(np.int16)
    identity = SeriesIdentity(seed_text="multi-frame", ContrastBolusAgent="Iohexol")
    paths = write_ct_series(
        Volume(hu=hu, geometry=geometry), folder, identity, storage=storage, shuffle_seed=4
    )
    random.Random(4).shuffle(paths)
    return paths


def slices_of(paths: Sequence[Path]) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in paths]


def instance_of(path: Path) -> Instance:
    header, pixels = read_header(PlainFile(path))
    return Instance(file=PlainFile(path), header=header, pixels=pixels)


def volume_of(instances: Sequence[Instance], frames: Sequence[Frame] | None = None) -> SeriesVolume:
    series = Series(
        StudyInstanceUID=instances[0].header.StudyInstanceUID,
        SeriesInstanceUID=instances[0].header.SeriesInstanceUID,
        instances=tuple(instances),
    )
    found = frames or [frame for instance in instances for frame in frames_of(instance)]
    return build_volume(Candidate(series=series, frames=tuple(found)))


def assert_equal_volumes(found: SeriesVolume, expected: SeriesVolume) -> None:
    np.testing.assert_array_equal(found.volume.hu, expected.volume.hu)
    affines = found.volume.geometry.affine_lps, expected.volume.geometry.affine_lps
    np.testing.assert_allclose(*affines, rtol=0, atol=1e-9)


def legacy_converted(slices: Sequence[Dataset]) -> Dataset:
    return highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices,
        series_instance_uid="2.25.81",
        series_number=3,
        sop_instance_uid="2.25.82",
        instance_number=1,
    )


def test_a_single_frame_image_is_its_own_frame(tmp_path: Path) -> None:
    instance = instance_of(write_slices(tmp_path)[0])
    (frame,) = frames_of(instance)
    assert frame.header is instance.header
    assert (frame.number, frame.name) == (1, instance.SOPInstanceUID)


@pytest.mark.parametrize("share", [True, False], ids=["groups shared", "groups per frame"])
@pytest.mark.parametrize(
    "storage",
    [UNSIGNED, SIGNED, Storage(rescale_slope=0.5, rescale_intercept=-200.0)],
    ids=["unsigned", "signed", "half steps"],
)
def test_enhanced_ct_gives_the_volume_of_its_slices(
    tmp_path: Path,
    as_enhanced: Callable[..., Dataset],
    stored: Stored,
    storage: Storage,
    share: bool,
) -> None:
    paths = write_slices(tmp_path, storage)
    image = stored(as_enhanced(slices_of(paths), share), tmp_path / "enhanced.dcm")

    assert_equal_volumes(volume_of([image]), volume_of([instance_of(path) for path in paths]))


@pytest.mark.parametrize("storage", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_legacy_converted_enhanced_ct_gives_the_volume_of_its_slices(
    tmp_path: Path, stored: Stored, storage: Storage
) -> None:
    paths = write_slices(tmp_path, storage)
    image = stored(legacy_converted(slices_of(paths)), tmp_path / "converted.dcm")

    assert_equal_volumes(volume_of([image]), volume_of([instance_of(path) for path in paths]))


def test_each_frame_is_rescaled_by_itself(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    paths = write_slices(tmp_path, SIGNED)
    slices = slices_of(paths)
    for n, (path, one) in enumerate(zip(paths, slices, strict=True)):
        one.RescaleSlope, one.RescaleIntercept = 1 + n / 8, -10 * n
        one.save_as(path)
    expected = volume_of([instance_of(path) for path in paths])

    for name, image in (("e", as_enhanced(slices)), ("l", legacy_converted(slices))):
        assert_equal_volumes(volume_of([stored(image, tmp_path / f"{name}.dcm")]), expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_frames_give_the_same_volume(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored, syntax: str
) -> None:
    paths = write_slices(tmp_path)
    slices = slices_of(paths)
    image = as_enhanced(slices)
    if syntax == JPEG2000Lossless:  # pydicom has no encoder for it
        codes = [
            imagecodecs.jpeg2k_encode(s.pixel_array, level=0, codecformat="j2k") for s in slices
        ]
        image.PixelData = encapsulate(codes)
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    else:
        image.compress(syntax, generate_instance_uid=False)
    found = volume_of([stored(image, tmp_path / "compressed.dcm")])

    assert_equal_volumes(found, volume_of([instance_of(path) for path in paths]))


def test_a_concatenation_gives_one_volume(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    paths = write_slices(tmp_path)
    slices = slices_of(paths)
    images = []
    for part, some in enumerate((slices[:4], slices[4:]), start=1):
        image = as_enhanced(some, stack=str(part))
        image.ConcatenationUID, image.InConcatenationNumber = "2.25.83", part
        image.ConcatenationFrameOffsetNumber = 4 * (part - 1)
        images.append(stored(image, tmp_path / f"part{part}.dcm"))

    expected = volume_of([instance_of(path) for path in paths])
    assert_equal_volumes(volume_of(images), expected)


def test_phases_of_one_image_are_told_by_their_temporal_position(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    expected, phases = [], []
    for position in (1, 2):
        paths = write_slices(tmp_path / str(position))
        slices = slices_of(paths)
        for path, one in zip(paths, slices, strict=True):
            one.TemporalPositionIdentifier, one.AcquisitionNumber = position, 10 + position
            if position == 2:
                one.PixelData = one.PixelData[::-1]
            one.save_as(path)
        expected.append(volume_of([instance_of(path) for path in paths]))
        phases += slices
    random.Random(1).shuffle(phases)
    image = stored(as_enhanced(phases), tmp_path / "phases.dcm")

    frames = frames_of(image)
    for position in (1, 2):
        members = [f for f in frames if f.header.TemporalPositionIdentifier == position]
        assert {f.header.AcquisitionNumber for f in members} == {10 + position}
        assert_equal_volumes(volume_of([image], members), expected[position - 1])


def test_frames_state_what_their_slices_state(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    slices = slices_of(write_slices(tmp_path))
    for n, one in enumerate(slices):
        one.AcquisitionNumber = 1 + n // 2
        one.AcquisitionTime = f"1015{n:02d}.250000"
        one.ContentTime = f"1016{n:02d}"
    not_made = {"InstanceNumber", "SliceLocation", "ContrastBolusRoute", "ImageComments"}
    of_the_object = {"SOPClassUID", "SOPInstanceUID", "ImageType", "PixelData"}

    for share in (True, False):
        frames = frames_of(stored(as_enhanced(slices, share), tmp_path / f"{share}.dcm"))
        for frame, one in zip(frames, slices, strict=True):
            for element in one:
                if element.keyword not in not_made | of_the_object:
                    assert frame.header[element.keyword].value == element.value, element.keyword
            assert list(frame.header.ImageType) == ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]
            assert frame.header.AcquisitionDateTime == one.AcquisitionDate + one.AcquisitionTime
            assert "NumberOfFrames" not in frame.header
            assert "PerFrameFunctionalGroupsSequence" not in frame.header
            assert frame.name == f"{frame.instance.SOPInstanceUID} frame {frame.number}"


def test_a_conversion_keeps_what_had_no_group(tmp_path: Path, stored: Stored) -> None:
    slices = slices_of(write_slices(tmp_path))
    for n, one in enumerate(slices):
        one.AcquisitionNumber = 1 + n // 2
    left = {"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"}
    left |= {"SeriesDescription", "ImageType", "PixelData"}

    frames = frames_of(stored(legacy_converted(slices), tmp_path / "converted.dcm"))

    by_number = {int(frame.header.InstanceNumber): frame.header for frame in frames}
    for one in slices:
        for element in one:
            if element.keyword not in left:
                assert by_number[one.InstanceNumber][element.keyword].value == element.value


def test_an_agent_that_is_not_in_a_frame_is_not_stated(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    image = as_enhanced(slices_of(write_slices(tmp_path)), False)
    for group in image.PerFrameFunctionalGroupsSequence[:2]:
        group.ContrastBolusUsageSequence[0].ContrastBolusAgentAdministered = "NO"

    frames = frames_of(stored(image, tmp_path / "enhanced.dcm"))

    assert [f.header.get("ContrastBolusAgent") for f in frames] == [None] * 2 + ["Iohexol"] * 4


def test_real_world_values_are_no_rescale(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    image = as_enhanced(slices_of(write_slices(tmp_path)))
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 3.0, 5.0
    image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]

    for frame in frames_of(stored(image, tmp_path / "enhanced.dcm")):
        assert "RealWorldValueSlope" not in frame.header
        assert (frame.header.RescaleSlope, frame.header.RescaleIntercept) == (1, -1024)


def test_functional_groups_do_not_change_the_object(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    image = as_enhanced(slices_of(write_slices(tmp_path)))
    other = Dataset()
    other.SOPInstanceUID, other.Rows, other.PixelRepresentation = "2.25.1", 3, 1
    image.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = [other]

    instance = stored(image, tmp_path / "enhanced.dcm")
    for frame in frames_of(instance):
        assert frame.header.SOPInstanceUID == instance.SOPInstanceUID
        assert (frame.header.Rows, frame.header.PixelRepresentation) == (SHAPE[1], 0)


@pytest.mark.parametrize(
    ("count", "groups", "pixels", "message"),
    [
        (5, 6, 6, "functional groups for each of 5 frames, found 6"),
        (7, 6, 7, "functional groups for each of 7 frames, found 6"),
        (6, 0, 6, "functional groups for each of 6 frames, found 0"),
        (6, 6, 4, "pixel data of 6 frames, 756 bytes, found 504 bytes"),
        (6, 6, 7, "pixel data of 6 frames, 756 bytes, found 882 bytes"),
        (0, 6, 6, "a positive NumberOfFrames, found 0"),
        (-6, 6, 6, "a positive NumberOfFrames, found -6"),
        (None, 6, 6, "a positive NumberOfFrames, found none"),
    ],
)
def test_a_number_of_frames_that_lies_is_refused(
    tmp_path: Path,
    as_enhanced: Callable[..., Dataset],
    stored: Stored,
    count: int | None,
    groups: int,
    pixels: int,
    message: str,
) -> None:
    image = as_enhanced(slices_of(write_slices(tmp_path)))
    image.NumberOfFrames = count
    image.PerFrameFunctionalGroupsSequence = image.PerFrameFunctionalGroupsSequence[:groups]
    image.PixelData = (image.PixelData * 2)[: pixels * SHAPE[1] * SHAPE[2] * 2]
    instance = stored(image, tmp_path / "enhanced.dcm")

    with pytest.raises(VolumeError, match=f"{instance.SOPInstanceUID}: expected {message}"):
        frames_of(instance)


def test_several_frames_in_a_single_frame_class_are_refused(tmp_path: Path) -> None:
    path = write_slices(tmp_path)[0]
    image = pydicom.dcmread(path)
    image.NumberOfFrames, image.PixelData = 3, image.PixelData * 3
    image.save_as(path)

    with pytest.raises(VolumeError, match="NumberOfFrames 1 in a single-frame CT image, found 3"):
        frames_of(instance_of(path))


def test_groups_that_contradict_themselves_are_refused(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    image = as_enhanced(slices_of(write_slices(tmp_path)))
    item = image.PerFrameFunctionalGroupsSequence[2]
    item.PlanePositionSequence = [*item.PlanePositionSequence] * 2
    with pytest.raises(VolumeError, match=r"frame 3: expected one item in .*9113.*, found 2"):
        frames_of(stored(image, tmp_path / "positions.dcm"))

    image = as_enhanced(slices_of(write_slices(tmp_path)))
    image.SharedFunctionalGroupsSequence = [*image.SharedFunctionalGroupsSequence] * 2
    with pytest.raises(VolumeError, match="one item of shared groups, found 2"):
        frames_of(stored(image, tmp_path / "shared.dcm"))


def test_groups_that_cannot_be_read_are_refused(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    instance = stored(as_enhanced(slices_of(write_slices(tmp_path))), tmp_path / "enhanced.dcm")
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        header = Dataset(dict(instance.header.items()))
        tag = Tag(keyword)
        header[tag] = RawDataElement(tag, "SQ", 5, b"\xfe\xff\x00\xe0\x09", 0, False, True)
        damaged = Instance(file=instance.file, header=header, pixels=instance.pixels)
        with pytest.raises(VolumeError, match=f"{instance.SOPInstanceUID}: expected"):
            frames_of(damaged)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_no_damage_ends_in_anything_but_a_reason(
    tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    image = as_enhanced(slices_of(write_slices(tmp_path)), False)
    path = tmp_path / "enhanced.dcm"
    whole = stored(image, path).file.path.read_bytes()
    chance = random.Random(3)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(132, len(whole) - 756)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            for frame in frames_of(instance_of(path)):
                assert frame.header.file_meta is not None
        except (NothingUsableError, VolumeError):
            refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize("example", ["24x38x3", "23x38x3"])
def test_a_real_conversion_gives_the_volume_of_its_source(shared_data: Path, example: str) -> None:
    folder = shared_data / "dicom_stress" / "seg_examples" / example
    single = volume_of([instance_of(path) for path in (folder / "image").iterdir()])

    assert_equal_volumes(volume_of([instance_of(folder / "multiframe" / "mf.dcm")]), single)
