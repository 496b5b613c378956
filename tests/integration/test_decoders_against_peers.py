"""The decoders against other libraries' encoders and decoders: DCMTK, GDCM, pydicom."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    UncompressedTransferSyntaxes,
)

from operators.decoders import (
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_FULL_PROGRESSION,
    JPEG_SPECTRAL_SELECTION,
    FrameFormat,
    decode_frame,
)

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


def by_tool(*command: str, path: Path, frame: Frame, bits_stored: int) -> tuple[bytes, FrameFormat]:
    """Compress with a program of DCMTK; lossy ones may change BitsStored and more."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"DCMTK's {command[0]} is not installed")
    source, target = path / "source.dcm", path / "target.dcm"
    image = image_of(
        frame.tobytes() + b"\0" * (frame.nbytes % 2),
        ExplicitVRLittleEndian,
        form_of(frame, bits_stored),
    )
    dcmwrite(source, image, enforce_file_format=True)
    subprocess.run([*command, str(source), str(target)], check=True, timeout=60)
    return frame_and_form(target)[::2]


def frame_and_form(path: Path) -> tuple[bytes, str, FrameFormat]:
    image = dcmread(path)
    syntax = image.file_meta.TransferSyntaxUID
    form = FrameFormat(
        rows=image.Rows,
        columns=image.Columns,
        bits_allocated=image.BitsAllocated,
        bits_stored=image.BitsStored,
        signed=image.PixelRepresentation == 1,
        as_words=image["PixelData"].VR == "OW",
    )
    if not syntax.is_encapsulated:
        return image.PixelData, syntax, form
    return next(generate_frames(image.PixelData, number_of_frames=1)), syntax, form


def by_gdcm(kind: str, path: Path, frame: Frame, bits_stored: int) -> bytes:
    gdcm = pytest.importorskip("gdcm", reason="GDCM is not installed")
    source, target = path / "source.dcm", path / "target.dcm"
    image = image_of(
        frame.tobytes() + b"\0" * (frame.nbytes % 2),
        ExplicitVRLittleEndian,
        form_of(frame, bits_stored),
    )
    dcmwrite(source, image, enforce_file_format=True)
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kind)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return frame_and_form(target)[0]


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_rle_of_dcmtk_is_exact(dtype, bits, tmp_path):
    frame = ct_like(dtype, bits)
    data, form = by_tool("dcmcrle", path=tmp_path, frame=frame, bits_stored=bits)
    check(data, RLELossless, form, frame)


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
@pytest.mark.parametrize("options", [("+e1",), ("+el", "+sv", "2"), ("+el", "+sv", "5")])
def test_jpeg_lossless_of_dcmtk_is_exact(dtype, bits, options, tmp_path):
    frame = ct_like(dtype, bits)
    data, form = by_tool("dcmcjpeg", *options, path=tmp_path, frame=frame, bits_stored=bits)
    check(data, JPEGLosslessSV1 if options == ("+e1",) else JPEGLossless, form, frame)


@pytest.mark.parametrize(("dtype", "bits"), [k for k in KINDS if k[0] != "u1"])
@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("JPEGLosslessProcess14_1", JPEGLosslessSV1),
        ("JPEGLSLossless", JPEGLSLossless),
        ("JPEG2000Lossless", JPEG2000Lossless),
        ("RLELossless", RLELossless),
    ],
)
def test_what_gdcm_compressed_is_exact(kind, syntax, dtype, bits, tmp_path):
    frame = ct_like(dtype, bits)
    data = by_gdcm(kind, tmp_path, frame, bits)
    check(data, syntax, form_of(frame, bits), frame)


@pytest.mark.parametrize(("dtype", "bits"), KINDS)
def test_jpeg_ls_of_dcmtk_is_exact(dtype, bits, tmp_path):
    frame = ct_like(dtype, bits)
    data, form = by_tool("dcmcjpls", path=tmp_path, frame=frame, bits_stored=bits)
    check(data, JPEGLSLossless, form, frame)


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("+eb", JPEGBaseline8Bit),
        ("+ee", JPEGExtended12Bit),
        ("+es", JPEG_SPECTRAL_SELECTION),
        ("+ep", JPEG_FULL_PROGRESSION),
    ],
)
def test_lossy_jpeg_of_dcmtk_stays_near(option, syntax, tmp_path):
    frame = ct_like("u2", 12) if option != "+eb" else ct_like("u1", 8)
    bits = 12 if option != "+eb" else 8
    data, form = by_tool(
        "dcmcjpeg", option, "+q", "98", path=tmp_path, frame=frame, bits_stored=bits
    )
    found = decode_frame(data, syntax, form)
    error = np.abs(found[8:16].astype(int) - frame[8:16])
    assert error.max() <= 2**bits / 64


def test_near_lossless_jpeg_ls_keeps_its_bound(tmp_path):
    frame = ct_like("u2", 12)
    data, form = by_tool("dcmcjpls", "+en", "+md", "3", path=tmp_path, frame=frame, bits_stored=12)
    found = decode_frame(data, JPEGLSNearLossless, form)
    assert np.abs(found.astype(int) - frame).max() == 3
    np.testing.assert_array_equal(found, pydicom_values(data, JPEGLSNearLossless, form))


def real_files(shared_data: Path) -> list[Path]:
    folder = shared_data / "dicom_stress" / "transfer_syntaxes"
    return sorted(path for path in folder.glob("CT*.dcm"))


def test_real_files_decode_as_pydicom_does(shared_data):
    compared = set()
    for path in real_files(shared_data):
        data, syntax, form = frame_and_form(path)
        found = decode_frame(data, syntax, form)
        if plugins_of_pydicom(syntax) and syntax != JPEGExtended12Bit:
            np.testing.assert_array_equal(found, dcmread(path).pixel_array)
            compared.add(syntax)
    # for others pydicom needs plugins
    always = {*UncompressedTransferSyntaxes, RLELossless}
    assert len(compared) > len(always & compared) >= 4


@pytest.mark.parametrize(
    "syntax", [JPEGExtended12Bit, JPEG_SPECTRAL_SELECTION, JPEG_FULL_PROGRESSION]
)
def test_real_12_bit_jpeg_decodes_as_dcmtk_does(shared_data, syntax, tmp_path):
    if shutil.which("dcmdjpeg") is None:
        pytest.skip("DCMTK's dcmdjpeg is not installed")
    (path,) = (p for p in real_files(shared_data) if p.name.endswith(f"{syntax}.dcm"))
    target = tmp_path / "native.dcm"
    subprocess.run(["dcmdjpeg", str(path), str(target)], check=True, timeout=60)
    data, found_syntax, form = frame_and_form(path)
    assert found_syntax == syntax
    difference = decode_frame(data, syntax, form).astype(int) - dcmread(target).pixel_array
    assert np.abs(difference).max() <= 1
