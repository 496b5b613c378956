"""Draw the segments of a DICOM Segmentation (PS3.3 A.51) on the slices of a CT.

Frames are placed one by one, by position, orientation and spacing: they may be few, in any order,
smaller or larger than the slices, and have rows and columns turned or flipped. Where pixels do not
fall on pixels the object is refused rather than resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from operators.elements import DAMAGED_DICOM_ERRORS
from operators.errors import ImagingError, VolumeError
from operators.label_reading_slices import SliceLabels

#: Pixels may lie so far beside those of the CT, in pixels.
_PIXEL_TOLERANCE = 0.1
#: And so far from one to the next; over a whole slice the tolerance above is the narrower.
_STEP_TOLERANCE = 0.02


def open_seg(path: Path) -> highdicom.seg.Segmentation:
    """Open a segmentation; raises ImagingError."""
    try:
        # lazily, highdicom 0.28.2 misreads packed bits of frames that end within a byte
        return highdicom.seg.segread(path)
    except (*DAMAGED_DICOM_ERRORS, OSError) as exc:
        raise ImagingError(f"expected a segmentation in {path}, found {exc}") from exc


def draw_segments(
    seg: highdicom.seg.Segmentation, values: Mapping[int, int], canvas: SliceLabels
) -> None:
    """Draw segments of type BINARY, FRACTIONAL (half or more counts) or LABELMAP.

    Parameters
    ----------
    seg
        From `open_seg`.
    values
        Label value of each SegmentNumber to draw.
    canvas
        Where to.

    Raises
    ------
    VolumeError
        If a frame lies on no slice, or its pixels beside those of the slice.
    ImagingError
        If frames cannot be read.
    """
    kind = str(seg.SegmentationType)
    half = float(seg.get("MaximumFractionalValue", 1)) / 2 if kind == "FRACTIONAL" else 0.5
    shared = _first(seg, "SharedFunctionalGroupsSequence")
    for number, item in enumerate(seg.PerFrameFunctionalGroupsSequence, start=1):
        group = Dataset({**shared, **item})  # what is the same for all is stated once
        if kind == "LABELMAP":
            wanted = None
        else:
            part = _first(group, "SegmentIdentificationSequence")
            wanted = values.get(int(part.ReferencedSegmentNumber))
            if wanted is None:
                continue
        frame = _frame(seg, number, canvas.path)
        if not frame.any():
            continue
        placed = _Placed(group, frame.shape, canvas)
        if wanted is not None:
            placed.paint(frame >= half, wanted)
            continue
        for present in np.unique(frame[frame > 0]).tolist():
            if int(present) in values:
                placed.paint(frame == present, values[int(present)])


class _Placed:
    """A frame on its slice."""

    def __init__(self, group: Dataset, shape: tuple[int, ...], canvas: SliceLabels) -> None:
        self.canvas = canvas
        corner = _numbers(_first(group, "PlanePositionSequence").ImagePositionPatient)
        cosines = _numbers(_first(group, "PlaneOrientationSequence").ImageOrientationPatient)
        between_rows, between_columns = _numbers(
            _first(group, "PixelMeasuresSequence").PixelSpacing
        )
        down, right = cosines[3:] * between_rows, cosines[:3] * between_columns
        last = np.array(shape) - 1
        corners = np.array(
            [corner + r * down + c * right for r in (0, last[0]) for c in (0, last[1])]
        )
        self.slice = canvas.slice_at(corners, "every frame")
        at = canvas.to_pixels(corners, self.slice)
        if np.abs(at - np.rint(at)).max() > _PIXEL_TOLERANCE:
            raise VolumeError(
                f"{canvas.path}: expected pixels on those of the series, found a frame whose "
                f"corner lies at the pixel {at[0][0]:.2f}, {at[0][1]:.2f}"
            )
        steps = canvas.to_pixels(np.array([corner, corner + down, corner + right]), self.slice)
        self.origin = np.rint(at[0]).astype(np.int64)
        exact = steps[1:] - steps[0]
        self.down, self.right = np.rint(exact).astype(np.int64)
        whole = np.abs(exact - np.rint(exact)).max() <= _STEP_TOLERANCE
        if not whole or sorted((*np.abs(self.down), *np.abs(self.right))) != [0, 0, 1, 1]:
            raise VolumeError(f"{canvas.path}: expected pixels of the series' size, found others")

    def paint(self, mask: NDArray[np.bool_], value: int) -> None:
        r, c = np.nonzero(mask)
        rows = self.origin[0] + r * self.down[0] + c * self.right[0]
        columns = self.origin[1] + r * self.down[1] + c * self.right[1]
        height, width = self.canvas.stack.size
        outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
        if outside.any():
            raise VolumeError(
                f"{self.canvas.path}: expected labels within the slices, "
                f"found {int(outside.sum())} pixels outside"
            )
        self.canvas.paint(self.slice, rows, columns, value)


def _frame(seg: highdicom.seg.Segmentation, number: int, path: Path) -> NDArray[Any]:
    try:
        frame: NDArray[Any] = seg.get_stored_frame(number)
    except (*DAMAGED_DICOM_ERRORS, OSError) as exc:
        raise ImagingError(f"{path}: expected the pixels of frame {number}, found {exc}") from exc
    return frame


def _first(dataset: Dataset, keyword: str) -> Dataset:
    items = dataset.get(keyword)
    if not items:
        raise ImagingError(f"expected {keyword} for every frame of a segmentation, found none")
    first: Dataset = items[0]
    return first


def _numbers(values: Any) -> NDArray[np.float64]:
    return np.array([float(value) for value in values])
