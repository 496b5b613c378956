"""Labels of a CT from a DICOM SEG or RTSTRUCT, as a label map on the grid of its volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from models.geometry import LabelMap
from operators.dicom_file import read_header
from operators.elements import values_of
from operators.errors import ImagingError, NothingUsableError, VolumeError
from operators.files import PlainFile
from operators.label_reading_contours import draw_region, open_rtstruct
from operators.label_reading_names import (
    LabelNumbers,
    Naming,
    region_namings,
    segment_naming,
)
from operators.label_reading_seg import draw_segments, open_seg
from operators.label_reading_slices import Overlap, SliceLabels
from operators.volumes import SeriesVolume

#: Label Map Segmentation Storage, since DICOM 2024d.
_LABEL_MAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
SEG_CLASSES = (SegmentationStorage, _LABEL_MAP_STORAGE)
LABEL_CLASSES = (*SEG_CLASSES, RTStructureSetStorage)


@dataclass(frozen=True, kw_only=True, eq=False)
class DicomLabels:
    """What an object says of a volume.

    Parameters
    ----------
    label_map
        On the grid of the volume.
    values
        Label values that the object speaks of, be they empty or not. An organ that it does not
        name, or whose contours were never drawn, may be in the patient all the same.
    ignored
        Segments and regions that no name fits.
    """

    label_map: LabelMap
    values: frozenset[int]
    ignored: tuple[str, ...]


def labels_from_dicom(
    path: Path, source: SeriesVolume, numbers: LabelNumbers, *, overlap: Overlap = "error"
) -> DicomLabels:
    """Read a SEG or RTSTRUCT onto the volume it was drawn on.

    Parameters
    ----------
    path
        The object; its name does not matter.
    source
        The CT.
    numbers
        Label values by name or code; what has neither is left out.
    overlap
        `first` gives a voxel that several organs claim to the one that `numbers` names first.

    Raises
    ------
    ImagingError
        If the file is neither, cannot be read, or has none of the named organs.
    VolumeError
        If it was drawn in another frame of reference or on other slices, or organs overlap.
    """
    header = header_of(path)
    _check_frame_of_reference(path, header, source)
    canvas = SliceLabels(source.stack, numbers.rank(), overlap, path)
    if header.SOPClassUID in SEG_CLASSES:
        seg = open_seg(path)
        namings = {int(item.SegmentNumber): segment_naming(item) for item in seg.SegmentSequence}
        values = _values(namings, numbers)
        draw_segments(seg, values, canvas)
    elif header.SOPClassUID == RTStructureSetStorage:
        rtstruct = open_rtstruct(path)
        namings = region_namings(rtstruct)
        values = _draw_regions(rtstruct, _values(namings, numbers), canvas)
    else:
        kind = UID(header.SOPClassUID).name
        raise ImagingError(f"{path}: expected a SEG or RTSTRUCT, found {kind}")
    if not values:
        raise ImagingError(
            f"{path}: expected one of {', '.join(numbers.values)}, "
            f"found {', '.join(_texts(namings.values())) or 'none'}"
        )
    return DicomLabels(
        label_map=canvas.label_map(),
        values=frozenset(values.values()),
        ignored=tuple(_texts(naming for number, naming in namings.items() if number not in values)),
    )


def names_in(path: Path) -> list[str]:
    """SegmentLabel or ROIName of all that an object holds, in order; raises ImagingError."""
    header = header_of(path)
    if header.SOPClassUID in SEG_CLASSES:
        return _texts(
            segment_naming(item)
            for item in header.get("SegmentSequence") or []
            if int(item.SegmentNumber) > 0  # a label map may describe its background
        )
    return _texts(region_namings(header).values())


def header_of(path: Path) -> Dataset:
    """The header of a DICOM object; raises ImagingError."""
    try:
        header, _ = read_header(PlainFile(path))
    except NothingUsableError as exc:
        raise ImagingError(f"{path}: expected a SEG or RTSTRUCT, found {exc}") from exc
    return header


def _values(namings: Mapping[int, Naming], numbers: LabelNumbers) -> dict[int, int]:
    found = {number: numbers.of(naming) for number, naming in namings.items()}
    return {number: value for number, value in found.items() if value is not None}


def _draw_regions(
    rtstruct: Dataset, values: Mapping[int, int], canvas: SliceLabels
) -> dict[int, int]:
    drawn = {}
    for region in rtstruct.ROIContourSequence:
        number = int(region.ReferencedROINumber)
        if number in values and draw_region(region, values[number], canvas):
            drawn[number] = values[number]
    return drawn


def _check_frame_of_reference(path: Path, header: Dataset, source: SeriesVolume) -> None:
    here = values_of(source.candidate.header, "FrameOfReferenceUID")
    there = values_of(header, "FrameOfReferenceUID")
    if not there:
        items = header.get("ReferencedFrameOfReferenceSequence") or []
        there = tuple(uid for item in items for uid in values_of(item, "FrameOfReferenceUID"))
    if here and there and here[0] not in there:
        raise VolumeError(
            f"{path}: expected the frame of reference of the series {source.candidate.name}, "
            f"{here[0]}, found {there[0]}"
        )


def _texts(namings: Iterable[Naming]) -> list[str]:
    texts = [naming.texts[0] if naming.texts else "(no name)" for naming in namings]
    return list(dict.fromkeys(texts))
