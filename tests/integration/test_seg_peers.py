"""What other programs see in our segmentations: dciodvfy, dcmqi and highdicom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.ct_series import SIGNED, SeriesIdentity, write_ct_series
from operators.dicom_file import read_header
from operators.files import PlainFile
from operators.frames import frames_of
from operators.seg import write_seg
from operators.series import Candidate, Instance, Series
from operators.slice_stack import stack_slices
from operators.volumes import SeriesVolume, build_volume

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct"
ANATOMY = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
LEFT = Code(value="7771000", scheme="SCT", meaning="Left")
RIGHT = Code(value="24028007", scheme="SCT", meaning="Right")
KIDNEY = Code(value="64033007", scheme="SCT", meaning="Kidney")
ORGANS = (
    Segment(
        number=1,
        name="liver",
        label="Liver",
        category=ANATOMY,
        type=Code(value="10200004", scheme="SCT", meaning="Liver"),
        modifier=None,
        rgb=(221, 130, 101),
    ),
    Segment(
        number=3,
        name="kidney_right",
        label="Right kidney",
        category=ANATOMY,
        type=KIDNEY,
        modifier=RIGHT,
        rgb=(185, 102, 83),
    ),
    Segment(
        number=4,
        name="kidney_left",
        label="Left kidney",
        category=ANATOMY,
        type=KIDNEY,
        modifier=LEFT,
        rgb=(200, 122, 93),
    ),
    Segment(
        number=9,
        name="stomach",
        label="Stomach",
        category=ANATOMY,
        type=Code(value="69695003", scheme="SCT", meaning="Stomach"),
        modifier=None,
        rgb=(216, 132, 105),
    ),
)
#: Centres of the ellipsoids in fractions of the grid, in order (k, j, i); the stomach has none.
PLACES = {1: (0.45, 0.45, 0.3), 3: (0.6, 0.7, 0.35), 4: (0.55, 0.68, 0.7)}
ALGORITHM = Algorithm(
    name="VNet abdomen", version="0.1.0", manufacturer="viscera", model_sha256="0a" * 32
)


@dataclass(frozen=True)
class Case:
    """A written segmentation and the labels it came from."""

    path: Path
    source: SeriesVolume
    label_map: LabelMap

    def centroid(self, number: int) -> NDArray[np.float64]:
        centroid = self.label_map.centroid_lps(number)
        assert centroid is not None
        return centroid


def _ellipsoids(geometry: VolumeGeometry) -> LabelMap:
    labels = np.zeros(geometry.shape, np.uint8)
    index = np.meshgrid(*[np.linspace(0, 1, n) for n in geometry.shape], indexing="ij", sparse=True)
    for number, place in PLACES.items():
        radii = (0.25, 0.09, 0.06)
        inside = sum(((x - c) / r) ** 2 for x, c, r in zip(index, place, radii, strict=True)) < 1
        labels[inside] = number
    return LabelMap(labels=labels, geometry=geometry)


def _candidate(instances: list[Instance]) -> Candidate:
    header = instances[0].header
    series = Series(
        StudyInstanceUID=header.StudyInstanceUID,
        SeriesInstanceUID=header.SeriesInstanceUID,
        instances=tuple(sorted(instances, key=lambda instance: instance.SOPInstanceUID)),
    )
    frames = tuple(frame for instance in series.instances for frame in frames_of(instance))
    return Candidate(series=series, frames=frames)


def _without_pixels(instances: list[Instance]) -> SeriesVolume:
    candidate = _candidate(instances)
    stack = stack_slices(candidate.frames)
    volume = Volume(hu=np.zeros(stack.grid.shape, np.int16), geometry=stack.grid)
    return SeriesVolume(candidate=candidate, volume=volume, stack=stack)


def _instance(path: Path) -> Instance:
    header, pixels = read_header(PlainFile(path))
    return Instance(file=PlainFile(path), header=header, pixels=pixels)


def _synthetic_source() -> SeriesVolume:
    """An oblique series with non-square pixels, its slices from head to feet."""
    tilt = np.radians(17)
    i_axis = np.array((np.cos(tilt), np.sin(tilt), 0))
    j_axis = np.array((-np.sin(tilt) * np.cos(tilt), np.cos(tilt) ** 2, np.sin(tilt)))
    geometry = VolumeGeometry.from_spacing(
        (21, 50, 37),
        (4.5, 2.1, 3.3),
        (-61.5, -48.25, 310.75),
        np.stack((i_axis, j_axis, -np.cross(i_axis, j_axis)), axis=1),
    )
    instances = []
    for k in range(21):
        header = pydicom.Dataset()
        header.file_meta = FileMetaDataset()
        header.SOPClassUID = pydicom.uid.CTImageStorage
        header.SOPInstanceUID = f"2.25.71{k:03d}"
        header.StudyInstanceUID, header.SeriesInstanceUID = "2.25.5", "2.25.6"
        header.FrameOfReferenceUID = "2.25.7"
        header.Modality = "CT"
        header.PatientName, header.PatientID = "Phantom^Oblique", "P-1"
        header.Manufacturer = "Phantom maker"
        header.ImagePositionPatient = [f"{x:.6f}" for x in geometry.to_lps((k, 0, 0))]
        header.ImageOrientationPatient = [f"{x:.8f}" for x in (*i_axis, *j_axis)]
        header.PixelSpacing, header.SliceThickness = [2.1, 3.3], 4.5
        header.Rows, header.Columns = 50, 37
        instances.append(Instance(file=PlainFile(Path(f"{k}.dcm")), header=header))
    return _without_pixels(instances)


def _multi_frame_source(folder: Path) -> SeriesVolume:
    """Converted by highdicom, its frames from head to feet."""
    geometry = VolumeGeometry.from_spacing((21, 50, 37), (4.5, 2.1, 3.3), (-61.5, -48.25, 310.75))
    volume = Volume(hu=np.zeros(geometry.shape, np.int16), geometry=geometry)
    paths = write_ct_series(volume, folder, SeriesIdentity(seed_text="multi-frame"))
    image = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        [pydicom.dcmread(path) for path in reversed(paths)],
        series_instance_uid="2.25.81",
        series_number=3,
        sop_instance_uid="2.25.82",
        instance_number=1,
    )
    image.save_as(folder / "multi-frame.dcm")
    return _without_pixels([_instance(folder / "multi-frame.dcm")])


@pytest.fixture(
    scope="module",
    params=["synthetic", "multi-frame", "c3l-00189", "ircad-01", "acrin-flt-breast-001"],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if request.param == "synthetic":
        source = _synthetic_source()
    elif request.param == "multi-frame":
        source = _multi_frame_source(tmp_path_factory.mktemp("ct"))
    elif (DATA / request.param).is_dir():
        source = _without_pixels([_instance(path) for path in (DATA / request.param).iterdir()])
    else:
        pytest.skip(f"{request.param}: no such series in {DATA}")
    label_map = _ellipsoids(source.volume.geometry)
    path = tmp_path_factory.mktemp("seg") / "organs.dcm"
    write_seg(source, label_map, ORGANS, ALGORITHM, path)
    return Case(path=path, source=source, label_map=label_map)


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _assert_valid(path: Path) -> None:
    answer = subprocess.run([_tool("dciodvfy"), path], capture_output=True, text=True)
    lines = (answer.stdout + answer.stderr).splitlines()
    assert "Segmentation" in lines  # it knew what it was looking at
    assert [line for line in lines if "Error" in line] == []


def test_dciodvfy_finds_no_error(case: Case) -> None:
    _assert_valid(case.path)


def test_dcmqi_sees_each_organ_where_the_labels_are(case: Case, tmp_path: Path) -> None:
    subprocess.run(
        [
            _tool("segimage2itkimage"),
            *("--inputDICOM", case.path, "--outputDirectory", tmp_path),
            *("--prefix", "organ", "--outputType", "nrrd"),
        ],
        check=True,
        capture_output=True,
    )

    for position, number in enumerate(PLACES, start=1):
        image = sitk.ReadImage(str(tmp_path / f"organ-{position}.nrrd"))
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(sitk.Cast(image != 0, sitk.sitkUInt8))
        assert np.abs(np.array(statistics.GetCentroid(1)) - case.centroid(number)).max() < 0.01
        assert statistics.GetNumberOfPixels(1) == (case.label_map.labels == number).sum()


def test_highdicom_sees_each_organ_where_the_labels_are(case: Case) -> None:
    seg = highdicom.seg.segread(case.path)

    assert seg.segment_numbers == [1, 2, 3]
    for position, number in enumerate(PLACES, start=1):
        volume = seg.get_volume(segment_numbers=[position], combine_segments=True)
        voxels = np.argwhere(volume.array == position)
        centroid = volume.map_indices_to_reference(voxels.mean(axis=0)[None])[0]
        assert np.abs(centroid - case.centroid(number)).max() < 0.01
        assert len(voxels) == (case.label_map.labels == number).sum()


def test_frames_name_the_image_at_their_position(case: Case) -> None:
    seg = pydicom.dcmread(case.path, stop_before_pixels=True)
    positions = {
        (frame.SOPInstanceUID, frame.number): np.array(frame.header.ImagePositionPatient, float)
        for frame in case.source.stack.frames
    }

    assert len(seg.PerFrameFunctionalGroupsSequence) > 10
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        number = int(reference.get("ReferencedFrameNumber", 1))
        source = positions[reference.ReferencedSOPInstanceUID, number]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(position - source).max() < 0.01


#: Ellipsoids of the irregular series: centre and radii in mm (x, y, z), and HU in water of 0.
DRAWN = (
    (np.array((-27.3, 12.1, 340.0)), np.array((14.0, 12.0, 20.0)), 500),
    (np.array((10.7, -3.9, 326.0)), np.array((10.0, 14.0, 16.0)), 1500),
)
SLICE_SHAPE, PIXEL_MM = (50, 40), (1.8, 2.6)


def _irregular_positions(kind: str) -> NDArray[np.float64]:
    """First pixels of 24 slices 4 mm apart, tilted by 15 degrees, or unevenly apart, or fewer."""
    z = 4.0 * np.arange(24)
    if kind == "uneven":
        z = np.where(z < 48, 0.75 * z, 36 + 1.25 * (z - 48))
    y = np.tan(np.radians(15)) * z if kind == "tilted" else 0 * z
    positions = np.stack([0 * z - 60, y - 40, z + 300], axis=1)
    return np.delete(positions, (8, 15), axis=0) if kind == "gapped" else positions


def _drawn(points: NDArray[np.float64]) -> NDArray[np.int16]:
    hu = np.zeros(points.shape[:-1], np.int16)
    for centre, radii, value in DRAWN:
        hu[(((points - centre) / radii) ** 2).sum(axis=-1) <= 1] = value
    return hu


def _points(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, shape[::-1]), indexing="ij"), axis=-1)
    return (index @ affine[:3, :3].T + affine[:3, 3]).transpose(2, 1, 0, 3)


def _irregular_source(kind: str, folder: Path) -> SeriesVolume:
    """Each slice shows the ellipsoids where it truly lies."""
    positions = _irregular_positions(kind)
    shape = (len(positions), *SLICE_SHAPE)
    geometry = VolumeGeometry.from_spacing(shape, (4.0, *PIXEL_MM))
    volume = Volume(hu=np.zeros(shape, np.int16), geometry=geometry)
    paths = write_ct_series(volume, folder, SeriesIdentity(seed_text=kind), storage=SIGNED)
    for path, position in zip(paths, positions, strict=True):
        image = pydicom.dcmread(path)
        image.ImagePositionPatient = [f"{x:.6f}" for x in position]
        affine = np.diag((PIXEL_MM[1], PIXEL_MM[0], 1.0, 1.0))
        affine[:3, 3] = position
        image.PixelData = _drawn(_points(affine, (1, *SLICE_SHAPE))[0]).astype("<i2").tobytes()
        image.save_as(path)
    return build_volume(_candidate([_instance(path) for path in paths]))


def _outlined(volume: Volume) -> LabelMap:
    """Half of an ellipsoid's HU is its border, in the half of the volume that is nearer to it."""
    points = _points(volume.geometry.affine_lps, volume.geometry.shape)
    apart = [(((points - centre) / radii) ** 2).sum(axis=-1) for centre, radii, _ in DRAWN]
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[(apart[0] < apart[1]) & (volume.hu > DRAWN[0][2] / 2)] = 1
    labels[(apart[0] >= apart[1]) & (volume.hu > DRAWN[1][2] / 2)] = 3
    return LabelMap(labels=labels, geometry=volume.geometry)


def _centroid_on_slices(
    seg: pydicom.Dataset, number: int, source: SeriesVolume
) -> NDArray[np.float64]:
    """By the frames' own positions, each as thick as half the way to its neighbours."""
    heights = source.stack.positions_lps[:, 2]
    thickness = dict(zip(heights.round(3), np.gradient(heights), strict=True))
    moment, weight = np.zeros(3), 0.0
    for group, plane in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            j, i = np.nonzero(plane)
            share = thickness[position[2].round(3)] * len(j)
            moment += share * (position + (i.mean() * PIXEL_MM[1], j.mean() * PIXEL_MM[0], 0))
            weight += share
    return moment / weight


@pytest.mark.parametrize("kind", ["tilted", "uneven", "gapped"])
def test_organs_of_irregular_slices_lie_where_they_are(kind: str, tmp_path: Path) -> None:
    source = _irregular_source(kind, tmp_path / "ct")
    assert not source.stack.is_grid
    label_map = _outlined(source.volume)
    write_seg(source, label_map, ORGANS, ALGORITHM, tmp_path / "seg.dcm")

    _assert_valid(tmp_path / "seg.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    half_a_voxel = np.array((PIXEL_MM[1], PIXEL_MM[0], 4.0)) / 2
    for position, (number, drawn) in enumerate(zip((1, 3), DRAWN, strict=True), start=1):
        centroid = _centroid_on_slices(seg, position, source)
        of_labels = label_map.centroid_lps(number)
        assert of_labels is not None
        assert (np.abs(centroid - of_labels) < half_a_voxel).all()
        assert (np.abs(centroid - drawn[0]) < half_a_voxel).all()
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert ("SpacingBetweenSlices" in measures) == (kind != "uneven")
