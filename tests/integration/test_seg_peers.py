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
from operators.seg import Algorithm, write_seg
from operators.series import Instance, Series, SeriesVolume

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


def _series_volume(instances: list[Instance], geometry: VolumeGeometry) -> SeriesVolume:
    header = instances[0].header
    series = Series(
        StudyInstanceUID=header.StudyInstanceUID,
        SeriesInstanceUID=header.SeriesInstanceUID,
        instances=tuple(sorted(instances, key=lambda instance: instance.SOPInstanceUID)),
    )
    volume = Volume(hu=np.zeros(geometry.shape, np.int16), geometry=geometry)
    return SeriesVolume(series=series, volume=volume, instances=tuple(instances))


def _real_source(folder: Path) -> SeriesVolume:
    """Read a series whose slices are known to be regular."""
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in folder.iterdir()
    ]
    iop = np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*iop)
    headers.sort(key=lambda header: float(normal @ np.array(header.ImagePositionPatient, float)))
    first, last = (np.array(h.ImagePositionPatient, float) for h in (headers[0], headers[-1]))
    row_mm, column_mm = (float(value) for value in headers[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = iop[0] * column_mm
    affine[:3, 1] = iop[1] * row_mm
    affine[:3, 2] = (last - first) / (len(headers) - 1)
    affine[:3, 3] = first
    geometry = VolumeGeometry(
        shape=(len(headers), headers[0].Rows, headers[0].Columns), affine_lps=affine
    )
    instances = [Instance(path=Path(str(h.filename)), header=h) for h in headers]
    return _series_volume(instances, geometry)


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
        instances.append(Instance(path=Path(f"{k}.dcm"), header=header))
    return _series_volume(instances, geometry)


@pytest.fixture(
    scope="module", params=["synthetic", "c3l-00189", "ircad-01", "acrin-flt-breast-001"]
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    if request.param == "synthetic":
        source = _synthetic_source()
    elif (DATA / request.param).is_dir():
        source = _real_source(DATA / request.param)
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


def test_dciodvfy_finds_no_error(case: Case) -> None:
    answer = subprocess.run([_tool("dciodvfy"), case.path], capture_output=True, text=True)

    lines = (answer.stdout + answer.stderr).splitlines()

    assert "Segmentation" in lines  # it knew what it was looking at
    assert [line for line in lines if "Error" in line] == []


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


def test_frames_name_the_instance_at_their_position(case: Case) -> None:
    seg = pydicom.dcmread(case.path, stop_before_pixels=True)
    positions = {
        instance.SOPInstanceUID: np.array(instance.header.ImagePositionPatient, float)
        for instance in case.source.instances
    }

    assert len(seg.PerFrameFunctionalGroupsSequence) > 10
    for frame in seg.PerFrameFunctionalGroupsSequence:
        references = frame.DerivationImageSequence[0].SourceImageSequence
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        assert len(references) == 1
        source = positions[references[0].ReferencedSOPInstanceUID]
        assert np.abs(position - source).max() < 0.01
