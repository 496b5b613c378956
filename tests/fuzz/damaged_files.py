"""Small DICOM files of every kind, ways to damage them, and reading them from bytes to volumes.

`read_dicom.py` has libFuzzer damage them for as long as one likes, `test_damaged_files.py` damages
each a few times in the same way every time.
"""

from __future__ import annotations

import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    EnhancedCTImageStorage,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from models.errors import ModelError
from operators.errors import ImagingError
from operators.loading import Scan, scan
from operators.rules import parse_rules
from operators.selection import is_ct_image, select_series
from operators.splitting import split_series
from operators.volumes import build_volume
from tests.property.analytic_series import SeriesCase, StoredAs, write_case
from tests.property.series_cases import SYNTAXES

ANY_CT = parse_rules({"selections": [{"name": "CT", "conditions": {"Modality": "CT"}}]})
CASE = SeriesCase(rows=4, columns=5, heights_mm=(0.0, 2.5, 5.0))
#: Transfer syntax, bits, encoder of imagecodecs and its options.
LOSSY_OR_RARE: tuple[tuple[str, int, str, Mapping[str, Any]], ...] = (
    (JPEGBaseline8Bit, 8, "jpeg8_encode", {"level": 90}),
    (JPEGExtended12Bit, 12, "jpeg8_encode", {"level": 90, "bitspersample": 12}),
    (JPEGLSNearLossless, 16, "jpegls_encode", {"level": 2}),
    (HTJ2KLossless, 16, "htj2k_encode", {"reversible": True}),
)
#: Values that an element of any kind may not be ready for.
ODD_VALUES: tuple[object, ...] = (
    None,
    "",
    "0",
    "-1",
    "1e308",
    "1e-320",
    "nan",
    "1\\2\\3",
    "\\",
    "65535",
    "4294967295",
    "1.2.3",
    "x" * 70,
    b"\xff" * 3,
    0,
    1,
    65535,
    2**32 - 1,
    -(2**31),
)


def slices_of(case: SeriesCase) -> list[Dataset]:
    """The slices of a case in order along z."""
    with tempfile.TemporaryDirectory() as name:
        write_case(case, Path(name))
        found = [dcmread(path) for path in Path(name).iterdir()]
        for dataset in found:
            dataset.walk(lambda _, element: element.value)  # nothing is read from the file later
    return sorted(found, key=lambda dataset: float(dataset.ImagePositionPatient[2]))


def bytes_of(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def recoded(syntax: str, bits: int, codec: str, options: Mapping[str, Any]) -> Dataset:
    """A slice in a form that series of the phantom are not written in."""
    dataset = slices_of(CASE)[1]
    values = np.arange(CASE.rows * CASE.columns, dtype=f"u{-(-bits // 8)}")
    code = getattr(imagecodecs, codec)(values.reshape(CASE.rows, CASE.columns), **options)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.BitsAllocated, dataset.BitsStored = 8 * values.itemsize, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.add_new("PixelData", "OB", encapsulate([code]))
    dataset["PixelData"].is_undefined_length = True
    return dataset


def multi_frame(compressed: bool) -> Dataset:
    """An Enhanced CT image of the same place (PS3.3 A.38)."""
    stored = replace(CASE.stored, syntax=JPEG2000Lossless)
    first = slices_of(replace(CASE, stored=stored) if compressed else CASE)[0]
    first.SOPClassUID, first.SOPInstanceUID = EnhancedCTImageStorage, "1.2.3.4"
    shared, measures, orientation, rescale = (Dataset() for _ in range(4))
    measures.PixelSpacing = first.PixelSpacing
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    rescale.RescaleSlope, rescale.RescaleIntercept = first.RescaleSlope, first.RescaleIntercept
    rescale.RescaleType = "HU"
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelValueTransformationSequence = [rescale]
    frames = []
    for height in CASE.heights_mm:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    first.SharedFunctionalGroupsSequence = [shared]
    first.PerFrameFunctionalGroupsSequence = frames
    for keyword in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(first, keyword)
    del first.RescaleSlope, first.RescaleIntercept
    first.NumberOfFrames = len(frames)
    planes = [np.full((CASE.rows, CASE.columns), n, "<i2") for n in range(len(frames))]
    if compressed:
        first.PixelData = encapsulate(
            [
                bytes(imagecodecs.jpeg2k_encode(plane, codecformat="j2k", reversible=True))
                for plane in planes
            ]
        )
    else:
        first.PixelData = b"".join(plane.tobytes() for plane in planes)
    return first


def seeds() -> Iterator[tuple[str, bytes]]:
    """A small file of every kind."""
    for n, syntax in enumerate(SYNTAXES):
        for bits in (8, 16):
            rescale = (10.0, 200.0) if bits == 8 else (1.0, 0.0)
            stored = StoredAs(
                syntax=syntax, bits_allocated=bits, bits_stored=bits, rescales=(rescale,)
            )
            dataset = slices_of(replace(CASE, stored=stored))[1]
            yield f"slice-{n}-{bits}", bytes_of(dataset)
    for recoding in LOSSY_OR_RARE:
        yield f"slice-{recoding[0]}", bytes_of(recoded(*recoding))
    whole = bytes_of(slices_of(CASE)[1])
    yield "without-preamble", whole[132:]
    for compressed in (False, True):
        yield f"frames-{int(compressed)}", bytes_of(multi_frame(compressed))
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/1.dcm", whole)
        packed.writestr("readme.txt", "no image")
    yield "zip", archive.getvalue()
    with tempfile.TemporaryDirectory() as name:
        file_set = FileSet()
        for dataset in slices_of(CASE):
            dataset.PatientID, dataset.StudyID, dataset.SeriesNumber = "1", "1", 1
            dataset.StudyDate, dataset.StudyTime = "20260101", "120000"
            file_set.add(dataset)
        file_set.write(Path(name))
        yield "dicomdir", Path(name, "DICOMDIR").read_bytes()


class Target:
    """Folders that inputs are written to."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "series"
        self.alone = root / "alone"
        self.folder.mkdir()
        self.alone.mkdir()
        for n, dataset in enumerate(slices_of(CASE)):
            if n != 1:
                (self.folder / f"{n}.dcm").write_bytes(bytes_of(dataset))

    def __call__(self, data: bytes) -> None:
        """Read an input beside its series, and by itself."""
        for path in (self.folder / "input", self.alone / "input"):
            path.write_bytes(data)
        for path in (self.folder, self.alone / "input"):
            try:
                found = scan(path)
                build_all(found)
                select_series(found.studies, ANY_CT)
            except (ImagingError, ModelError):
                continue


def build_all(found: Scan) -> None:
    """Build all candidates, whatever would be chosen."""
    for study in found.studies:
        for series in study.series:
            images = tuple(i for i in series.instances if is_ct_image(i.header.SOPClassUID))
            for candidate in split_series(series, images) if images else ():
                try:
                    build_volume(candidate)
                except (ImagingError, ModelError):
                    continue


def mutate(
    data: bytes, most: int, order: random.Random, change: Callable[[bytes, int], bytes]
) -> bytes:
    """Change bytes in the way given, or the value of one element; to `most` bytes at most."""
    if order.random() < 0.6:
        return change(data, most)
    try:
        dataset = dcmread(BytesIO(data), force=True)
        inside = [dataset.file_meta, dataset, dataset]
        inside += [item for element in dataset if element.VR == "SQ" for item in element.value]
        chosen = order.choice(inside)
        element = chosen[order.choice(list(chosen.keys()))]
        if element.VR == "SQ":
            element.value = list(element.value)[: order.randrange(3)]
        else:
            element._value = order.choice(ODD_VALUES)
        changed = BytesIO()
        dcmwrite(changed, dataset)
    except Exception:  # whatever stops pydicom from writing it, bytes can always be changed
        return change(data, most)
    return changed.getvalue()[:most]


def change_bytes(data: bytes, most: int, order: random.Random) -> bytes:
    """Overwrite, leave out or repeat bytes at one or a few places."""
    changed = bytearray(data)
    for _ in range(order.choice((1, 1, 2, 4, 16))):
        start = order.randrange(len(changed) + 1)
        part = slice(start, start + order.choice((1, 1, 2, 4, 8, order.randrange(1, 200))))
        length = len(changed[part])
        changed[part] = order.choice(
            (
                order.randbytes(length),
                order.choice((b"\0", b"\x7f", b"\xff")) * length,
                b"",
                changed[part] * 2,
            )
        )
    return bytes(changed[:most])
