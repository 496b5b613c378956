"""Fill the contours of an RT Structure Set (PS3.3 C.8.8.6) on the slices of a CT.

A pixel belongs to a region where its centre lies in a contour or on its line. Several contours of
a region on one slice are combined by exclusive or, so that an inner one is a hole; a hole by
keyhole needs no other rule.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset

from operators.elements import DAMAGED_DICOM_ERRORS
from operators.errors import ImagingError, VolumeError
from operators.label_reading_slices import SliceLabels

_FILLED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: A centre this near to a contour (in pixels) lies on it: coordinates are rounded.
_ON_LINE = 0.01


def open_rtstruct(path: Path) -> Dataset:
    """Read a structure set; raises ImagingError."""
    try:
        found = pydicom.dcmread(path)
        regions = found.get("ROIContourSequence")
    except (*DAMAGED_DICOM_ERRORS, OSError) as exc:
        raise ImagingError(f"expected a structure set in {path}, found {exc}") from exc
    if regions is None:
        raise ImagingError(f"{path}: expected ROIContourSequence, found none")
    return found


def draw_region(region: Dataset, value: int, canvas: SliceLabels) -> bool:
    """Fill the closed contours of an item of ROIContourSequence.

    Returns
    -------
    Whether it has any: a region without contours was named but never drawn.

    Raises
    ------
    VolumeError
        If a contour is open, lies on no slice, or was drawn on slices further apart.
    """
    masks: dict[int, NDArray[np.bool_]] = {}
    for contour in region.get("ContourSequence") or []:
        kind = str(contour.get("ContourGeometricType", ""))
        if kind == "POINT":
            continue
        if kind not in _FILLED:
            raise VolumeError(
                f"{canvas.path}: expected contours of type {' or '.join(_FILLED)}, "
                f"found {kind or 'none'}"
            )
        points = _points(contour, canvas.path)
        if len(points) < 3:  # programs write such for single pixels: nothing is enclosed
            continue
        n = canvas.slice_at(points, "every contour")
        filled = fill(canvas.to_pixels(points, n), canvas.stack.size)
        masks[n] = masks[n] ^ filled if n in masks else filled
    gaps = np.diff(sorted(masks))
    if len(gaps) > 1 and gaps.min() > 1:
        raise VolumeError(
            f"{canvas.path}: expected contours on every slice of an organ, found them on every "
            f"{int(gaps.min())}th: they were drawn on another series"
        )
    for n, mask in masks.items():
        rows, columns = np.nonzero(mask)
        canvas.paint(n, rows, columns, value)
    return bool(masks)


def fill(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centre lies in a polygon or on its line.

    Parameters
    ----------
    points
        `(n, 2)`, corners in order, in pixels `(j, i)`; whole numbers are centres.
    size
        Rows and columns.

    Returns
    -------
    `(H, W)` bool, by the even-odd rule.
    """
    mask = np.zeros(size, bool)
    ends = np.roll(points, -1, axis=0)
    first = max(0, int(np.floor(points[:, 0].min())))
    last = min(size[0] - 1, int(np.ceil(points[:, 0].max())))
    for row in range(first, last + 1):
        for y in (row - _ON_LINE, row + _ON_LINE):  # both, so that lines along a row count
            crossed = (points[:, 0] <= y) != (ends[:, 0] <= y)
            start, end = points[crossed], ends[crossed]
            share = (y - start[:, 0]) / (end[:, 0] - start[:, 0])
            columns = np.sort(start[:, 1] + share * (end[:, 1] - start[:, 1]))
            for left, right in columns.reshape(-1, 2):
                begin = max(0, int(np.ceil(left - _ON_LINE)))
                mask[row, begin : max(begin, int(np.floor(right + _ON_LINE)) + 1)] = True
    return mask


def _points(contour: Dataset, path: Path) -> NDArray[np.float64]:
    values = np.array([float(value) for value in contour.get("ContourData") or []])
    if len(values) % 3 or not np.isfinite(values).all():
        raise VolumeError(
            f"{path}: expected contours of points (x, y, z), found {len(values)} numbers"
        )
    return values.reshape(-1, 3)
