"""Saves a volume as a DICOM CT series, one CT Image Storage object per slice (PS3.3 A.3)."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from models.geometry import Volume
from operators.errors import OutputError
from operators.outputs import atomic_write
from operators.uids import derived_uid

_IMPLEMENTATION_UID = UID(derived_uid("viscera", "implementation", "CT series"))


@dataclass(frozen=True, kw_only=True)
class SeriesIdentity:
    """Who and what a series says it shows.

    Parameters
    ----------
    seed_text
        All UIDs derive from it: series of one `seed_text` belong to one study and share a frame
        of reference.
    PatientName
        With `^` between components and `=` between alphabetic, ideographic and phonetic groups
        (PS3.5 6.2.1). Stored in UTF-8.
    PatientID, PatientBirthDate, PatientSex, StudyID, StudyDate, StudyTime, AccessionNumber
        Elements of that name, as DICOM writes them.
    StudyDescription, SeriesDescription, SeriesNumber
        Elements of that name.
    ContrastBolusAgent
        None for a scan without contrast agent.
    ImageComments
        Says that the images were computed: SyntheticData (0008,001C) would say it in one word,
        but validators of before 2023 take it for an error.
    """

    seed_text: str
    PatientName: str = "Phantom^Abdomen"
    PatientID: str = "PHANTOM"
    PatientBirthDate: str = "19700101"
    PatientSex: str = "O"
    StudyID: str = "1"
    StudyDate: str = "20260102"
    StudyTime: str = "101500"
    AccessionNumber: str = ""
    StudyDescription: str = "CT abdomen"
    SeriesDescription: str = "Abdomen axial"
    SeriesNumber: int = 2
    ContrastBolusAgent: str | None = None
    ImageComments: str = "Computed, not acquired from a patient"


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How Hounsfield units become stored values: `hu = slope * stored + intercept`.

    Parameters
    ----------
    rescale_slope, rescale_intercept
        As the elements of that name.
    signed
        PixelRepresentation 1 (int16) or 0 (uint16).
    """

    rescale_slope: float = 1.0
    rescale_intercept: float = 0.0
    signed: bool = True

    def stored(self, hu: NDArray[np.int16]) -> NDArray[np.integer]:
        """Stored values of HU, of one shape.

        Raises
        ------
        OutputError
            If a value does not fit in 16 bits.
        """
        values = np.rint((hu.astype(np.float64) - self.rescale_intercept) / self.rescale_slope)
        dtype = np.int16 if self.signed else np.uint16
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise OutputError(
                f"expected stored values of {limits.min} to {limits.max}, found "
                f"{values.min():.0f} to {values.max():.0f}; choose another slope or intercept"
            )
        return values.astype(dtype)


#: What most scanners write: values from 0, air at 24.
UNSIGNED = Storage(rescale_intercept=-1024.0, signed=False)
SIGNED = Storage()


def write_ct_series(
    volume: Volume,
    folder: Path,
    identity: SeriesIdentity,
    *,
    storage: Storage = UNSIGNED,
    shuffle_seed: int | None = None,
) -> list[Path]:
    """Write one file per slice, Explicit VR Little Endian, uncompressed.

    UIDs derive from the identity, the voxels, their grid and how they are stored: the same
    arguments give the same bytes. ImageOrientationPatient holds the directions of i and j, and
    each slice its own position, so any grid is stored as it is, oblique or descending. A reader
    orders slices by their normal (i x j): where k runs against it, it hands the volume back with
    k reversed.

    Parameters
    ----------
    volume
        What to save.
    folder
        Made if absent.
    identity
        Patient, study and series.
    storage
        Slope, intercept and sign of stored values.
    shuffle_seed
        If given, names of files and InstanceNumber follow a random order instead of k.

    Returns
    -------
    list of pathlib.Path
        The files, in order of k.

    Raises
    ------
    OutputError
        If a value does not fit the storage, or a file cannot be written.
    """
    _make_folder(folder)
    depth = volume.geometry.shape[0]
    numbers = np.arange(1, depth + 1)
    if shuffle_seed is not None:
        numbers = np.random.default_rng(shuffle_seed).permutation(numbers)
    series_uid = _series_uid(volume, identity, storage)
    shared = _shared_header(volume, identity, storage, series_uid)
    paths = []
    for k, number in enumerate(numbers):
        dataset = _slice(shared, volume, storage, k, int(number))
        path = folder / f"CT{number:05d}.dcm"
        with atomic_write(path) as stream:
            dataset.save_as(stream, enforce_file_format=True)
        paths.append(path)
    return paths


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder} could not be made: {exc.strerror or exc}") from exc


def _series_uid(volume: Volume, identity: SeriesIdentity, storage: Storage) -> str:
    content = hashlib.sha256(np.ascontiguousarray(volume.hu, "<i2").tobytes())
    content.update(volume.geometry.affine_lps.astype("<f8").tobytes())
    settings = [repr(value) for value in (*astuple(identity), *astuple(storage))]
    return derived_uid(identity.seed_text, "series", content.hexdigest(), *settings)


def _shared_header(
    volume: Volume, identity: SeriesIdentity, storage: Storage, series_uid: str
) -> Dataset:
    """Everything but what changes from slice to slice."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    _add_patient_and_study(header, identity)
    _add_series(header, identity, series_uid)
    _add_equipment_and_acquisition(header, identity, volume)
    _add_grid(header, volume)
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = int(storage.signed)
    header.RescaleIntercept = _decimal(storage.rescale_intercept)
    header.RescaleSlope = _decimal(storage.rescale_slope)
    header.RescaleType = "HU"
    header.WindowCenter, header.WindowWidth = "40", "400"
    header.WindowCenterWidthExplanation = "ABDOMEN"
    return header


def _add_patient_and_study(header: Dataset, identity: SeriesIdentity) -> None:
    header.PatientName = identity.PatientName
    header.PatientID = identity.PatientID
    header.PatientBirthDate = identity.PatientBirthDate
    header.PatientSex = identity.PatientSex
    header.StudyInstanceUID = derived_uid(identity.seed_text, "study")
    header.StudyID = identity.StudyID
    header.StudyDate = identity.StudyDate
    header.StudyTime = identity.StudyTime
    header.AccessionNumber = identity.AccessionNumber
    header.ReferringPhysicianName = ""
    header.StudyDescription = identity.StudyDescription


def _add_series(header: Dataset, identity: SeriesIdentity, series_uid: str) -> None:
    header.Modality = "CT"
    header.SeriesInstanceUID = series_uid
    header.SeriesNumber = identity.SeriesNumber
    header.SeriesDate = identity.StudyDate
    header.SeriesTime = identity.StudyTime
    header.SeriesDescription = identity.SeriesDescription
    header.BodyPartExamined = "ABDOMEN"
    header.PatientPosition = "HFS"
    header.FrameOfReferenceUID = derived_uid(identity.seed_text, "frame of reference")
    header.PositionReferenceIndicator = ""


def _add_equipment_and_acquisition(
    header: Dataset, identity: SeriesIdentity, volume: Volume
) -> None:
    header.Manufacturer = "viscera"
    header.ManufacturerModelName = "Volume writer"
    header.DeviceSerialNumber = "1"
    header.SoftwareVersions = "1"
    header.AcquisitionNumber = 1
    header.AcquisitionDate = identity.StudyDate
    header.AcquisitionTime = identity.StudyTime
    header.ContentDate = identity.StudyDate
    header.ContentTime = identity.StudyTime
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.KVP = "120"
    header.ConvolutionKernel = "STANDARD"
    _, height, width = volume.geometry.shape
    _, dj, di = volume.geometry.spacing_mm
    header.ReconstructionDiameter = _decimal(max(height * dj, width * di))
    if identity.ContrastBolusAgent is not None:
        header.ContrastBolusAgent = identity.ContrastBolusAgent
        header.ContrastBolusRoute = "IV"
    header.SOPClassUID = CTImageStorage
    header.ImageComments = identity.ImageComments


def _add_grid(header: Dataset, volume: Volume) -> None:
    _, header.Rows, header.Columns = volume.geometry.shape
    dk, dj, di = volume.geometry.spacing_mm
    directions = volume.geometry.direction_lps
    # the distance between rows comes first (PS3.3 10.7.1.3)
    header.PixelSpacing = [_decimal(dj), _decimal(di)]
    header.SliceThickness = _decimal(dk)
    header.ImageOrientationPatient = [
        _decimal(cosine) for cosine in (*directions[:, 0], *directions[:, 1])
    ]


def _slice(shared: Dataset, volume: Volume, storage: Storage, k: int, number: int) -> Dataset:
    dataset = Dataset(shared)
    position = volume.geometry.to_lps((k, 0, 0))
    directions = volume.geometry.direction_lps
    normal = np.cross(directions[:, 0], directions[:, 1])
    dataset.SOPInstanceUID = derived_uid(shared.SeriesInstanceUID, "slice", str(k), str(number))
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [_decimal(value) for value in position]
    dataset.SliceLocation = _decimal(float(position @ normal))
    pixels = np.ascontiguousarray(storage.stored(volume.hu[k]))
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = _IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "VISCERA"
    return dataset


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters; -0 becomes 0."""
    return format_number_as_ds(float(value) + 0.0)
