"""Volume, density and place of each organ, as a table for people and programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.geometry import LabelMap, Volume
from models.segments import Segment
from operators.errors import OutputError
from operators.outputs import atomic_write

#: Said in every table.
NOTICE = "Research use only, not for clinical use"

_COLUMNS = (
    "number",
    "name",
    "label",
    "voxel_count",
    "volume_ml",
    "mean_hu",
    "sd_hu",
    "centroid_x_lps_mm",
    "centroid_y_lps_mm",
    "centroid_z_lps_mm",
    "complete",
)


@dataclass(frozen=True, kw_only=True)
class OrganVolume:
    """What was measured of one organ.

    Parameters
    ----------
    number, name, label
        Those of its segment.
    voxel_count
        0 where the organ was not found.
    volume_ml
        Voxels times the volume of one voxel.
    mean_hu, sd_hu
        Mean and standard deviation of its voxels in Hounsfield units; None where not found.
    centroid_lps_mm
        Mean position of its voxels, LPS; None where not found.
    complete
        Whether the organ was found and no voxel of it touches the border of the field of view,
        where it may be cut off.
    """

    number: int
    name: str
    label: str
    voxel_count: int
    volume_ml: float
    mean_hu: float | None
    sd_hu: float | None
    centroid_lps_mm: tuple[float, float, float] | None
    complete: bool


def measure(label_map: LabelMap, segments: Sequence[Segment], volume: Volume) -> list[OrganVolume]:
    """Measure every segment, also those without a voxel, in the order given.

    Parameters
    ----------
    label_map, volume
        Labels and HU `(D, H, W)` on one grid.
    segments
        What the labels mean.

    Raises
    ------
    OutputError
        If the two grids differ.
    """
    if not label_map.geometry.agrees_with(volume.geometry):
        raise OutputError(
            f"expected labels on the grid of the volume, {volume.geometry.shape}, "
            f"found another grid, {label_map.geometry.shape}"
        )
    sums = _sums(label_map.labels, volume.hu)
    border = _labels_at_border(label_map.labels)
    return [_organ(segment, sums[segment.number], label_map, border) for segment in segments]


def write_json(organs: Sequence[OrganVolume], path: Path) -> None:
    """Write the measurements as JSON, completely or not at all; raises OutputError."""
    content = {"notice": NOTICE, "organs": [asdict(organ) for organ in organs]}
    with atomic_write(path) as stream:
        stream.write((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def write_csv(organs: Sequence[OrganVolume], path: Path) -> None:
    """Write the measurements as CSV (RFC 4180, UTF-8), completely or not at all.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, _COLUMNS)
    table.writeheader()
    for organ in organs:
        row = asdict(organ)
        centroid = row.pop("centroid_lps_mm") or (None, None, None)
        row.update(zip(_COLUMNS[7:10], centroid, strict=True))
        row["complete"] = str(organ.complete).lower()
        table.writerow(row)
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())


def _sums(labels: NDArray[np.uint8], hu: NDArray[np.int16]) -> NDArray[np.float64]:
    """Per label `(256, 6)`: count, sums of k, j, i, HU and squared HU, plane by plane."""
    sums = np.zeros((256, 6))
    for k, (plane, values) in enumerate(zip(labels, hu, strict=True)):
        j, i = np.nonzero(plane)
        label = plane[j, i]
        here = values[j, i].astype(np.float64)
        count = np.bincount(label, minlength=256)
        sums[:, 0] += count
        sums[:, 1] += count * k
        for column, weights in enumerate((j, i, here, here**2), start=2):
            sums[:, column] += np.bincount(label, weights=weights, minlength=256)
    return sums


def _labels_at_border(labels: NDArray[np.uint8]) -> set[int]:
    faces = [labels.take(end, axis) for axis in range(3) for end in (0, -1)]
    return {int(label) for face in faces for label in np.unique(face)}


def _organ(
    segment: Segment, sums: NDArray[np.float64], label_map: LabelMap, border: set[int]
) -> OrganVolume:
    count = int(sums[0])
    mean_hu = sd_hu = centroid = None
    if count:
        k, j, i, mean, square = (float(value) for value in sums[1:] / count)
        mean_hu = round(mean, 2)
        sd_hu = round(max(0.0, square - mean**2) ** 0.5, 2)
        x, y, z = label_map.geometry.to_lps((k, j, i)).round(3).tolist()
        centroid = (x, y, z)
    return OrganVolume(
        number=segment.number,
        name=segment.name,
        label=segment.label,
        voxel_count=count,
        volume_ml=round(count * label_map.geometry.voxel_volume_ml, 3),
        mean_hu=mean_hu,
        sd_hu=sd_hu,
        centroid_lps_mm=centroid,
        complete=count > 0 and segment.number not in border,
    )
