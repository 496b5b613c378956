"""From the pixel data of one CT image to Hounsfield units."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID

from operators.errors import NothingUsableError, PixelDataError
from operators.loading import DAMAGED_DICOM_ERRORS, numbers_of, read_file, values_of
from operators.series import Instance

#: Air outside the reconstruction circle is stored as anything from -1024 down to -32768
#: (PixelPaddingValue, often not declared); all of it becomes this value.
LEAST_HU = -1024
GREATEST_HU = 32767

#: RescaleType (PS3.3 C.11.1.1.2) of Hounsfield units. Old CT images leave it out, and some
#: writers put "unspecified"; anything else (electron density, effective Z) is no HU.
HU_RESCALE_TYPES = frozenset({"HU", "HU_MOD", "US", ""})


def decode_hu(instance: Instance) -> NDArray[np.int16]:
    """Read, decode and rescale one image.

    Its own RescaleSlope and RescaleIntercept are applied in double precision, and the result is
    rounded to the nearest integer. Values below -1024 HU, which nothing in a patient has, become
    -1024: so padding is air, whether PixelPaddingValue names it or not.

    Parameters
    ----------
    instance
        A single-frame MONOCHROME2 CT image (PS3.3 A.3), in any transfer syntax that an installed
        decoder of pydicom reads.

    Returns
    -------
    numpy.ndarray
        `(H, W)` int16, in HU.

    Raises
    ------
    PixelDataError
        If the pixels are absent, cut short, not decodable or no Hounsfield units.
    """
    name = f"image {instance.SOPInstanceUID}"
    try:
        dataset = read_file(instance.path, pixels=True)
    except NothingUsableError as exc:
        raise PixelDataError(f"{name}: {exc}") from exc
    _check_unchanged(name, dataset, instance)
    _check_form(name, dataset)
    slope, intercept = _rescale(name, dataset)
    hu = _stored_values(name, dataset).astype(np.float64)
    hu *= slope
    hu += intercept
    np.rint(hu, out=hu)
    np.clip(hu, LEAST_HU, GREATEST_HU, out=hu)
    return hu.astype(np.int16)


def _check_unchanged(name: str, dataset: Dataset, instance: Instance) -> None:
    for keyword in ("SOPInstanceUID", "Rows", "Columns"):
        then, now = values_of(instance.header, keyword), values_of(dataset, keyword)
        if then != now:
            raise PixelDataError(
                f"{name}: the file changed since it was listed: {keyword} was {then}, is {now}"
            )


def _check_form(name: str, dataset: Dataset) -> None:
    def expect(keyword: str, *allowed: object) -> None:
        values = values_of(dataset, keyword)
        if len(values) != 1 or values[0] not in allowed:
            found = "\\".join(map(str, values)) or "nothing"
            wanted = " or ".join(map(str, allowed))
            raise PixelDataError(f"{name}: expected {keyword} {wanted}, found {found}")

    expect("PhotometricInterpretation", "MONOCHROME2")
    expect("SamplesPerPixel", 1)
    expect("PixelRepresentation", 0, 1)
    expect("BitsAllocated", 8, 16, 32)
    expect("BitsStored", *range(1, int(dataset.BitsAllocated) + 1))
    if values_of(dataset, "HighBit"):
        expect("HighBit", int(dataset.BitsStored) - 1)
    if values_of(dataset, "NumberOfFrames"):
        expect("NumberOfFrames", 1)


def _rescale(name: str, dataset: Dataset) -> tuple[float, float]:
    slope = numbers_of(dataset, "RescaleSlope", 1)
    intercept = numbers_of(dataset, "RescaleIntercept", 1)
    kind = str(next(iter(values_of(dataset, "RescaleType")), ""))
    if slope is None or intercept is None or slope[0] == 0:
        raise PixelDataError(
            f"{name}: expected RescaleSlope and RescaleIntercept, found "
            f"{values_of(dataset, 'RescaleSlope')} and {values_of(dataset, 'RescaleIntercept')}"
        )
    if kind not in HU_RESCALE_TYPES:
        raise PixelDataError(f"{name}: expected Hounsfield units, found RescaleType {kind}")
    return slope[0], intercept[0]


def _stored_values(name: str, dataset: Dataset) -> NDArray[np.generic]:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if "PixelData" not in dataset:
        raise PixelDataError(f"{name}: no pixel data")
    decoder = _decoder(name, syntax)
    _check_length(name, dataset, syntax)
    try:
        pixels, _ = decoder.as_array(dataset, raw=True)
    except (*DAMAGED_DICOM_ERRORS, RuntimeError, OSError) as exc:
        reason = " ".join(str(exc).split())[:300]
        hint = _packages(decoder)
        raise PixelDataError(
            f"{name}: pixel data in {syntax.name} ({syntax}) cannot be decoded: {reason}"
            + (f"; another decoder might: install {hint}" if hint else "")
        ) from exc
    size = (int(dataset.Rows), int(dataset.Columns))
    if pixels.shape != size:
        raise PixelDataError(f"{name}: expected {size} pixels, found {pixels.shape}")
    return pixels


def _check_length(name: str, dataset: Dataset, syntax: UID) -> None:
    element = dataset["PixelData"]
    if syntax.is_encapsulated:
        return
    if element.is_undefined_length:
        raise PixelDataError(f"{name}: compressed pixel data in a file that claims {syntax.name}")
    expected = int(dataset.Rows) * int(dataset.Columns) * (int(dataset.BitsAllocated) // 8)
    found = len(element.value or b"")
    if found < expected:
        raise PixelDataError(
            f"{name}: pixel data is cut short: {expected} bytes expected, {found} found"
        )


def _decoder(name: str, syntax: UID) -> Decoder:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as exc:
        raise PixelDataError(
            f"{name}: no decoder exists for transfer syntax {syntax.name} ({syntax})"
        ) from exc
    if not decoder.is_available:
        raise PixelDataError(
            f"{name}: no decoder is installed for transfer syntax {syntax.name} ({syntax}); "
            f"install {_packages(decoder)}"
        )
    return decoder


def _packages(decoder: Decoder) -> str:
    """The packages that pydicom would decode with, were they installed."""
    needed = (line.partition("requires ")[2] for line in decoder.missing_dependencies)
    return ", or ".join(re.sub(r"^gdcm", "python-gdcm", names) for names in needed)
