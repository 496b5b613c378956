"""The source slices of a segmentation: clean headers for highdicom, and references to frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat

from operators.elements import numbers_of, values_of
from operators.series import Frame
from operators.slice_checks import POSITION_TOLERANCE_MM
from operators.slice_stack import SliceStack
from operators.uids import derived_uid

#: Below this difference, coordinates are written as the source states them.
_SAME_POSITION_MM = 1e-3
_SAME_DIRECTION = 1e-4

_TYPE_2 = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
#: What highdicom copies to the segmentation from the images, besides patient and geometry.
_COPIED = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "StationName",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)


def source_templates(stack: SliceStack) -> list[Dataset]:
    """One clean header per slice for highdicom, which copies geometry and references from it.

    Real headers state things that highdicom refuses or copies with their faults (no PatientID, a
    negative SpacingBetweenSlices, numbers of 18 digits), so it never sees them. It takes no frames
    of several multi-frame images, nor some frames of one: each frame of those stands as an image
    of its own here, until `refer_to_frames` puts things right.
    """
    first = stack.frames[0].header
    shared = Dataset()
    for keyword in _TYPE_2:
        setattr(shared, keyword, None)
    for keyword in _COPIED:
        if values := values_of(first, keyword):
            setattr(shared, keyword, list(values) if len(values) > 1 else values[0])
    shared.Modality = "CT"
    shared.StudyInstanceUID = first.StudyInstanceUID
    shared.SeriesInstanceUID = first.SeriesInstanceUID
    # type 1, yet real series lack it: then every result of a series gets the same one
    shared.FrameOfReferenceUID = first.get("FrameOfReferenceUID") or derived_uid(
        "frame of reference", first.SeriesInstanceUID
    )
    shared.Rows, shared.Columns = stack.size
    k_mm, j_mm, i_mm = stack.grid.spacing_mm
    (thickness_mm,) = numbers_of(first, "SliceThickness", 1) or (0.0,)
    shared.PixelSpacing = _decimal((j_mm, i_mm), first.PixelSpacing, _SAME_POSITION_MM)
    shared.SliceThickness = _decimal((thickness_mm if thickness_mm > 0 else k_mm,))[0]
    planes = stack.indices[:, 0]
    if np.abs(planes - np.rint(planes)).max() * k_mm <= POSITION_TOLERANCE_MM:
        shared.SpacingBetweenSlices = _decimal((k_mm,))[0]  # else a single one would mislead
    shared.ImageOrientationPatient = _decimal(
        stack.grid.direction_lps[:, :2].T.ravel(), first.ImageOrientationPatient, _SAME_DIRECTION
    )
    templates = []
    for frame, position in zip(stack.frames, stack.positions_lps, strict=True):
        template = Dataset()
        template.update(shared)
        several = _is_one_of_several(frame)
        template.SOPClassUID = CTImageStorage if several else frame.header.SOPClassUID
        template.SOPInstanceUID = _stand_in(frame) if several else frame.SOPInstanceUID
        template.ImagePositionPatient = _decimal(
            position, frame.header.ImagePositionPatient, _SAME_POSITION_MM
        )
        templates.append(template)
    return templates


def refer_to_frames(seg: Dataset, stack: SliceStack) -> None:
    """Let a segmentation refer to frames of multi-frame images, made of `source_templates`.

    ReferencedFrameNumber is given for each frame's source, and for the images as a whole where not
    all their frames were used (PS3.3 Table 10-3). Where all sources are single-frame images,
    nothing changes.
    """
    frames = {_stand_in(frame): frame for frame in stack.frames if _is_one_of_several(frame)}
    if not frames:
        return
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        frame = frames.get(reference.ReferencedSOPInstanceUID)
        if frame is not None:  # segments share the reference of their slice
            reference.update(_reference(frame))
            reference.ReferencedFrameNumber = frame.number
    used: dict[str, list[Frame]] = {}
    for frame in stack.frames:
        used.setdefault(frame.SOPInstanceUID, []).append(frame)
    seg.SourceImageSequence = [_image_reference(members) for members in used.values()]
    (series,) = seg.ReferencedSeriesSequence
    series.ReferencedInstanceSequence = [_reference(members[0]) for members in used.values()]


def _is_one_of_several(frame: Frame) -> bool:
    return frame.header is not frame.instance.header


def _stand_in(frame: Frame) -> str:
    return derived_uid("frame", frame.SOPInstanceUID, str(frame.number))


def _reference(frame: Frame) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = frame.instance.header.SOPClassUID
    reference.ReferencedSOPInstanceUID = frame.SOPInstanceUID
    return reference


def _image_reference(frames: Sequence[Frame]) -> Dataset:
    reference = _reference(frames[0])
    header = frames[0].instance.header
    if _is_one_of_several(frames[0]) and len(frames) < int(header.NumberOfFrames):
        reference.ReferencedFrameNumber = sorted(frame.number for frame in frames)
    return reference


def _decimal(
    computed: Sequence[float] | NDArray[np.float64],
    stated: Sequence[float] | None = None,
    tolerance: float = 0.0,
) -> list[DSfloat]:
    """Decimal strings of at most 16 characters; as stated by the source where that agrees."""
    values = np.asarray(computed, np.float64)
    if stated is not None and np.allclose(values, np.array(stated, float), rtol=0, atol=tolerance):
        values = np.array(stated, np.float64)
    return [DSfloat(float(value), auto_format=True) for value in values]
