"""A label map becomes a DICOM Segmentation (PS3.3 A.51) on the grid of its CT series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DT

from models.geometry import LabelMap
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.colours import cielab_from_rgb
from operators.errors import NoOrganError, OutputError
from operators.outputs import atomic_write
from operators.source_slices import refer_to_frames, source_templates
from operators.uids import derived_uid
from operators.volumes import SeriesVolume, labels_on_slices

#: SeriesDescription of every result (LO, at most 64 characters).
SERIES_DESCRIPTION = "Abdominal organs (AI), research use only, not for clinical use"


def found_segments(labels: NDArray[np.uint8], segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments that have at least one voxel in labels `(D, H, W)`, in order of their number.

    Raises
    ------
    OutputError
        If two segments share a number, or a label has no segment.
    """
    by_number = {segment.number: segment for segment in segments}
    if len(by_number) != len(segments):
        raise OutputError("expected segments of different numbers, found a number twice")
    counts = np.zeros(256, np.int64)
    for plane in labels:  # bincount widens its input to 64 bits: plane by plane
        counts += np.bincount(plane.ravel(), minlength=256)
    present = set(np.flatnonzero(counts).tolist()) - {0}
    if unknown := sorted(present - by_number.keys()):
        raise OutputError(
            f"expected labels of the segments {sorted(by_number)}, found also {unknown}"
        )
    return tuple(by_number[number] for number in sorted(present))


def build_seg(
    source: SeriesVolume,
    label_map: LabelMap,
    segments: Sequence[Segment],
    algorithm: Algorithm,
    *,
    configuration: str = "",
    omit_empty_frames: bool = True,
    created: datetime | None = None,
) -> highdicom.seg.Segmentation:
    """Build a BINARY segmentation, one segment per organ.

    Frames lie on the source slices, each at its own position: where the grid of the labels repairs
    a stack of slices, every pixel of a slice takes the label of the nearest voxel.

    Only organs that were found become segments, numbered 1 to N in order of their labels: a
    segment without frames breaks several viewers. Which organs were looked for in vain is told
    by the table of volumes. Patient and study are those of the source, in its character set; what
    the source leaves out stays empty. UIDs follow from the source's SOP instances, the segments,
    the algorithm and the configuration, never from the clock.

    Parameters
    ----------
    source
        The volume that was segmented, and the slices that it was made of.
    label_map
        Labels on the grid of that volume.
    segments
        What the labels mean; numbers may have gaps.
    algorithm
        What made the labels.
    configuration
        Any text that tells settings apart which lead to different labels.
    omit_empty_frames
        False writes every slice for every organ, for viewers that need it.
    created
        Date and time of the content, aware of its time zone; default now.

    Raises
    ------
    OutputError
        If the grids differ, segments share a number, or a label has no segment.
    NoOrganError
        If no organ was found.
    """
    if not label_map.geometry.agrees_with(source.volume.geometry):
        raise OutputError(
            f"expected labels on the grid of the series {source.candidate.name}, "
            f"{source.volume.geometry.shape}, found another grid, {label_map.geometry.shape}"
        )
    labels = labels_on_slices(label_map, source.stack)
    found = found_segments(labels, segments)
    if not found:
        raise NoOrganError(
            f"expected at least one organ in the series {source.candidate.name}, "
            "found none: there is nothing to write as a segmentation"
        )
    frames = source.stack.frames
    header = frames[0].instance.header
    identity = (
        source.series.SeriesInstanceUID,
        *sorted(frame.name for frame in frames),
        *(f"{segment.number} {segment.name}" for segment in segments),
        algorithm.DeviceUID,
        configuration,
        "without empty frames" if omit_empty_frames else "with empty frames",
    )
    series_uid = derived_uid("series", *identity)
    moment = _moment(header, created)
    seg = highdicom.seg.Segmentation(
        source_images=source_templates(source.stack),
        pixel_array=_renumbered(labels, found),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, segment, algorithm, source.series.SeriesInstanceUID)
            for number, segment in enumerate(found, start=1)
        ],
        series_instance_uid=series_uid,
        series_number=_series_number(series_uid),
        sop_instance_uid=derived_uid("instance", *identity),
        instance_number=1,
        manufacturer=algorithm.manufacturer,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.model_sha256[:16],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=omit_empty_frames,
        content_label="ORGANS",
        content_description="Organs segmented by a neural network",
        series_description=SERIES_DESCRIPTION,
        content_date=moment.date(),
        content_time=moment.time(),
        series_date=moment.date(),
        series_time=moment.time(),
        contributing_equipment=[_contribution(algorithm, moment)],
    )
    refer_to_frames(seg, source.stack)
    _copy_patient_and_study(seg, header)
    _settle(seg, header, moment, derived_uid("dimensions", *identity))
    return seg


def write_seg(
    source: SeriesVolume,
    label_map: LabelMap,
    segments: Sequence[Segment],
    algorithm: Algorithm,
    path: Path,
    *,
    configuration: str = "",
    omit_empty_frames: bool = True,
) -> highdicom.seg.Segmentation:
    """Build a segmentation and write it, completely or not at all.

    Returns
    -------
    highdicom.seg.Segmentation
        What was written.

    Raises
    ------
    OutputError
        As `build_seg` and `atomic_write`.
    """
    seg = build_seg(
        source,
        label_map,
        segments,
        algorithm,
        configuration=configuration,
        omit_empty_frames=omit_empty_frames,
    )
    with atomic_write(path) as stream:
        pydicom.dcmwrite(stream, seg, enforce_file_format=True)
    return seg


def _renumbered(labels: NDArray[np.uint8], found: Sequence[Segment]) -> NDArray[np.uint8]:
    """Labels `(D, H, W)` whose values are 1 to N in the order of the found segments."""
    numbers = [segment.number for segment in found]
    contiguous = list(range(1, len(found) + 1))
    if numbers == contiguous:
        return labels
    table = np.zeros(256, np.uint8)
    table[numbers] = contiguous
    return table[labels]


def _code(code: Code) -> DicomCode:
    return DicomCode(code.value, code.scheme, code.meaning)


def _description(
    number: int, segment: Segment, algorithm: Algorithm, SeriesInstanceUID: str
) -> SegmentDescription:
    description = SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=_code(segment.category),
        segmented_property_type=_code(segment.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=codes.cid7162.ArtificialIntelligence,
            version=algorithm.version,
            source=algorithm.manufacturer,
            parameters={"weights_sha256": algorithm.model_sha256},
        ),
        # the same organ of the same images, whichever program or version outlined it
        tracking_id=segment.name,
        tracking_uid=derived_uid("tracking", SeriesInstanceUID, segment.name),
        display_color=CIELabColor.from_dicom_value(cielab_from_rgb(segment.rgb)),
    )
    if segment.modifier is not None:
        modifier = highdicom.sr.CodedConcept.from_code(_code(segment.modifier))
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return description


def _series_number(series_uid: str) -> int:
    """Six digits, far above what scanners count up to, and different from result to result."""
    return 900_000 + int(series_uid.rsplit(".", 1)[1]) % 100_000


def _moment(header: Dataset, created: datetime | None) -> datetime:
    """The time of the content, in the source's time zone where it states one.

    TimezoneOffsetFromUTC covers all times of an instance (PS3.3 C.12.1.1), so also the copied
    StudyTime: it can be neither changed nor added without knowing the source's zone.
    """
    moment = (created or datetime.now().astimezone()).replace(microsecond=0)
    offset = _timezone(header)
    return moment.astimezone(datetime.strptime(offset, "%z").tzinfo) if offset else moment


def _timezone(header: Dataset) -> str | None:
    offset = str(header.get("TimezoneOffsetFromUTC") or "")
    return offset if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", offset) else None


def _contribution(algorithm: Algorithm, moment: datetime) -> highdicom.ContributingEquipment:
    """The algorithm as equipment (IHE AIR 6.5.3.1; code of PS3.16 CID 7005)."""
    equipment = highdicom.ContributingEquipment(
        manufacturer=algorithm.manufacturer,
        purpose_of_reference=codes.cid7005.ProcessingEquipment,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number=algorithm.model_sha256[:16],
        contribution_datetime=moment.replace(tzinfo=None),
        contribution_description="Processing Algorithm",
    )
    equipment.DeviceUID = algorithm.DeviceUID
    return equipment


def _copy_patient_and_study(seg: highdicom.seg.Segmentation, header: Dataset) -> None:
    """Copy both modules as the source has them, in its character set."""
    seg.copy_patient_and_study_information(header)
    if "SpecificCharacterSet" in header:
        seg.SpecificCharacterSet = header.SpecificCharacterSet


def _settle(
    seg: highdicom.seg.Segmentation, header: Dataset, moment: datetime, dimensions_uid: str
) -> None:
    """Replace what highdicom takes from the clock or from chance."""
    for item in (*seg.DimensionIndexSequence, *seg.DimensionOrganizationSequence):
        item.DimensionOrganizationUID = dimensions_uid
    seg.InstanceCreationDate = seg.ContentDate
    seg.InstanceCreationTime = seg.ContentTime
    for item in seg.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            item.ContributionDateTime = DT(moment.replace(tzinfo=None))
    if (offset := _timezone(header)) is not None:
        seg.TimezoneOffsetFromUTC = offset
