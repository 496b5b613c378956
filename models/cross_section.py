"""What one axial slice of a CT is made of: body, lung, bone and soft tissue, on a coarse grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Volume
from models.orientation import AxisOrder

#: In-plane size of a cell, and the distance between slices looked at, in mm.
CELL_MM = 3.0
STEP_MM = 5.0
#: A short volume is looked at in at least this many slices (or all), a long one in at most this.
FEWEST_SLICES = 12
MOST_SLICES = 80

TISSUE_HU = -300
#: Lung with its vessels, between the gas of a bowel and fat.
LUNG_HU = (-960, -400)
FAT_HU = (-200, -30)
SOFT_TISSUE_HU = (0, 200)
#: In the mean of a cell; in a native voxel noise and contrast reach it too often.
BONE_HU = 200

#: Parts of a body (legs, arms) count from this share of the largest one.
_PART_SHARE = 0.3
#: Half width of the midline strip as a share of the body's width.
_MIDLINE = 0.15
#: Cells by which bone grows to close a ring.
_RING_GAP = 2

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CrossSection:
    """Figures of one slice; shares are 0 to 1.

    Parameters
    ----------
    area_cm2
        Of the body with lungs and bowel gas. A lower bound where the field of view cuts it.
    cut_share
        Share of the field of view's rim that lies in the body.
    lung_share
        Lung in the body less fat and gas, so that a stout and a thin person compare.
    soft_share, bone_share
        Of the body.
    twin_share
        Area of the second largest part over that of the largest, where they lie side by side.
    midline_share
        Share of the bone in the middle 30 % of the body's width.
    enclosed_share
        What a closed ring of bone surrounds, as a share of body or ring, whichever is larger.
    """

    area_cm2: float
    cut_share: float = 0.0
    lung_share: float = 0.0
    soft_share: float = 0.0
    bone_share: float = 0.0
    twin_share: float = 0.0
    midline_share: float = 0.0
    enclosed_share: float = 0.0


def cross_sections(volume: Volume) -> tuple[list[CrossSection], float]:
    """Measure axial slices from feet to head, whatever the order of the volume's axes.

    No copy of the volume is made: one slice at a time is averaged into cells.

    Parameters
    ----------
    volume
        HU, `(D, H, W)`.

    Returns
    -------
    sections
        One per slice looked at.
    step_mm
        Distance between them; the height of the volume where it is one slice.
    """
    order = AxisOrder.closest(volume.geometry)
    hu = order.apply(volume.hu)
    dz, dy, dx = order.geometry(volume.geometry).spacing_mm
    depth = hu.shape[0]
    stride = max(1, min(round(STEP_MM / dz), depth // FEWEST_SLICES), -(-depth // MOST_SLICES))
    planes = _coarse(hu[(depth - 1) % stride // 2 :: stride], (dy, dx))
    sections = [measure(plane, cell) for plane, cell in planes]
    return sections, dz * depth / len(sections)


def _coarse(
    hu: NDArray[np.int16], spacing_mm: tuple[float, float]
) -> Iterator[tuple[Plane, tuple[float, float]]]:
    fy, fx = (
        max(1, min(round(CELL_MM / mm), size))
        for mm, size in zip(spacing_mm, hu.shape[1:], strict=True)
    )
    rows, columns = hu.shape[1] // fy, hu.shape[2] // fx
    for plane in hu[:, : rows * fy, : columns * fx]:
        # padding such as -3024 would pull the cells at the circle's rim below air
        cells = np.maximum(plane, -1024).reshape(rows, fy, columns, fx)
        yield cells.mean((1, 3), dtype=np.float32), (spacing_mm[0] * fy, spacing_mm[1] * fx)


def measure(hu: Plane, spacing_mm: tuple[float, float]) -> CrossSection:
    """Measure one axial slice.

    Parameters
    ----------
    hu
        `(H, W)`: rows to the back, columns to the left; cells of about `CELL_MM`.
    spacing_mm
        Of rows and columns.
    """
    cell_cm2 = spacing_mm[0] * spacing_mm[1] / 100.0
    view = _field_of_view(hu, spacing_mm)
    tissue, twin = _largest_parts((hu > TISSUE_HU) & view)
    rim = view & ~ndimage.binary_erosion(view)
    cut = float((tissue & rim).sum() / rim.sum())
    body = tissue | (_surrounded(tissue, 3 if cut > 0 else 4) & view)
    bone = hu > BONE_HU
    ring = _filled_ring(bone)
    enclosed = float((ring & ~bone).sum() / max(ring.sum(), body.sum(), 1))
    size = int(body.sum())
    if size == 0:
        return CrossSection(area_cm2=0.0, enclosed_share=enclosed)
    # the outermost cells hold skin and air in one, which looks like lung
    inner = ndimage.binary_erosion(body, border_value=1)
    lung = int((inner & _within(hu, LUNG_HU)).sum())
    spare = int((body & (_within(hu, FAT_HU) | (hu < LUNG_HU[0]))).sum())
    return CrossSection(
        area_cm2=size * cell_cm2,
        cut_share=cut,
        lung_share=lung / max(size - spare, 1),
        soft_share=float((body & _within(hu, SOFT_TISSUE_HU)).sum() / size),
        bone_share=float((body & bone).sum() / size),
        twin_share=twin,
        midline_share=_midline_share(body, body & bone),
        enclosed_share=enclosed,
    )


def _within(hu: Plane, bounds: tuple[int, int]) -> Mask:
    mask: Mask = (hu > bounds[0]) & (hu <= bounds[1])
    return mask


def _field_of_view(hu: Plane, spacing_mm: tuple[float, float]) -> Mask:
    """The inscribed circle where all beyond it is one value, as scanners pad; else everything."""
    height, width = hu.shape
    y, x = np.ogrid[:height, :width]
    radius = min(height * spacing_mm[0], width * spacing_mm[1]) / 2
    distance = np.hypot(
        (y - (height - 1) / 2) * spacing_mm[0], (x - (width - 1) / 2) * spacing_mm[1]
    )
    beyond = hu[distance > radius + CELL_MM]
    if len(beyond) and np.ptp(beyond) == 0 and beyond[0] < TISSUE_HU:
        circle: Mask = distance <= radius
        return circle
    return np.ones(hu.shape, bool)


def _largest_parts(tissue: Mask) -> tuple[Mask, float]:
    """The largest part and those of like size, and the second's size over the first's.

    Thin things such as table tops, clothes and cables are left out. Front and back of a chest
    whose wall is thin are parts too, but not side by side.
    """
    core, count = ndimage.label(ndimage.binary_erosion(tissue, border_value=1))
    if count == 0:
        return np.zeros_like(tissue), 0.0
    sizes = np.bincount(core.ravel())
    sizes[0] = 0
    kept = (sizes >= _PART_SHARE * sizes.max())[core]
    parts: Mask = ndimage.binary_dilation(kept, iterations=2, mask=tissue)
    if count == 1:
        return parts, 0.0
    second, first = np.argsort(sizes)[-2:]
    columns = [place[1] for place in ndimage.find_objects(core)]  # of part 1, 2 and so on
    one, other = columns[first - 1], columns[second - 1]
    beside = one.stop <= other.start or other.stop <= one.start
    return parts, float(sizes[second] / sizes[first]) if beside else 0.0


def _surrounded(tissue: Mask, sides: int) -> Mask:
    """Cells with tissue on that many of their four sides, at any distance.

    A hole that a thin, partly lost wall no longer closes still counts. Where the field of view
    cuts the body, three sides are enough: the fourth may lie outside.
    """
    seen = np.zeros(tissue.shape, np.uint8)
    for axis in (0, 1):
        seen += np.logical_or.accumulate(tissue, axis)
        seen += np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis), axis)
    mask: Mask = seen >= sides
    return mask


def _filled_ring(bone: Mask) -> Mask:
    """Bone and what it surrounds; a gap of two `_RING_GAP` cells still closes."""
    around = _RING_GAP + 1
    grown = ndimage.binary_dilation(np.pad(bone, around), iterations=_RING_GAP)
    filled: Mask = ndimage.binary_erosion(ndimage.binary_fill_holes(grown), iterations=_RING_GAP)
    return filled[around:-around, around:-around]


def _midline_share(body: Mask, bone: Mask) -> float:
    columns = np.flatnonzero(body.any(axis=0))
    middle = float((body.sum(axis=0) * np.arange(body.shape[1])).sum() / body.sum())
    at = np.nonzero(bone)[1]
    if len(at) == 0:
        return 0.0
    return float((np.abs(at - middle) <= _MIDLINE * (columns[-1] - columns[0] + 1)).mean())
