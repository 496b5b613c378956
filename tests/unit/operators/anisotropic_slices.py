"""Headers and files of a few slices with non-square pixels, for tests of geometry."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from operators.files import PlainFile
from operators.loading import scan
from operators.series import Candidate, Frame, Instance, Series
from operators.splitting import split_series

DEPTH, HEIGHT, WIDTH = 7, 5, 4
ROW_SPACING_MM, COLUMN_SPACING_MM, STEP_MM = 0.75, 1.25, 2.5
ORIGIN = np.array([-101.5, -77.25, 310.125])


def rotation(degrees_x: float, degrees_z: float) -> NDArray[np.float64]:
    """Columns are the directions of i, j and k."""
    x, z = np.radians([degrees_x, degrees_z])
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x)


OBLIQUE = rotation(17, -33)


def headers_at(
    heights_mm: Sequence[float],
    axes: NDArray[np.float64] | None = None,
    shifts_mm: ArrayLike = (0.0, 0.0),
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> list[Dataset]:
    """Slices at heights along their normal, shifted along their rows and columns."""
    axes = np.eye(3) if axes is None else axes
    shifts = np.broadcast_to(np.asarray(shifts_mm, float), (len(heights_mm), 2))
    headers = []
    for k, (height, shift) in enumerate(zip(heights_mm, shifts, strict=True)):
        header = Dataset()
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = f"1.2.3.{1000 - 37 * k % 500}"
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2", "1.2.3"
        header.FrameOfReferenceUID = "1.9"
        header.Rows, header.Columns = size
        header.PixelSpacing = [ROW_SPACING_MM, COLUMN_SPACING_MM]
        header.ImageOrientationPatient = [f"{v:.9f}" for v in axes[:, :2].T.ravel()]
        position = ORIGIN + axes @ [*shift, height]
        header.ImagePositionPatient = [f"{v:.6f}" for v in position]
        headers.append(header)
    return headers


def headers_of(axes: NDArray[np.float64] | None = None, depth: int = DEPTH) -> list[Dataset]:
    """A regular series, in order of k."""
    return headers_at([k * STEP_MM for k in range(depth)], axes)


def leaning(heights_mm: Sequence[float], along_i: float, along_j: float) -> NDArray[np.float64]:
    """Shifts of slices whose first pixels lie on a line, by degrees against the normal."""
    slopes = np.tan(np.radians([along_i, along_j]))
    shifts: NDArray[np.float64] = np.array(heights_mm)[:, None] * slopes
    return shifts


def frames_of(headers: Sequence[Dataset]) -> tuple[Frame, ...]:
    """Frames without files, in order of their UIDs."""
    instances = [Instance(file=PlainFile(Path("unused")), header=header) for header in headers]
    frames = [Frame(instance=instance, number=1, header=instance.header) for instance in instances]
    return tuple(sorted(frames, key=lambda frame: frame.SOPInstanceUID))


def candidate_of(headers: Sequence[Dataset]) -> Candidate:
    """A candidate without files."""
    frames = frames_of(headers)
    series = Series(
        StudyInstanceUID="1.2",
        SeriesInstanceUID="1.2.3",
        instances=tuple(frame.instance for frame in frames),
    )
    return Candidate(series=series, frames=frames)


def write_candidate(
    folder: Path, headers: Sequence[Dataset], stored: Sequence[NDArray[np.int16]]
) -> Candidate:
    """Write slices under random names, uncompressed, and read them back."""
    names = random.Random(3).sample(range(1000), len(headers))
    folder.mkdir(exist_ok=True)
    for name, header, pixels in zip(names, headers, stored, strict=True):
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        header.PixelRepresentation = 1
        header.setdefault("RescaleSlope", "1")
        header.setdefault("RescaleIntercept", "0")
        header.add_new("PixelData", "OW", np.asarray(pixels, "<i2").tobytes())
        dcmwrite(folder / f"{name}.dcm", header, enforce_file_format=True)
    ((series,),) = (study.series for study in scan(folder).studies)
    (candidate,) = split_series(series, series.instances)
    return candidate


def move(header: Dataset, *offset_mm: float) -> None:
    header.ImagePositionPatient = [
        float(p) + o for p, o in zip(header.ImagePositionPatient, offset_mm, strict=True)
    ]
