"""The decoders against other libraries' encoders and decoders: DCMTK, GDCM, pydicom."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.encaps import generate_frames
from pydicom.uid import (
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
    JPEG_FULL_PROGRESSION,
    JPEG_SPECTRAL_SELECTION,
    FrameFormat,
    decode_frame,
)
from tests.unit.operators.coded_frames import (
    KINDS,
    Frame,
    check,
    ct_like,
    form_of,
    image_of,
    plugins_of_pydicom,
    pydicom_values,
)


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
