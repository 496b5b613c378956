"""What a segmentation says of its source slices: positions, distances and references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.frames import frames_of
from operators.seg import build_seg, write_seg
from operators.series import Candidate, Instance, Series
from operators.slice_stack import SliceStack, stack_slices
from operators.source_slices import source_templates
from operators.volumes import SeriesVolume

SHAPE, SPACING_MM, ORIGIN = (6, 9, 7), (4.0, 0.8, 1.7), (-31.5, 12.25, 100.0)
TILT = np.radians(20)
OBLIQUE = np.array([[np.cos(TILT), 0, np.sin(TILT)], [0, 1, 0], [-np.sin(TILT), 0, np.cos(TILT)]])
ALGORITHM = Algorithm(name="test", version="1", manufacturer="viscera", model_sha256="0b" * 32)
ORGAN = Code(value="10200004", scheme="SCT", meaning="Liver")
SEGMENTS = [
    Segment(
        number=number,
        name=f"organ_{number}",
        label=f"Organ {number}",
        category=Code(value="123037004", scheme="SCT", meaning="Anatomical Structure"),
        type=ORGAN,
        modifier=None,
        rgb=(200, 100, 50),
    )
    for number in (1, 2)
]
Stored = Callable[[Dataset, Path], Instance]


@pytest.fixture
def slices(tmp_path: Path) -> list[Dataset]:
    geometry = VolumeGeometry.from_spacing(SHAPE, SPACING_MM, ORIGIN, OBLIQUE)
    volume = Volume(hu=np.zeros(SHAPE, np.int16), geometry=geometry)
    paths = write_ct_series(volume, tmp_path / "ct", SeriesIdentity(seed_text="slices"))
    return [pydicom.dcmread(path) for path in paths]


@pytest.fixture
def images(slices: list[Dataset], tmp_path: Path, stored: Stored) -> list[Instance]:
    return [stored(one, tmp_path / f"{n}.dcm") for n, one in enumerate(slices)]


def source_of(instances: Sequence[Instance], chosen: Sequence[int] | None = None) -> SeriesVolume:
    """A volume of all frames of some instances, or of the chosen ones, which are counted from 0."""
    header = instances[0].header
    series = Series(
        StudyInstanceUID=header.StudyInstanceUID,
        SeriesInstanceUID=header.SeriesInstanceUID,
        instances=tuple(instances),
    )
    frames = [frame for instance in instances for frame in frames_of(instance)]
    candidate = Candidate(
        series=series, frames=tuple(frames if chosen is None else [frames[n] for n in chosen])
    )
    stack = stack_slices(candidate.frames)
    volume = Volume(hu=np.zeros(stack.grid.shape, np.int16), geometry=stack.grid)
    return SeriesVolume(candidate=candidate, volume=volume, stack=stack)


def labels_for(source: SeriesVolume) -> LabelMap:
    """Two organs that meet on some slices, without any symmetry."""
    labels = np.zeros(source.volume.geometry.shape, np.uint8)
    labels[:3, 1:5, 2:4] = 1
    labels[1:, 6:8, 5] = 2
    labels[2, 8, 6] = 2
    return LabelMap(labels=labels, geometry=source.volume.geometry)


def moved(
    images: Sequence[Instance], mm: Callable[[int], tuple[float, float, float]]
) -> SliceStack:
    """Slices, each moved along its rows, columns and normal."""
    for k, image in enumerate(images):
        position = np.array(image.header.ImagePositionPatient, float) + OBLIQUE @ mm(k)
        image.header.ImagePositionPatient = [f"{x:.6f}" for x in position]
    return source_of(images).stack


def positions_of(datasets: Sequence[Dataset]) -> NDArray[np.float64]:
    return np.array([dataset.ImagePositionPatient for dataset in datasets], float)


def distances_mm(templates: Sequence[Dataset]) -> list[float]:
    return [float(template.SpacingBetweenSlices) for template in templates]


def test_a_regular_stack_states_its_distance(images: list[Instance]) -> None:
    stack = source_of(images).stack
    templates = source_templates(stack)
    assert distances_mm(templates) == pytest.approx([4.0] * len(stack.frames), abs=1e-6)
    assert {template.SOPClassUID for template in templates} == {CTImageStorage}


def test_slices_stay_where_they_are_whatever_the_grid(images: list[Instance]) -> None:
    stack = moved(images, lambda k: (0.0, 0.9 * k, 0.3 * (k % 2)))
    assert not stack.is_grid
    expected = positions_of([frame.header for frame in stack.frames])
    np.testing.assert_array_equal(positions_of(source_templates(stack)), expected)


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_of_a_gap_are_still_a_distance_apart(images: list[Instance], k: int) -> None:
    stack = source_of([image for n, image in enumerate(images) if n != k]).stack
    assert not stack.is_grid
    assert distances_mm(source_templates(stack)) == pytest.approx(
        [4.0] * len(stack.frames), abs=1e-6
    )


def test_a_tilted_stack_states_the_distance_of_its_planes(images: list[Instance]) -> None:
    stack = moved(images, lambda k: (0.0, 0.9 * k, 0.0))
    assert not stack.is_grid
    assert distances_mm(source_templates(stack)) == pytest.approx(
        [4.0] * len(stack.frames), abs=1e-6
    )


def test_uneven_distances_are_not_stated_as_one(images: list[Instance]) -> None:
    stack = moved(images, lambda k: (0.0, 0.0, 0.4 * (k % 2)))
    assert not stack.is_grid
    assert all("SpacingBetweenSlices" not in t for t in source_templates(stack))


def test_frames_are_referred_to_by_their_numbers(
    slices: list[Dataset], tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    order = [3, 0, 5, 1, 4, 2]
    image = stored(as_enhanced([slices[n] for n in order]), tmp_path / "enhanced.dcm")
    source = source_of([image])
    label_map = labels_for(source)

    write_seg(source, label_map, SEGMENTS, ALGORITHM, tmp_path / "seg.dcm")

    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert len(seg.PerFrameFunctionalGroupsSequence) == 8
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedSOPClassUID == EnhancedCTImageStorage
        assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
        k = order[int(reference.ReferencedFrameNumber) - 1]
        assert group.PlanePositionSequence[0].ImagePositionPatient == slices[k].ImagePositionPatient
    read = seg.get_pixels_by_source_frame(
        image.SOPInstanceUID,
        list(range(1, 7)),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    expected = np.stack([label_map.labels[n] for n in order])
    np.testing.assert_array_equal(read, expected)


def test_an_image_is_referred_to_once_and_as_a_whole(
    slices: list[Dataset], tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    images = [
        stored(as_enhanced(slices[part], stack=str(n)), tmp_path / f"{n}.dcm")
        for n, part in enumerate((slice(0, 4), slice(4, 6)))
    ]
    source = source_of(images)

    seg = build_seg(source, labels_for(source), SEGMENTS, ALGORITHM)

    uids = [image.SOPInstanceUID for image in images]
    (series,) = seg.ReferencedSeriesSequence
    assert [r.ReferencedSOPInstanceUID for r in series.ReferencedInstanceSequence] == uids
    assert [r.ReferencedSOPInstanceUID for r in seg.SourceImageSequence] == uids
    for reference in (*series.ReferencedInstanceSequence, *seg.SourceImageSequence):
        assert reference.ReferencedSOPClassUID == EnhancedCTImageStorage
        assert "ReferencedFrameNumber" not in reference


def test_frames_that_were_used_are_named_where_others_were_not(
    slices: list[Dataset], tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    image = stored(as_enhanced(slices[::-1]), tmp_path / "enhanced.dcm")
    source = source_of([image], chosen=[4, 1, 2, 3])

    seg = build_seg(source, labels_for(source), SEGMENTS, ALGORITHM)

    (reference,) = seg.SourceImageSequence
    assert list(reference.ReferencedFrameNumber) == [2, 3, 4, 5]
    ((instance,),) = [s.ReferencedInstanceSequence for s in seg.ReferencedSeriesSequence]
    assert "ReferencedFrameNumber" not in instance
    others = source_of([image], chosen=[2, 3, 4, 5])
    other = build_seg(others, labels_for(others), SEGMENTS, ALGORITHM)
    assert other.SOPInstanceUID != seg.SOPInstanceUID


def test_single_and_multi_frame_images_of_one_series_go_together(
    slices: list[Dataset], tmp_path: Path, as_enhanced: Callable[..., Dataset], stored: Stored
) -> None:
    several = stored(as_enhanced(slices[2:]), tmp_path / "enhanced.dcm")
    singles = [stored(one, tmp_path / f"{n}.dcm") for n, one in enumerate(slices[:2])]
    source = source_of([several, *singles])

    seg = build_seg(source, labels_for(source), SEGMENTS, ALGORITHM)

    found = []
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        found.append((reference.ReferencedSOPInstanceUID, reference.get("ReferencedFrameNumber")))
    uids = [singles[0].SOPInstanceUID, singles[1].SOPInstanceUID, several.SOPInstanceUID]
    first = [(uids[0], None), (uids[1], None), (uids[2], 1)]
    assert sorted(found, key=str) == sorted(
        [*first, (uids[1], None), *((uids[2], n) for n in (1, 2, 3, 4))], key=str
    )
    assert sorted(r.ReferencedSOPInstanceUID for r in seg.SourceImageSequence) == sorted(uids)


def test_single_frame_images_are_referred_to_without_frames(images: list[Instance]) -> None:
    source = source_of(images)

    seg = build_seg(source, labels_for(source), SEGMENTS, ALGORITHM)

    references = [
        *(
            g.DerivationImageSequence[0].SourceImageSequence[0]
            for g in seg.PerFrameFunctionalGroupsSequence
        ),
        *seg.SourceImageSequence,
        *seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence,
    ]
    assert len(references) == 8 + 6 + 6
    for reference in references:
        assert reference.ReferencedSOPClassUID == CTImageStorage
        assert "ReferencedFrameNumber" not in reference
