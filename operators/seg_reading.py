"""Read a SEG back as a label map on the grid of its source, by the positions of its frames."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from models.geometry import LabelMap, VolumeGeometry
from operators.errors import ImagingError, VolumeError

#: Frames must lie on a slice of the grid within this distance.
TOLERANCE_MM = 0.01


def read_label_map(path: Path, geometry: VolumeGeometry) -> tuple[LabelMap, dict[int, str]]:
    """Read a BINARY segmentation whose segments do not overlap.

    Parameters
    ----------
    path
        The SEG.
    geometry
        Grid of the series that it segments, on which all slices lie.

    Returns
    -------
    Labels, whose values are SegmentNumbers, and the SegmentLabel of each number.

    Raises
    ------
    ImagingError
        If the file is no segmentation.
    VolumeError
        If a frame does not lie on a slice of the grid.
    """
    try:
        seg = highdicom.seg.segread(path)
    except (OSError, ValueError, TypeError, AttributeError, InvalidDicomError) as exc:
        raise ImagingError(f"expected a segmentation in {path}, found {exc}") from exc
    labels = np.zeros(geometry.shape, np.uint8)
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    for item, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        # what is the same for all frames is stated once (PS3.3 C.7.6.16)
        group = Dataset({**shared, **item})
        position = group.PlanePositionSequence[0].ImagePositionPatient
        k, j, i = geometry.to_index([float(value) for value in position])
        apart_mm = np.abs(geometry.to_lps((round(k), 0, 0)) - geometry.to_lps((k, j, i))).max()
        if apart_mm > TOLERANCE_MM or not 0 <= round(k) < geometry.shape[0]:
            raise VolumeError(
                f"{path}: expected every frame on a slice of the series, found one at the index "
                f"{k:.3f} of {geometry.shape[0]} slices, {apart_mm:.3f} mm beside it"
            )
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[round(k)][frame > 0] = number
    names = {s.SegmentNumber: str(s.SegmentLabel) for s in seg.SegmentSequence}
    return LabelMap(labels=labels, geometry=geometry), names
