"""What is wrong with a data set: judged by functions that name what was expected and found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.data.label_values import RIGHT_OF
from models.geometry import VolumeGeometry

Severity = Literal["error", "warning"]

#: Image and labels are on one grid where no voxel of theirs lies further apart.
TOLERANCE_MM = 0.1
#: Fat, lung and air: an image in HU without them does not exist.
LIGHT_HU = (-1100, -50)
LEAST_LIGHT_SHARE = 0.002
#: Of a slice's brightest grey: 12-bit values in a 16-bit file reach a sixteenth of white.
LEAST_GREY = 0.125
#: Of the larger of two organs; a smaller one is a few stray voxels, which may lie anywhere.
LEAST_SHARE = 0.02
UNKNOWN_VALUE = 255


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with one file, or with how files go together.

    Parameters
    ----------
    kind
        A short name, such as `missing label`.
    record
        Name of the record; empty where several are concerned.
    path
        The file.
    expected, found
        In words; `found` alone where it says what was expected.
    severity
        Errors forbid training.
    """

    kind: str
    record: str
    path: Path
    expected: str
    found: str
    severity: Severity = "error"

    def __str__(self) -> str:
        if not self.expected:
            return self.found
        return f"{self.path}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The range of an image's values as they are stored.

    Parameters
    ----------
    low, high
        Of the finite values.
    light_share
        Share of voxels within `LIGHT_HU`.
    not_finite
        Number of voxels without a finite value.
    """

    low: float
    high: float
    light_share: float
    not_finite: int


def to_hu(values: NDArray[Any]) -> tuple[NDArray[np.int16], Extent]:
    """Values `(D, H, W)` as int16, plane by plane, and their range; what is not finite is air."""
    hu = np.empty(values.shape, np.int16)
    limits = np.iinfo(np.int16)
    low, high, light, not_finite = np.inf, -np.inf, 0, 0
    for k, plane in enumerate(values):
        if plane.dtype.kind == "f":
            finite = np.isfinite(plane)
            bad = int(plane.size - finite.sum())
            if bad:
                not_finite += bad
                plane = np.where(finite, plane, -1024.0)
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        light += int(((plane >= LIGHT_HU[0]) & (plane <= LIGHT_HU[1])).sum())
        hu[k] = np.clip(np.rint(plane), limits.min, limits.max)
    return hu, Extent(
        low=low, high=high, light_share=light / max(1, values.size), not_finite=not_finite
    )


def hu_fault(extent: Extent) -> tuple[str, str] | None:
    """Why values are no Hounsfield units, as (expected, found); None where they may be."""
    found = f"{extent.low:g} to {extent.high:g}"
    if extent.not_finite:
        return "finite values", f"{extent.not_finite} voxels of NaN or infinity"
    if extent.low == extent.high:
        return "an image", f"the value {extent.low:g} everywhere"
    if extent.high > np.iinfo(np.int16).max or extent.low < np.iinfo(np.int16).min:
        return "Hounsfield units within 16 bits", found
    if extent.light_share < LEAST_LIGHT_SHARE:
        fat = "Hounsfield units, in which fat and air lie below -50"
        return fat, f"{found}: {_guess(extent)}"
    if extent.high < LIGHT_HU[1]:
        return "Hounsfield units of a body", f"{found}: air alone"
    return None


def grey_fault(greys: NDArray[np.float32]) -> tuple[str, str] | None:
    """Why greys of 0 to 1 of a slice with organs show no window of HU, as (expected, found)."""
    most = float(greys.max(initial=0))
    if most >= LEAST_GREY:
        return None
    return (
        "greys from black to white, each end of a window of HU",
        f"none above {100 * most:.1f} % of white: stored values, perhaps, rather than greys",
    )


def _guess(extent: Extent) -> str:
    if extent.high - extent.low <= 20:
        return "values that were normalised"
    if extent.low >= 0 and extent.high <= 255:
        return "8-bit grey values"
    return "stored values, to which the RescaleIntercept (mostly -1024) was not added"


def grid_fault(image: VolumeGeometry, label: VolumeGeometry) -> tuple[str, str] | None:
    """Why labels do not lie on an image, as (expected, found)."""
    if image.shape != label.shape:
        return f"the image's shape {image.shape}", f"{label.shape}"
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in image.shape]), axis=-1)
    apart = float(np.linalg.norm(image.to_lps(corners) - label.to_lps(corners), axis=-1).max())
    if apart <= TOLERANCE_MM:
        return None
    return (
        f"the image's affine (voxels within {TOLERANCE_MM} mm)",
        f"voxels up to {apart:.2f} mm apart{_turned(image, label)}",
    )


def _turned(image: VolumeGeometry, label: VolumeGeometry) -> str:
    cosines = (image.direction_lps * label.direction_lps).sum(axis=0)
    flipped = [axis for axis, cosine in zip("ijk", cosines, strict=True) if cosine < -0.9]
    return f"; axis {', '.join(flipped)} runs the other way" if flipped else ""


def value_counts(labels: NDArray[np.uint8]) -> dict[int, int]:
    """Number of voxels of each label value but 0, in order."""
    counts = np.zeros(256, np.int64)
    for plane in labels:  # bincount widens its input to 64 bits: plane by plane
        counts += np.bincount(plane.ravel(), minlength=256)
    return {value: int(counts[value]) for value in range(1, 256) if counts[value]}


def value_fault(counts: Mapping[int, int], known: Collection[int] | None) -> tuple[str, str] | None:
    """Why label values cannot be used, as (expected, found)."""
    unknown = sorted(set(counts) - {*known, UNKNOWN_VALUE}) if known is not None else []
    if unknown and known is not None:
        some = ", ".join(f"{value} ({counts[value]} voxels)" for value in unknown[:10])
        return f"label values of 0 and {sorted(known)}", some
    return None


def mirror_fault(
    labels: NDArray[np.uint8], label_values: Mapping[str, int]
) -> tuple[str, str] | None:
    """Why labels in canonical order look mirrored, as (expected, found).

    Nothing in an affine tells that it is wrong, but anatomy does, situs inversus (1 in 10,000)
    apart. Organs of which there are stray voxels alone do not count.
    """
    for right, left in RIGHT_OF:
        if right not in label_values or left not in label_values:
            continue
        one, first = _mean_column(labels, label_values[right])
        other, second = _mean_column(labels, label_values[left])
        if min(one, other) > LEAST_SHARE * max(one, other) and first >= second:
            return (
                f"{right} to the patient's right of {left}",
                "the reverse: an affine that mirrors, swapped labels, or situs inversus",
            )
    return None


def _mean_column(labels: NDArray[np.uint8], value: int) -> tuple[int, float]:
    """Number of voxels, and where they are in the mean."""
    counts = np.zeros(labels.shape[2], np.int64)
    for plane in labels:
        counts += (plane == value).sum(axis=0)
    total = int(counts.sum())
    return total, float(counts @ np.arange(len(counts))) / max(1, total)
