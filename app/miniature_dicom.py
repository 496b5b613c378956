"""A miniature data set of DICOM: phantoms as CT series, labelled by a SEG or an RTSTRUCT each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage
from pydicom.valuerep import format_number_as_ds

from models.data.miniature_people import person
from models.geometry import LabelMap
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.loading import scan
from operators.outputs import atomic_write
from operators.seg import write_seg
from operators.splitting import split_series
from operators.uids import derived_uid
from operators.volumes import SeriesVolume, build_volume

_ANATOMY = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
_KIDNEY = Code(value="64033007", scheme="SCT", meaning="Kidney")
_LEFT = Code(value="7771000", scheme="SCT", meaning="Left")
_RIGHT = Code(value="24028007", scheme="SCT", meaning="Right")
_LIVER = Code(value="10200004", scheme="SCT", meaning="Liver")
_SPLEEN = Code(value="78961009", scheme="SCT", meaning="Spleen")
#: Label, code, side and colour of each organ, in order of its number from 1.
_ORGANS: Mapping[str, tuple[str, Code, Code | None, tuple[int, int, int]]] = {
    "liver": ("Liver", _LIVER, None, (221, 130, 101)),
    "spleen": ("Spleen", _SPLEEN, None, (157, 108, 162)),
    "kidney_left": ("Left kidney", _KIDNEY, _LEFT, (212, 126, 151)),
    "kidney_right": ("Right kidney", _KIDNEY, _RIGHT, (185, 102, 83)),
}
#: Number of each organ in the labels of a miniature.
MINIATURE_VALUES = {name: number for number, name in enumerate(_ORGANS, start=1)}
_ALGORITHM = Algorithm(
    name="Phantom truth", version="1", manufacturer="viscera", model_sha256="0" * 64
)


def make_dicom(
    folder: Path,
    labels: Literal["seg", "rtstruct"] = "seg",
    count: int = 2,
    *,
    spacing_mm: float = 5.0,
    first_seed: int = 1,
) -> Path:
    """Liver, spleen and kidneys of phantoms, each in a folder of its own.

    Parameters
    ----------
    folder
        Made where there is none.
    labels
        What holds them. Contours run along the edges of pixels, so that they mean the same
        pixels.
    count, spacing_mm, first_seed
        As in `models.data.miniature`.

    Returns
    -------
    The folder to read.
    """
    for n in range(1, count + 1):
        someone = person(first_seed + n - 1, spacing_mm)
        place = folder / f"subject-{n:02d}"
        identity = SeriesIdentity(
            seed_text=f"miniature {first_seed + n - 1} {spacing_mm:g}",
            PatientID=f"MINIATURE-{first_seed + n - 1}",
        )
        write_ct_series(someone.hu, place / "ct", identity, shuffle_seed=n)
        ((series,),) = (study.series for study in scan(place / "ct").studies)
        source = build_volume(split_series(series, series.instances)[0])
        values = someone.labels(MINIATURE_VALUES)
        label_map = LabelMap(labels=values, geometry=source.volume.geometry)
        if labels == "seg":
            write_seg(source, label_map, segments(), _ALGORITHM, place / "labels.dcm")
        else:
            write_rtstruct(source, label_map, place / "labels.dcm")
    return folder


def segments() -> tuple[Segment, ...]:
    """What the labels of a miniature mean."""
    return tuple(
        Segment(
            number=MINIATURE_VALUES[name],
            name=name,
            label=label,
            category=_ANATOMY,
            type=code,
            modifier=side,
            rgb=rgb,
        )
        for name, (label, code, side, rgb) in _ORGANS.items()
    )


def write_rtstruct(source: SeriesVolume, label_map: LabelMap, path: Path) -> None:
    """Write labels as an RT Structure Set (PS3.3 A.19), one closed contour per outline.

    Parameters
    ----------
    source
        The CT; its slices are the grid.
    label_map
        On that grid, with the numbers of `MINIATURE_VALUES`.
    path
        Of the file.
    """
    header = source.candidate.header
    dataset = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        setattr(dataset, keyword, header.get(keyword, ""))
    for keyword in ("StudyTime", "StudyID", "AccessionNumber", "StudyInstanceUID"):
        setattr(dataset, keyword, header.get(keyword, ""))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ReferringPhysicianName = ""
    dataset.Modality = "RTSTRUCT"
    dataset.Manufacturer = "viscera"
    dataset.SOPClassUID = RTStructureSetStorage
    series_uid = source.series.SeriesInstanceUID
    dataset.SeriesInstanceUID = derived_uid("miniature structures", series_uid)
    dataset.SOPInstanceUID = derived_uid("miniature structure set", series_uid)
    dataset.SeriesNumber = 3
    dataset.StructureSetLabel = "Organs"
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.StudyDate, dataset.StudyTime
    dataset.FrameOfReferenceUID = header.FrameOfReferenceUID
    dataset.ReferencedFrameOfReferenceSequence = [_reference(source)]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    for name, number in MINIATURE_VALUES.items():
        _add_region(dataset, source, label_map, name, number)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with atomic_write(path) as stream:
        dataset.save_as(stream, enforce_file_format=True)


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The closed lines around a mask, along the edges of its pixels.

    Parameters
    ----------
    mask
        `(H, W)`.

    Returns
    -------
    Each `(n, 2)`, corners `(j, i)` in pixels, whose centres are whole numbers; holes have lines of
    their own.
    """
    padded = np.pad(mask, 1)
    # edges run with the mask on their right: from corner (j, i) of the padded raster on
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    steps = (((-1, 0), (0, 0), (0, 1)), ((0, 1), (0, 1), (1, 1)))
    for (dj, di), begin, end in (
        *steps,
        ((1, 0), (1, 1), (1, 0)),
        ((0, -1), (1, 0), (0, 0)),
    ):
        beside = np.roll(padded, (-dj, -di), (0, 1))
        for j, i in np.argwhere(padded & ~beside).tolist():
            start = (j + begin[0], i + begin[1])
            edges.setdefault(start, []).append((j + end[0], i + end[1]))
    lines = []
    while edges:
        at = first = next(iter(edges))
        line = []
        while True:
            line.append(at)
            at = edges[at].pop()
            if not edges[line[-1]]:
                del edges[line[-1]]
            if at == first:
                break
        lines.append(np.array(line, np.float64) - 1.5)  # the padding, and from corners to centres
    return lines


def _add_region(
    dataset: Dataset, source: SeriesVolume, label_map: LabelMap, name: str, number: int
) -> None:
    label, _, _, rgb = _ORGANS[name]
    region = Dataset()
    region.ROINumber = number
    region.ReferencedFrameOfReferenceUID = dataset.FrameOfReferenceUID
    region.ROIName = label
    region.ROIGenerationAlgorithm = "AUTOMATIC"
    dataset.StructureSetROISequence.append(region)
    contours = Dataset()
    contours.ROIDisplayColor = list(rgb)
    contours.ReferencedROINumber = number
    contours.ContourSequence = []
    for k, plane in enumerate(label_map.labels):
        for line in outlines(plane == number):
            kji = np.column_stack((np.full(len(line), k), line))
            points = source.volume.geometry.to_lps(kji)
            contour = Dataset()
            contour.ContourImageSequence = [_image(source, k)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(line)
            contour.ContourData = [format_number_as_ds(float(x) + 0.0) for x in points.ravel()]
            contours.ContourSequence.append(contour)
    dataset.ROIContourSequence.append(contours)
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = ""
    dataset.RTROIObservationsSequence.append(observation)


def _reference(source: SeriesVolume) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.series.SeriesInstanceUID
    series.ContourImageSequence = [_image(source, k) for k in range(len(source.stack.frames))]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired
    study.ReferencedSOPInstanceUID = source.series.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = source.candidate.header.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _image(source: SeriesVolume, k: int) -> Dataset:
    frame = source.stack.frames[k]
    image = Dataset()
    image.ReferencedSOPClassUID = frame.instance.header.SOPClassUID
    image.ReferencedSOPInstanceUID = frame.SOPInstanceUID
    return image
