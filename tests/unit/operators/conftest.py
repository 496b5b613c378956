"""Multi-frame CT images, made of the slices of a single-frame series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from operators.dicom_file import read_header
from operators.files import PlainFile
from operators.series import Instance

#: Modules that a single-frame and a multi-frame CT image have in common.
_KEPT = (
    "SpecificCharacterSet",
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription"),
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"),
    *("Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDate", "SeriesTime"),
    *("SeriesDescription", "BodyPartExamined", "PatientPosition"),
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "ContentDate", "ContentTime"),
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation"),
)
_DIMENSIONS = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "InStackPositionNumber"),
)
_KIND = {
    "PixelPresentation": "MONOCHROME",
    "VolumetricProperties": "VOLUME",
    "VolumeBasedCalculationTechnique": "NONE",
}


class AsEnhanced(Protocol):
    """Make one Enhanced CT image of slices, in their order; `share` says which groups may be."""

    def __call__(
        self, slices: Sequence[Dataset], share: bool = ..., stack: str = ...
    ) -> Dataset: ...


@pytest.fixture(scope="session")
def as_enhanced() -> AsEnhanced:
    return enhanced_ct


@pytest.fixture(scope="session")
def stored() -> Callable[[Dataset, Path], Instance]:
    """Write a data set and find it again."""

    def store(dataset: Dataset, path: Path) -> Instance:
        dcmwrite(path, dataset, enforce_file_format=True)
        file = PlainFile(path)
        header, pixels = read_header(file)
        return Instance(file=file, header=header, pixels=pixels)

    return store


def enhanced_ct(slices: Sequence[Dataset], share: bool = True, stack: str = "1") -> Dataset:
    first = slices[0]
    image = Dataset()
    for keyword in _KEPT:
        if keyword in first:
            image[keyword] = first[keyword]
    image.SOPClassUID = EnhancedCTImageStorage
    image.SOPInstanceUID = f"{first.SOPInstanceUID[:50]}.9{stack}"
    image.InstanceNumber = 1
    image.AcquisitionDateTime = first.AcquisitionDate + first.AcquisitionTime
    image.AcquisitionNumber, image.AcquisitionDuration = first.AcquisitionNumber, 1.0
    image.ImageType = _frame_type(first)
    image.ContentQualification = "RESEARCH"
    image.BurnedInAnnotation, image.LossyImageCompression = "NO", "00"
    image.PresentationLUTShape = "IDENTITY"
    image.AcquisitionContextSequence = []
    for keyword, value in _KIND.items():
        setattr(image, keyword, value)
    if agent := first.get("ContrastBolusAgent"):
        image.ContrastBolusAgentSequence = [_agent(agent)]
    _add_frames(image, slices, share, stack)
    image.PixelData = b"".join(s.PixelData for s in slices)
    image["PixelData"].VR = "OW"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def _add_frames(image: Dataset, slices: Sequence[Dataset], share: bool, stack: str) -> None:
    groups = [_groups(s) for s in slices]
    shared = {k: v for k, v in groups[0].items() if share and all(g[k] == v for g in groups)}
    pointers = [(group, key) for group, key in _DIMENSIONS if _content(slices[0], stack).get(key)]
    image.NumberOfFrames = len(slices)
    image.DimensionOrganizationSequence = [_item(DimensionOrganizationUID="2.25.11")]
    image.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID="2.25.11",
            DimensionIndexPointer=Tag(keyword),
            FunctionalGroupPointer=Tag(group),
        )
        for group, keyword in pointers
    ]
    image.SharedFunctionalGroupsSequence = [_item(**{k: [v] for k, v in shared.items()})]
    per_frame = []
    places = sorted({tuple(map(float, s.ImagePositionPatient)) for s in slices})
    for source, group in zip(slices, groups, strict=True):
        content = _content(source, stack)
        place = places.index(tuple(map(float, source.ImagePositionPatient)))
        content.InStackPositionNumber = place + 1
        content.DimensionIndexValues = [
            1 if keyword == "StackID" else content[keyword].value for _, keyword in pointers
        ]
        own = {k: [v] for k, v in group.items() if k not in shared}
        per_frame.append(_item(FrameContentSequence=[content], **own))
    image.PerFrameFunctionalGroupsSequence = per_frame


def _content(source: Dataset, stack: str) -> Dataset:
    content = _item(
        StackID=stack,
        InStackPositionNumber=1,
        FrameAcquisitionNumber=source.AcquisitionNumber,
        FrameAcquisitionDateTime=source.AcquisitionDate + source.AcquisitionTime,
        FrameReferenceDateTime=source.ContentDate + source.ContentTime,
        FrameAcquisitionDuration=1.0,
    )
    if "TemporalPositionIdentifier" in source:
        content.TemporalPositionIndex = source.TemporalPositionIdentifier
    return content


def _groups(source: Dataset) -> dict[str, Dataset]:
    """All functional groups but FrameContentSequence, which is never shared."""
    groups = {
        "PixelMeasuresSequence": _taken(source, "PixelSpacing", "SliceThickness"),
        "PlanePositionSequence": _taken(source, "ImagePositionPatient"),
        "PlaneOrientationSequence": _taken(source, "ImageOrientationPatient"),
        "PixelValueTransformationSequence": _taken(
            source, "RescaleIntercept", "RescaleSlope", "RescaleType"
        ),
        "FrameVOILUTSequence": _taken(
            source, "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"
        ),
        "CTImageFrameTypeSequence": _item(FrameType=_frame_type(source), **_KIND),
        "FrameAnatomySequence": _item(
            FrameLaterality="U",
            AnatomicRegionSequence=[_coded("818981001", "SCT", "Abdomen")],
        ),
        "IrradiationEventIdentificationSequence": _item(IrradiationEventUID="2.25.12"),
        "CTAcquisitionTypeSequence": _item(
            AcquisitionType="SEQUENCED", ConstantVolumeFlag="NO", FluoroscopyFlag="NO"
        ),
        "CTAcquisitionDetailsSequence": _item(
            RotationDirection="CW",
            RevolutionTime=0.5,
            SingleCollimationWidth=0.6,
            TotalCollimationWidth=9.6,
            TableHeight=150.0,
            GantryDetectorTilt=source.get("GantryDetectorTilt", 0.0),
            DataCollectionDiameter=500.0,
        ),
        "CTTableDynamicsSequence": _item(TableSpeed=10.0),
        "CTGeometrySequence": _item(
            DistanceSourceToDetector=1000.0, DistanceSourceToDataCollectionCenter=550.0
        ),
        "CTPositionSequence": _item(
            TablePosition=0.0,
            DataCollectionCenterPatient=[0.0, 0.0, 0.0],
            ReconstructionTargetCenterPatient=[0.0, 0.0, 0.0],
        ),
        "CTReconstructionSequence": _item(
            ReconstructionAlgorithm="FILTER_BACK_PROJ",
            ConvolutionKernel=source.ConvolutionKernel,
            ConvolutionKernelGroup="SOFT_TISSUE",
            ReconstructionDiameter=source.ReconstructionDiameter,
            ReconstructionPixelSpacing=[float(mm) for mm in source.PixelSpacing],
            ReconstructionAngle=360.0,
            ImageFilter="NONE",
        ),
        "CTExposureSequence": _item(
            ExposureTimeInms=500.0,
            XRayTubeCurrentInmA=200.0,
            ExposureInmAs=100.0,
            ExposureModulationType="NONE",
        ),
        "CTXRayDetailsSequence": _item(
            KVP=source.KVP,
            FocalSpots=1.0,
            FilterType="FLAT",
            FilterMaterial="ALUMINUM",
            CalciumScoringMassFactorPatient=1.0,
        ),
    }
    if "ContrastBolusAgent" in source:
        groups["ContrastBolusUsageSequence"] = _item(
            ContrastBolusAgentNumber=1,
            ContrastBolusAgentAdministered="YES",
            ContrastBolusAgentDetected="YES",
            ContrastBolusAgentPhase="PORTAL_VENOUS",
        )
    return groups


def _agent(name: str) -> Dataset:
    agent = _coded("A-1", "99TEST", name)
    agent.ContrastBolusAgentNumber = 1
    agent.ContrastBolusAdministrationRouteSequence = [_coded("47625008", "SCT", "Intravenous")]
    agent.ContrastBolusIngredientCodeSequence = [_coded("44588005", "SCT", "Iodine")]
    agent.ContrastBolusVolume, agent.ContrastBolusIngredientConcentration = 90.0, 300.0
    agent.ContrastBolusIngredientOpaque = "YES"
    return agent


def _frame_type(source: Dataset) -> list[str]:
    return [*(*source.ImageType, "NONE", "NONE")[:3], "NONE"]


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _taken(source: Dataset, *keywords: str) -> Dataset:
    return _item(**{keyword: source[keyword].value for keyword in keywords if keyword in source})


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
