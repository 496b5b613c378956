"""The source slices of a segmentation: found by position, with clean headers for highdicom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.valuerep import DSfloat

from models.geometry import VolumeGeometry
from operators.errors import OutputError
from operators.loading import numbers_of, values_of
from operators.series import Instance, SeriesVolume
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


def instances_by_slice(source: SeriesVolume) -> list[Instance]:
    """Find the instance of each slice by its position, whatever order they come in.

    Returns
    -------
    One per slice, in order of k.

    Raises
    ------
    OutputError
        If slices and instances do not belong together.
    """
    geometry = source.volume.geometry
    slices: dict[int, Instance] = {}
    for instance in source.instances:
        index = geometry.to_index(np.array(instance.header.ImagePositionPatient, np.float64))
        k = round(float(index[0]))
        if np.abs(index - (k, 0, 0)).max() >= 0.5 or k in slices:
            raise OutputError(
                "expected one instance at each slice of the volume, found "
                f"{instance.SOPInstanceUID} at the index {index.round(3)} (k, j, i)"
            )
        slices[k] = instance
    if slices.keys() != set(range(geometry.shape[0])):
        raise OutputError(
            f"expected {geometry.shape[0]} instances, one per slice of the volume, "
            f"found {len(slices)}"
        )
    return [slices[k] for k in range(geometry.shape[0])]


def source_templates(slices: Sequence[Instance], geometry: VolumeGeometry) -> list[Dataset]:
    """One clean header per slice for highdicom, which copies geometry and references from it.

    Real headers state things that highdicom refuses or copies with their faults (no PatientID, a
    negative SpacingBetweenSlices, numbers of 18 digits), so it never sees them.
    """
    first = slices[0].header
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
    _, shared.Rows, shared.Columns = geometry.shape
    k_mm, j_mm, i_mm = geometry.spacing_mm
    (thickness_mm,) = numbers_of(first, "SliceThickness", 1) or (0.0,)
    shared.PixelSpacing = _decimal((j_mm, i_mm), first.PixelSpacing, _SAME_POSITION_MM)
    shared.SliceThickness = _decimal((thickness_mm if thickness_mm > 0 else k_mm,))[0]
    shared.SpacingBetweenSlices = _decimal((k_mm,))[0]
    shared.ImageOrientationPatient = _decimal(
        geometry.direction_lps[:, :2].T.ravel(), first.ImageOrientationPatient, _SAME_DIRECTION
    )
    templates = []
    for k, instance in enumerate(slices):
        template = Dataset()
        template.update(shared)
        template.SOPClassUID = instance.header.SOPClassUID
        template.SOPInstanceUID = instance.SOPInstanceUID
        template.ImagePositionPatient = _decimal(
            geometry.to_lps((k, 0, 0)), instance.header.ImagePositionPatient, _SAME_POSITION_MM
        )
        templates.append(template)
    return templates


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
