from __future__ import annotations

import io
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.errors import NoOrganError, OutputError
from operators.files import PlainFile
from operators.frames import frames_of
from operators.seg import build_seg, found_segments, write_seg
from operators.series import Candidate, Instance, Series
from operators.slice_stack import stack_slices
from operators.volumes import SeriesVolume

ANATOMY = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
KIDNEY = Code(value="64033007", scheme="SCT", meaning="Kidney")
LEFT = Code(value="7771000", scheme="SCT", meaning="Left")
ALGORITHM = Algorithm(
    name="VNet abdomen", version="0.1.0", manufacturer="viscera", model_sha256="0a" * 32
)
CREATED = datetime(2026, 3, 4, 23, 30, 5, tzinfo=timezone.utc)

TILT = np.radians(20)
OBLIQUE = np.array(
    [
        [np.cos(TILT), -np.sin(TILT), 0],
        [np.sin(TILT) * np.cos(TILT), np.cos(TILT) ** 2, -np.sin(TILT)],
        [np.sin(TILT) ** 2, np.sin(TILT) * np.cos(TILT), np.cos(TILT)],
    ]
)
#: Grids of 6 slices of 9 rows and 7 columns; columns are the unit vectors of i, j and k.
DIRECTIONS = {
    "axial": np.eye(3),
    "descending": np.diag((1.0, 1.0, -1.0)),
    "feet first, prone": np.diag((-1.0, -1.0, 1.0)),
    "oblique": OBLIQUE,
    "oblique, descending": OBLIQUE * (1, 1, -1),
    "sagittal": np.array([[0, 0, 1.0], [1.0, 0, 0], [0, -1.0, 0]]),
}


def _segment(number: int, name: str, modifier: Code | None = None) -> Segment:
    return Segment(
        number=number,
        name=name,
        label=name.replace("_", " ").capitalize(),
        category=ANATOMY,
        type=KIDNEY,
        modifier=modifier,
        rgb=(221, 130, 101),
    )


SEGMENTS = (_segment(2, "liver"), _segment(5, "stomach"), _segment(9, "kidney_left", LEFT))


def _geometry(direction: NDArray[np.float64] = DIRECTIONS["axial"]) -> VolumeGeometry:
    return VolumeGeometry.from_spacing((6, 9, 7), (4.0, 0.8, 1.7), (-31.5, 12.25, 100), direction)


def _header(geometry: VolumeGeometry, k: int) -> Dataset:
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = f"2.25.4{k}"
    header.StudyInstanceUID = "2.25.2"
    header.SeriesInstanceUID = "2.25.3"
    header.FrameOfReferenceUID = "2.25.1"
    header.Modality = "CT"
    header.PatientID = "P-1"
    header.PatientName = "Doe^Jane"
    header.ImagePositionPatient = [f"{x:.6f}" for x in geometry.to_lps((k, 0, 0))]
    header.ImageOrientationPatient = [f"{x:.8f}" for x in geometry.direction_lps[:, :2].T.ravel()]
    header.PixelSpacing = [0.8, 1.7]
    header.Rows, header.Columns = 9, 7
    return header


def _source(
    geometry: VolumeGeometry | None = None, headers: Sequence[Dataset] | None = None
) -> SeriesVolume:
    geometry = geometry or _geometry()
    headers = headers or [_header(geometry, k) for k in range(geometry.shape[0])]
    instances = [
        Instance(file=PlainFile(Path(f"{k}.dcm")), header=header)
        for k, header in enumerate(headers)
    ]
    series = Series(
        StudyInstanceUID="2.25.2",
        SeriesInstanceUID="2.25.3",
        instances=tuple(sorted(instances, key=lambda instance: instance.SOPInstanceUID)),
    )
    frames = tuple(frame for instance in instances for frame in frames_of(instance))
    stack = stack_slices(frames)
    return SeriesVolume(
        candidate=Candidate(series=series, frames=frames),
        volume=Volume(hu=np.zeros(stack.grid.shape, np.int16), geometry=stack.grid),
        stack=stack,
    )


def _label_map(geometry: VolumeGeometry | None = None) -> LabelMap:
    """A liver and a left kidney without any symmetry; no stomach."""
    geometry = geometry or _geometry()
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1:4, 1:5, 2:4] = 2
    labels[2, 1, 5] = 2
    labels[4, 6:8, 4:6] = 9
    return LabelMap(labels=labels, geometry=geometry)


def _stored(seg: Dataset) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, seg, enforce_file_format=True)
    return stream.getvalue()


def _read(path: Path, geometry: VolumeGeometry) -> NDArray[np.uint8]:
    """Segment numbers read back by highdicom and placed on a grid by their LPS positions."""
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    index = np.argwhere(volume.array)
    place = geometry.to_index(volume.map_indices_to_reference(index))
    assert np.abs(place - place.round()).max() < 1e-3
    labels = np.zeros(geometry.shape, np.uint8)
    labels[tuple(place.round().astype(int).T)] = volume.array[tuple(index.T)]
    return labels


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS.keys())
def test_every_voxel_returns_to_its_place(direction: NDArray[np.float64], tmp_path: Path) -> None:
    source = _source(_geometry(direction))
    label_map = _label_map(source.volume.geometry)

    write_seg(source, label_map, SEGMENTS, ALGORITHM, tmp_path / "seg.dcm")

    read = _read(tmp_path / "seg.dcm", source.volume.geometry)
    np.testing.assert_array_equal(read == 1, label_map.labels == 2)
    np.testing.assert_array_equal(read == 2, label_map.labels == 9)


def test_instances_are_matched_by_position_not_by_index(tmp_path: Path) -> None:
    geometry = _geometry(OBLIQUE)
    headers = [_header(geometry, k) for k in range(6)]
    random.Random(1).shuffle(headers)

    seg = write_seg(
        _source(geometry, headers), _label_map(geometry), SEGMENTS, ALGORITHM, tmp_path / "s.dcm"
    )

    by_uid = {header.SOPInstanceUID: header for header in headers}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = frame.DerivationImageSequence[0].SourceImageSequence
        source = by_uid[reference.ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert [float(x) for x in position] == [float(x) for x in source.ImagePositionPatient]
    read = _read(tmp_path / "s.dcm", geometry)
    np.testing.assert_array_equal(read > 0, _label_map(geometry).labels > 0)


def test_segments_are_numbered_without_gaps_and_only_organs_found_are_written() -> None:
    seg = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM)

    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2]
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Liver", "Kidney left"]
    assert seg.NumberOfFrames == 4
    assert (
        build_seg(
            _source(), _label_map(), SEGMENTS, ALGORITHM, omit_empty_frames=False
        ).NumberOfFrames
        == 12
    )


def test_segments_carry_codes_colour_and_algorithm() -> None:
    seg = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM)
    liver, kidney = seg.SegmentSequence

    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    modifier = "SegmentedPropertyTypeModifierCodeSequence"
    assert modifier not in liver.SegmentedPropertyTypeCodeSequence[0]
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("VNet abdomen", "0.1.0")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert liver.RecommendedDisplayCIELabValue == [41984, 41604, 40995]
    assert liver.TrackingUID != kidney.TrackingUID


def test_header_says_what_it_is_and_what_it_is_not_for() -> None:
    seg = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM)

    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    assert seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert "not for clinical use" in seg.SeriesDescription
    assert len(seg.SeriesDescription) <= 64
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("2.25.2", "2.25.1")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "2.25.3"
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 6
    assert 900_000 <= seg.SeriesNumber < 1_000_000


def test_algorithm_is_named_as_contributing_equipment() -> None:
    seg = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM)
    retrained = replace(ALGORITHM, model_sha256="0b" * 32)

    (equipment,) = [
        item for item in seg.ContributingEquipmentSequence if item.Manufacturer == "viscera"
    ]

    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == (
        "VNet abdomen",
        "0.1.0",
    )
    assert equipment.DeviceUID == ALGORITHM.DeviceUID != retrained.DeviceUID


def test_same_input_gives_the_same_bytes() -> None:
    one = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM, created=CREATED)
    two = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM, created=CREATED)
    assert _stored(one) == _stored(two)


def test_uids_follow_from_images_model_and_configuration() -> None:
    other_image = [_header(_geometry(), k) for k in range(6)]
    other_image[3].SOPInstanceUID = "2.25.77"
    label_map = _label_map()

    results = [
        build_seg(_source(), label_map, SEGMENTS, ALGORITHM),
        build_seg(_source(), label_map, SEGMENTS, replace(ALGORITHM, model_sha256="0b" * 32)),
        build_seg(_source(), label_map, SEGMENTS, ALGORITHM, configuration="overlap 0.5"),
        build_seg(_source(headers=other_image), label_map, SEGMENTS, ALGORITHM),
    ]
    assert len({seg.SOPInstanceUID for seg in results}) == 4
    assert len({seg.SeriesInstanceUID for seg in results}) == 4
    assert len({seg.SegmentSequence[0].TrackingUID for seg in results}) == 1


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "王^小東=Ωμέγα^Ñandú"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 144", "Жуков^Юрий"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 6", "Doe^John"),
        (None, "Doe^John"),
    ],
)
def test_patient_keeps_name_and_character_set(
    charset: str | list[str] | None, name: str, tmp_path: Path
) -> None:
    headers = []
    for k in range(6):
        header = _header(_geometry(), k)
        if charset is not None:
            header.SpecificCharacterSet = charset
        header.PatientName = name
        pydicom.dcmwrite(
            tmp_path / f"{k}.dcm",
            header,
            implicit_vr=True,
            little_endian=True,
        )
        headers.append(pydicom.dcmread(tmp_path / f"{k}.dcm", force=True))
    raw = headers[0].get_item("PatientName").value

    write_seg(_source(headers=headers), _label_map(), SEGMENTS, ALGORITHM, tmp_path / "seg.dcm")

    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert read.get_item("PatientName").value == raw
    assert str(read.PatientName) == name
    assert read.get("SpecificCharacterSet") == headers[0].get("SpecificCharacterSet")
    assert read.SegmentSequence[1].SegmentLabel == "Kidney left"


def test_what_the_source_leaves_out_stays_empty(tmp_path: Path) -> None:
    headers = [_header(_geometry(), k) for k in range(6)]
    for header in headers:
        del header.PatientID
        del header.FrameOfReferenceUID
        header.PatientSex = "UNKNOWN"  # no such value, but what the source says
        header.SpacingBetweenSlices = -4.0
        header.StudyDescription = "Abdomen"
    seg = write_seg(
        _source(headers=headers), _label_map(), SEGMENTS, ALGORITHM, tmp_path / "seg.dcm"
    )

    read = pydicom.dcmread(tmp_path / "seg.dcm")
    for keyword in ("PatientID", "PatientBirthDate", "StudyID", "StudyDate", "AccessionNumber"):
        assert keyword in read
        assert not read[keyword].value
    assert (read.PatientSex, read.StudyDescription) == ("UNKNOWN", "Abdomen")
    measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == measures.SliceThickness == 4.0
    assert seg.FrameOfReferenceUID.startswith("2.25.")


def test_times_are_in_the_time_zone_of_the_source() -> None:
    headers = [_header(_geometry(), k) for k in range(6)]
    for header in headers:
        header.TimezoneOffsetFromUTC = "+0900"
    with_zone = build_seg(
        _source(headers=headers), _label_map(), SEGMENTS, ALGORITHM, created=CREATED
    )
    without = build_seg(_source(), _label_map(), SEGMENTS, ALGORITHM, created=CREATED)
    assert (with_zone.ContentDate.isoformat(), str(with_zone.ContentTime)) == (
        "2026-03-05",
        "083005",
    )
    assert with_zone.TimezoneOffsetFromUTC == "+0900"
    assert without.ContentDate.isoformat() == "2026-03-04"
    assert "TimezoneOffsetFromUTC" not in without


def test_long_decimals_of_the_source_fit_into_sixteen_characters() -> None:
    headers = [_header(_geometry(), k) for k in range(6)]
    for header in headers:
        header.SliceThickness = DSfloat("1.6000000238418579", validation_mode=config.IGNORE)
    seg = build_seg(_source(headers=headers), _label_map(), SEGMENTS, ALGORITHM)

    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert str(measures.SliceThickness) == "1.60000002384186"


def test_source_headers_stay_as_they_were() -> None:
    source = _source()
    before = [frame.header.to_json() for frame in source.stack.frames]

    build_seg(source, _label_map(), SEGMENTS, ALGORITHM)
    assert [frame.header.to_json() for frame in source.stack.frames] == before


def test_no_organ_at_all_is_an_error() -> None:
    nothing = LabelMap(labels=np.zeros((6, 9, 7), np.uint8), geometry=_geometry())
    assert found_segments(nothing.labels, SEGMENTS) == ()
    with pytest.raises(NoOrganError, match="at least one organ"):
        build_seg(_source(), nothing, SEGMENTS, ALGORITHM)


def test_a_label_without_segment_is_an_error() -> None:
    with pytest.raises(OutputError, match=r"\[2, 5\], found also \[9\]"):
        build_seg(_source(), _label_map(), SEGMENTS[:2], ALGORITHM)


def test_a_segment_number_used_twice_is_an_error() -> None:
    with pytest.raises(OutputError, match="twice"):
        found_segments(_label_map().labels, (*SEGMENTS, _segment(9, "pancreas")))


def test_labels_of_another_grid_are_refused() -> None:
    with pytest.raises(OutputError, match="another grid"):
        build_seg(_source(), _label_map(_geometry(OBLIQUE)), SEGMENTS, ALGORITHM)


def test_an_organ_between_the_slices_alone_is_no_segment() -> None:
    """Where a missing slice was interpolated there is no image to outline anything on."""
    source = _source(headers=[_header(_geometry(), k) for k in (0, 1, 2, 4, 5)])
    assert source.volume.geometry.shape == (6, 9, 7)
    labels = np.zeros((6, 9, 7), np.uint8)
    labels[3, 2:5, 2:5] = 9
    label_map = LabelMap(labels=labels, geometry=source.volume.geometry)
    with pytest.raises(NoOrganError, match="at least one organ"):
        build_seg(source, label_map, SEGMENTS, ALGORITHM)

    labels = labels.copy()
    labels[2:5, 6, 3] = 2
    label_map = LabelMap(labels=labels, geometry=source.volume.geometry)
    seg = build_seg(source, label_map, SEGMENTS, ALGORITHM)
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Liver"]
    assert seg.NumberOfFrames == 2


def test_nothing_is_written_when_the_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_seg(_source(), _label_map(), SEGMENTS, ALGORITHM, tmp_path / "absent" / "seg.dcm")
    assert os.listdir(tmp_path) == []
