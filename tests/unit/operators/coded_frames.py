"""Frames to encode, and what pydicom makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, CTImageStorage, JPEGBaseline8Bit

from operators.decoders import ENCAPSULATED_UNCOMPRESSED, FrameFormat, decode_frame

Frame = NDArray[np.generic]

ROWS, COLUMNS = 37, 53
#: dtype and BitsStored of the frames that lossless syntaxes must carry.
KINDS = [("u1", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)]


def ct_like(dtype: str = "i2", bits_stored: int = 16) -> Frame:
    """A smooth body with noise, the least and the greatest value, and a run of padding."""
    rng = np.random.default_rng(bits_stored)
    j, i = np.mgrid[:ROWS, :COLUMNS]
    scale = 2**bits_stored
    low = -scale // 2 if dtype.startswith("i") else 0
    values = low + scale * (0.4 + 0.2 * np.sin(j / 7) * np.cos(i / 11))
    values += rng.normal(0, scale / 256, values.shape)
    values[:4] = low
    values[20, 5:8] = low + scale - 1
    return np.clip(values, low, low + scale - 1).astype(dtype)


def form_of(frame: Frame, bits_stored: int) -> FrameFormat:
    return FrameFormat(
        rows=frame.shape[0],
        columns=frame.shape[1],
        bits_allocated=8 * frame.itemsize,
        bits_stored=bits_stored,
        signed=frame.dtype.kind == "i",
    )


def image_of(data: bytes, syntax: str, form: FrameFormat) -> FileDataset:
    image = FileDataset("", Dataset(), file_meta=FileMetaDataset())
    image.file_meta.TransferSyntaxUID = UID(syntax)
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = "1.2", "1.2.3", "CT"
    image.Rows, image.Columns = form.rows, form.columns
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored = form.bits_allocated, form.bits_stored
    image.HighBit, image.PixelRepresentation = form.bits_stored - 1, int(form.signed)
    vr = "OW" if form.bits_allocated > 8 or form.as_words else "OB"
    compressed = UID(syntax).is_encapsulated
    image.add_new(
        "PixelData", "OB" if compressed else vr, encapsulate([data]) if compressed else data
    )
    return image


def pydicom_values(data: bytes, syntax: str, form: FrameFormat) -> Frame:
    values, _ = get_decoder(UID(syntax)).as_array(
        image_of(data, syntax, form), raw=True, decoding_plugin=plugins_of_pydicom(syntax)[0]
    )
    return values


def plugins_of_pydicom(syntax: str) -> list[str]:
    """What pydicom could decode with, itself under the name ""; GDCM and CharLS before Pillow.

    Its JPEG 2000 through Pillow is left out: signed samples under an unsigned header come out
    half the range too high, and GDCM's do not.
    """
    if not UID(syntax).is_encapsulated:
        return [""]
    try:
        found = sorted(get_decoder(UID(syntax)).available_plugins)
    except NotImplementedError:
        return []
    return [name for name in found if name != "pillow" or syntax == JPEGBaseline8Bit]


def check(data: bytes, syntax: str, form: FrameFormat, expected: Frame) -> None:
    """Ours is the expected frame in the wanted type, and pydicom's, where it has a decoder."""
    found = decode_frame(data, syntax, form)
    assert found.dtype == form.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)
    if syntax != ENCAPSULATED_UNCOMPRESSED and plugins_of_pydicom(syntax):
        np.testing.assert_array_equal(pydicom_values(data, syntax, form), found)
