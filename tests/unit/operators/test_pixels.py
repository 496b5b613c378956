from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from operators.errors import PixelDataError
from operators.frames import frames_of
from operators.loading import scan
from operators.pixels import decode_hu, decode_slices
from operators.series import Frame


def image_of(stored: NDArray[np.generic], **elements: object) -> FileDataset:
    image = FileDataset("", Dataset(), file_meta=FileMetaDataset())
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = "1.2.3.4"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2", "1.2.3"
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8 * stored.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(stored.dtype.kind == "i")
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    vr = "OB" if stored.itemsize == 1 else "OW"
    image.add_new("PixelData", vr, stored.tobytes())
    for keyword, value in elements.items():
        setattr(image, keyword, value)
    return image


def saved(image: FileDataset, path: Path) -> Frame:
    dcmwrite(path, image, enforce_file_format=True)
    (instance,) = scan(path).studies[0].series[0].instances
    (frame,) = frames_of(instance)
    return frame


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slice.dcm"


RAMP = np.arange(5 * 7, dtype=np.uint16).reshape(5, 7) * 100


def test_unsigned_pixels_are_rescaled(path):
    hu = decode_hu(saved(image_of(RAMP), path))
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu, RAMP.astype(int) - 1024)


def test_a_slope_that_is_no_integer_is_rounded_to_the_nearest_hu(path):
    image = image_of(RAMP.astype(np.int16), RescaleSlope="0.37", RescaleIntercept="-12.5")
    expected = np.rint(RAMP * 0.37 - 12.5)
    np.testing.assert_array_equal(decode_hu(saved(image, path)), expected)


def test_a_negative_slope_turns_the_scale_round(path):
    image = image_of(RAMP.astype(np.int16), RescaleSlope="-1", RescaleIntercept="0")
    expected = np.maximum(-RAMP.astype(int), -1024)
    np.testing.assert_array_equal(decode_hu(saved(image, path)), expected)


@pytest.mark.parametrize(("high_bits", "signed"), [(0x0000, True), (0xF000, True), (0xA000, False)])
def test_bits_above_bits_stored_do_not_count(path, high_bits, signed):
    values = np.array([[-700, -1], [40, 2047]]) if signed else np.array([[0, 1], [40, 4095]])
    stored = ((values & 0x0FFF) | high_bits).astype(np.uint16)
    image = image_of(stored, BitsStored=12, HighBit=11, RescaleIntercept=0)
    image.PixelRepresentation = int(signed)
    np.testing.assert_array_equal(decode_hu(saved(image, path)), values)


def test_eight_bit_pixels_are_read(path):
    image = image_of(np.array([[0, 255, 7]], np.uint8).repeat(2, 0), RescaleSlope=10)
    np.testing.assert_array_equal(decode_hu(saved(image, path))[0], [-1024, 1526, -954])


def test_padding_becomes_air_and_the_range_is_int16(path):
    stored = np.array([[-2000, 0, 1000], [-32768, 3, 32767]], np.int16)
    hu = decode_hu(saved(image_of(stored, PixelPaddingValue=-2000, RescaleIntercept=5), path))
    np.testing.assert_array_equal(hu, [[-1024, 5, 1005], [-1024, 8, 32767]])


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_pixels_give_the_same_hu(path, syntax):
    signed = RAMP.astype(np.int16) - 1500
    image = image_of(signed, RescaleIntercept=0)
    image.compress(syntax, generate_instance_uid=False)
    expected = np.maximum(signed, -1024)
    np.testing.assert_array_equal(decode_hu(saved(image, path)), expected)


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 5)])
def test_big_endian_bytes_are_put_in_order_where_they_lie_in_words(path, vr, shape):
    stored = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    data = stored.tobytes() + b"\0" * (stored.size % 2)
    if vr == "OW":
        data = np.frombuffer(data, ">u2").astype("<u2").tobytes()
    image = image_of(stored, RescaleIntercept=0)
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image.add_new("PixelData", vr, data)
    np.testing.assert_array_equal(decode_hu(saved(image, path)), stored)


def test_a_frame_that_begins_within_a_word_is_refused(path):
    image = image_of(np.zeros((3, 5), np.uint8))
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    image.add_new("PixelData", "OW", bytes(30))
    first = saved(image, path)
    second = Frame(instance=first.instance, number=2, header=first.header)
    with pytest.raises(PixelDataError, match="frame 2 begins within a word"):
        decode_hu(second)


def test_big_endian_pixels_give_the_same_hu(path):
    image = image_of(RAMP)
    image.PixelData = RAMP.astype(">u2").tobytes()
    image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    np.testing.assert_array_equal(decode_hu(saved(image, path)), RAMP.astype(int) - 1024)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation MONOCHROME2"),
        ({"SamplesPerPixel": 3}, "expected SamplesPerPixel 1, found 3"),
        ({"HighBit": 13}, "expected HighBit 15, found 13"),
        ({"BitsStored": 17}, "expected BitsStored"),
        ({"BitsAllocated": 12}, "expected BitsAllocated 8 or 16 or 32, found 12"),
        ({"PixelRepresentation": None}, "expected PixelRepresentation 0 or 1, found nothing"),
        ({"RescaleSlope": None}, "expected RescaleSlope and RescaleIntercept"),
        ({"RescaleSlope": 0}, "expected RescaleSlope and RescaleIntercept"),
        ({"RescaleSlope": "1e308"}, "expected RescaleSlope and RescaleIntercept, found .*1e"),
        ({"RescaleIntercept": None}, "expected RescaleSlope and RescaleIntercept"),
        ({"RescaleIntercept": "-1e7"}, "expected RescaleSlope and RescaleIntercept"),
        ({"RescaleType": "EDW"}, "expected Hounsfield units, found RescaleType EDW"),
    ],
)
def test_what_is_no_plain_ct_image_is_refused_by_name(path, changes, message):
    with pytest.raises(PixelDataError, match=rf"^image 1\.2\.3\.4: .*{message}"):
        decode_hu(saved(image_of(RAMP, **changes), path))


def test_too_few_pixels_say_how_many_bytes_were_expected(path):
    image = image_of(RAMP, PixelData=RAMP.tobytes()[:-6])
    with pytest.raises(PixelDataError, match=r"1\.2\.3\.4: .* 70 bytes expected, 64 found"):
        decode_hu(saved(image, path))


def test_a_file_cut_after_it_was_listed_is_refused(path):
    frame = saved(image_of(RAMP), path)
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(PixelDataError, match=r"image 1\.2\.3\.4: the file changed since"):
        decode_hu(frame)


def test_a_file_replaced_after_it_was_listed_is_refused(path):
    frame = saved(image_of(RAMP), path)
    saved(image_of(RAMP.T.copy()), path)
    with pytest.raises(PixelDataError, match="changed since it was listed"):
        decode_hu(frame)
    path.unlink()
    with pytest.raises(PixelDataError, match="cannot be read: No such file"):
        decode_hu(frame)


def encapsulated(path: Path, syntax: str, frame: bytes) -> Frame:
    image = image_of(RAMP, PixelData=encapsulate([frame]))
    image.file_meta.TransferSyntaxUID = syntax
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    return saved(image, path)


def test_a_transfer_syntax_of_no_image_is_refused(path):
    with pytest.raises(PixelDataError, match="no decoder exists for transfer syntax MPEG2"):
        decode_hu(encapsulated(path, MPEG2MPML, b"\0" * 16))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless, JPEGLSLossless])
def test_a_stream_that_no_decoder_reads_is_refused_with_its_syntax(path, syntax):
    with pytest.raises(PixelDataError, match=re.escape(syntax)):
        decode_hu(encapsulated(path, syntax, b"\xff\x4f\xff\x51 no such stream"))


def test_a_frame_is_joined_from_its_fragments_with_and_without_an_offset_table(path):
    image = image_of(RAMP, RescaleIntercept=0)
    image.compress(RLELossless, generate_instance_uid=False)
    (frame,) = generate_frames(image.PixelData, number_of_frames=1)
    for has_table in (False, True):
        data = encapsulate([frame], fragments_per_frame=3, has_bot=has_table)
        assert data.count(b"\xfe\xff\x00\xe0") == 4  # the table and three fragments
        image.PixelData = data
        np.testing.assert_array_equal(decode_hu(saved(image, path)), RAMP)


def test_padding_that_reaches_the_border_is_air_whatever_its_value(path):
    stored = np.full((6, 7), 40, np.int16)
    stored[:, :2] = 3000
    stored[3, 4] = 3000  # a clip in the patient
    image = image_of(stored, PixelPaddingValue=3000, RescaleIntercept=0)
    hu = decode_hu(saved(image, path))
    assert (hu[:, :2] == -1024).all()
    assert hu[3, 4] == 3000
    assert (np.delete(hu[:, 2:].ravel(), 3 * 5 + 2) == 40).all()


def test_a_range_of_padding_is_air_from_end_to_end(path):
    stored = np.array([[-3000, -2990, -2980, 5], [-2995, 7, 8, 9]], np.int16) + 3100
    image = image_of(stored, PixelPaddingValue=100, PixelPaddingRangeLimit=120, RescaleIntercept=0)
    expected = np.where((stored >= 100) & (stored <= 120), -1024, stored)
    np.testing.assert_array_equal(decode_hu(saved(image, path)), expected)


def test_slices_come_in_the_order_they_are_asked_for(tmp_path):
    frames = [
        saved(
            image_of(RAMP + n, SOPInstanceUID=f"1.2.3.{n}", RescaleIntercept=0),
            tmp_path / f"{n}.dcm",
        )
        for n in range(23)
    ]
    wanted = [*frames[::2], *frames[::-3]]
    slices = list(decode_slices(wanted))
    assert len(slices) == len(wanted)
    for frame, hu in zip(wanted, slices, strict=True):
        np.testing.assert_array_equal(hu, RAMP + int(frame.SOPInstanceUID.split(".")[-1]))


def test_the_first_slice_that_fails_ends_the_series(tmp_path):
    frames = [
        saved(image_of(RAMP, SOPInstanceUID=f"1.2.3.{n}"), tmp_path / f"{n}.dcm") for n in range(9)
    ]
    for n in (3, 7):
        (tmp_path / f"{n}.dcm").unlink()
    with pytest.raises(PixelDataError, match=r"image 1\.2\.3\.3: cannot be read"):
        list(decode_slices(frames))


def test_sums_at_the_edge_of_int16_do_not_wrap(path):
    stored = np.array([[0, 65535, 33791], [33792, 1024, 1]], np.uint16)
    hu = decode_hu(saved(image_of(stored), path))
    np.testing.assert_array_equal(hu, np.clip(stored.astype(int) - 1024, -1024, 32767))
