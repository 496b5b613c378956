"""The slices of a volume in order, and the regular grid that shows them in the patient.

Slices that form a regular, orthogonal grid are that grid. Others are parallel planes all the same,
and a grid is laid through them along their own rows, columns and normal:

| found | grid | refused |
|---|---|---|
| slices are missing | the slices' own positions and those between | a gap above `largest_gap_mm` |
| uneven distances | even steps from the first slice to the last | as above |
| slices shifted in their planes (gantry tilt) | wide enough for all | a lean above 45 degrees |

No grid holds more than twice the voxels of its slices. Everything is worked out from headers,
before a pixel is decoded; `operators.volumes` samples the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from models.geometry import ORTHOGONALITY_TOLERANCE, VolumeGeometry
from operators.elements import numbers_of
from operators.errors import VolumeError
from operators.series import Frame
from operators.slice_checks import (
    COSINE_TOLERANCE,
    PIXEL_SPACING_TOLERANCE_MM,
    POSITION_TOLERANCE_MM,
    SHOWN,
    arrays_of,
    axes_of,
    check_unique,
    names_of,
    one_array,
    one_frame_of_reference,
    one_size,
    text_of,
)

#: Widest distance between neighbouring images that is bridged, where they usually lie closer.
LARGEST_GAP_MM = 10.0
#: A distance this many times the usual one is a gap.
GAP_RATIO = 1.5
#: Grid voxels for each voxel of the slices, at most.
LARGEST_GROWTH = 2.0
LARGEST_LEAN_DEGREES = 45.0
#: Distances between pixels, from micro-CT to a coarse phantom.
PIXEL_MM = (0.001, 100.0)
#: How far slices may stray from a straight lean and still be called a gantry tilt.
LEAN_TOLERANCE_MM = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceStack:
    """Slices along their normal, and the grid of their volume.

    Parameters
    ----------
    frames
        One per slice, along the normal (row x column).
    positions_lps
        `(n, 3)` float64, centre of each slice's first pixel in LPS mm.
    size
        Rows and columns of each slice.
    grid
        Grid of the volume; its i and j axes run along the rows and columns of the slices.
    repairs
        How the grid differs from the slices, in sentences; empty where the slices are the grid.
    """

    frames: tuple[Frame, ...] = field(repr=False)
    positions_lps: NDArray[np.float64] = field(repr=False)
    size: tuple[int, int]
    grid: VolumeGeometry
    repairs: tuple[str, ...] = ()

    @property
    def is_grid(self) -> bool:
        """Whether slice n is the grid's slice n."""
        return not self.repairs

    @property
    def indices(self) -> NDArray[np.float64]:
        """`(n, 3)` float64, where each slice's first pixel lies on the grid, `(k, j, i)`.

        What lies on a voxel but for rounding of positions gets its whole number, so that it is
        not interpolated.
        """
        found = self.grid.to_index(self.positions_lps)
        whole = np.rint(found)
        is_whole = np.abs(found - whole) * self.grid.spacing_mm <= POSITION_TOLERANCE_MM
        indices: NDArray[np.float64] = np.where(is_whole, whole, found)
        return indices


@dataclass(frozen=True, kw_only=True)
class _Planes:
    """Ordered parallel slices, as their headers place them."""

    frames: tuple[Frame, ...]
    positions: NDArray[np.float64]
    axes: NDArray[np.float64]  # (3, 3), columns are row, column and normal
    pixel_mm: NDArray[np.float64]  # between rows, between columns
    size: tuple[int, int]

    @property
    def heights_mm(self) -> NDArray[np.float64]:
        heights: NDArray[np.float64] = self.positions @ self.axes[:, 2]
        return heights

    @property
    def shifts_mm(self) -> NDArray[np.float64]:
        """`(n, 2)`, how far each slice lies along rows and columns from the first."""
        shifts: NDArray[np.float64] = (self.positions - self.positions[0]) @ self.axes[:, :2]
        return shifts


def stack_slices(frames: Sequence[Frame], largest_gap_mm: float = LARGEST_GAP_MM) -> SliceStack:
    """Order slices and work out the grid of their volume, from headers alone.

    The affine follows PS3.3 C.7.6.2.1.1: the column index i runs along the first three cosines
    in steps of PixelSpacing[1], the row index j along the last three in steps of PixelSpacing[0].

    Parameters
    ----------
    frames
        At least two. One alone is refused: its SliceThickness does not say how far the next one
        would be.
    largest_gap_mm
        Widest distance between neighbours that is bridged where they usually lie closer.

    Raises
    ------
    VolumeError
        With what was expected and found, and the images concerned, if something is missing, if
        sizes, pixel spacings, orientations or frames of reference are mixed, if two images share
        a position, or if no grid within the limits above holds the slices.
    """
    if len(frames) < 2:
        raise VolumeError(f"expected at least 2 images in a volume, found {len(frames)}")
    planes = _ordered(frames)
    check_unique(planes.frames, planes.heights_mm)
    step = _regular_step(planes)
    if step is not None:
        grid = _grid(planes, len(planes.frames), step, np.zeros(2), planes.size)
        first_pixels = [(k, 0, 0) for k in range(len(planes.frames))]
        return SliceStack(
            frames=planes.frames,
            positions_lps=grid.to_lps(first_pixels),
            size=planes.size,
            grid=grid,
        )
    return _repaired(planes, largest_gap_mm)


def _ordered(frames: Sequence[Frame]) -> _Planes:
    size = one_size(frames)
    one_frame_of_reference(frames)
    pixel_mm = one_array("PixelSpacing", frames, 2, PIXEL_SPACING_TOLERANCE_MM)
    if pixel_mm.min() < PIXEL_MM[0] or pixel_mm.max() > PIXEL_MM[1]:
        raise VolumeError(
            f"expected a PixelSpacing of {PIXEL_MM[0]:g} to {PIXEL_MM[1]:g} mm, found "
            f"{text_of(pixel_mm)}"
        )
    row, column = axes_of(one_array("ImageOrientationPatient", frames, 6, COSINE_TOLERANCE))
    normal = np.cross(row, column)
    positions = arrays_of("ImagePositionPatient", frames, 3)
    order = np.argsort(positions @ normal, kind="stable")
    return _Planes(
        frames=tuple(frames[n] for n in order),
        positions=positions[order],
        axes=np.stack([row, column, normal], axis=1),
        pixel_mm=pixel_mm,
        size=size,
    )


def _regular_step(planes: _Planes) -> NDArray[np.float64] | None:
    """From one slice to the next, `(3,)` mm, where all lie on one orthogonal grid; else None."""
    positions, normal = planes.positions, planes.axes[:, 2]
    count = len(positions) - 1
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / count
    along: NDArray[np.float64] = (step @ normal) * normal
    drift = float(np.linalg.norm(step - along))
    if drift * count <= POSITION_TOLERANCE_MM:
        step = along  # only rounding differs
    elif drift > ORTHOGONALITY_TOLERANCE * np.linalg.norm(step):
        return None
    even = positions[0] + np.arange(count + 1)[:, None] * step
    strays = np.linalg.norm(positions - even, axis=1).max()
    return step if strays <= POSITION_TOLERANCE_MM else None


def _repaired(planes: _Planes, largest_gap_mm: float) -> SliceStack:
    heights = planes.heights_mm
    gaps = np.diff(heights)
    usual_mm = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    wide = np.flatnonzero(gaps > GAP_RATIO * usual_mm)
    _check_gaps(planes, wide[gaps[wide] > largest_gap_mm], usual_mm)
    count, step_mm = _with_gaps_filled(heights, usual_mm) or _even_steps(heights, usual_mm)
    repairs = _told_distances(gaps, wide, usual_mm, count, step_mm)
    corner_mm, size, told = _widened(planes)
    repairs += told
    growth = count * math.prod(size) / (len(planes.frames) * math.prod(planes.size))
    if growth > LARGEST_GROWTH:
        raise VolumeError(
            f"expected slices that fill at least half of their grid, found {len(planes.frames)} "
            f"images of {planes.size} in a grid of {(count, *size)}: {'; '.join(repairs)}"
        )
    grid = _grid(planes, count, step_mm * planes.axes[:, 2], corner_mm, size)
    return SliceStack(
        frames=planes.frames,
        positions_lps=planes.positions,
        size=planes.size,
        grid=grid,
        repairs=repairs or ("positions were evened out",),
    )


def _check_gaps(planes: _Planes, wide: NDArray[np.intp], usual_mm: float) -> None:
    if not len(wide):
        return
    heights = planes.heights_mm
    gaps = np.diff(heights)
    missing = int(np.maximum(np.round(gaps[wide] / usual_mm) - 1, 1).sum())
    places = ", ".join(
        f"{gaps[k]:.3f} mm between {planes.frames[k].name} at {heights[k]:.2f} mm and "
        f"{planes.frames[k + 1].name} at {heights[k + 1]:.2f} mm"
        for k in wide[:SHOWN]
    )
    raise VolumeError(
        f"expected a slice every {usual_mm:.3f} mm, found {len(wide)} gaps where {missing} "
        f"slices are missing, too many to fill in: {places}"
    )


def _with_gaps_filled(heights: NDArray[np.float64], usual_mm: float) -> tuple[int, float] | None:
    """Number and distance of even slices that all given ones are among; None where none are."""
    at = np.append(0, np.cumsum(np.round(np.diff(heights) / usual_mm)))
    step_mm = float((heights[-1] - heights[0]) / at[-1])
    strays = np.abs(heights - heights[0] - at * step_mm).max()
    if strays > POSITION_TOLERANCE_MM or np.diff(at).min() < 1:
        return None
    return int(at[-1]) + 1, step_mm


def _even_steps(heights: NDArray[np.float64], usual_mm: float) -> tuple[int, float]:
    """Number and distance of even slices that take the place of uneven ones.

    The mean distance where all but gaps are near it, else the smallest, as far as memory allows.
    """
    gaps = np.diff(heights)
    gaps = gaps[gaps <= GAP_RATIO * usual_mm]
    extent_mm = float(heights[-1] - heights[0])
    wanted_mm = float(gaps.mean() if gaps.min() * GAP_RATIO >= usual_mm else gaps.min())
    most = int(LARGEST_GROWTH * len(heights)) - 1
    count = min(max(1, math.ceil(extent_mm / wanted_mm - 1e-6)), most)
    return count + 1, extent_mm / count


def _told_distances(
    gaps: NDArray[np.float64], wide: NDArray[np.intp], usual_mm: float, count: int, step_mm: float
) -> tuple[str, ...]:
    if np.abs(gaps - step_mm).max() <= 2 * POSITION_TOLERANCE_MM:
        return ()
    rest = np.delete(gaps, wide)
    if len(wide) and np.abs(rest - step_mm).max() <= 2 * POSITION_TOLERANCE_MM:
        return (
            f"{count - len(gaps) - 1} missing slices were interpolated, in {len(wide)} gaps of up "
            f"to {gaps.max():.2f} mm where the distance is {usual_mm:.2f} mm",
        )
    return (
        f"slice distances of {gaps.min():.2f} to {gaps.max():.2f} mm were resampled to "
        f"{step_mm:.3f} mm",
    )


def _widened(planes: _Planes) -> tuple[NDArray[np.float64], tuple[int, int], tuple[str, ...]]:
    """First pixel (mm along rows and columns) and size of a plane that holds all slices' own."""
    shifts = planes.shifts_mm
    spread = np.ptp(shifts, axis=0)
    if spread.max() <= POSITION_TOLERANCE_MM:
        return np.zeros(2), planes.size, ()
    heights = planes.heights_mm - planes.heights_mm[0]
    slopes = heights @ shifts / (heights @ heights)
    strays = np.linalg.norm(shifts - heights[:, None] * slopes, axis=1).max()
    lean = math.degrees(math.atan(float(np.linalg.norm(slopes))))
    if lean > LARGEST_LEAN_DEGREES:
        raise VolumeError(
            f"expected a gantry tilt of at most {LARGEST_LEAN_DEGREES:.0f} degrees, found a stack "
            f"that leans by {lean:.2f} degrees"
        )
    told = f"images shifted in their planes by up to {spread.max():.2f} mm were resampled"
    if strays <= LEAN_TOLERANCE_MM:
        told = f"a gantry tilt of {lean:.2f} degrees was resampled onto an upright grid"
        stated = numbers_of(planes.frames[0].header, "GantryDetectorTilt", 1)
        if stated is not None and abs(abs(stated[0]) - lean) > 1:
            told += f", although GantryDetectorTilt says {stated[0]:g}"
    between_rows, between_columns = planes.pixel_mm
    height, width = planes.size
    wider = np.maximum(spread - POSITION_TOLERANCE_MM, 0)
    size = (
        height + math.ceil(wider[1] / between_rows),
        width + math.ceil(wider[0] / between_columns),
    )
    return shifts.min(axis=0), size, (told,)


def _grid(
    planes: _Planes,
    count: int,
    step: NDArray[np.float64],
    corner_mm: NDArray[np.float64],
    size: tuple[int, int],
) -> VolumeGeometry:
    affine = np.eye(4)
    affine[:3, 0] = planes.axes[:, 0] * planes.pixel_mm[1]
    affine[:3, 1] = planes.axes[:, 1] * planes.pixel_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = planes.positions[0] + planes.axes[:, :2] @ corner_mm
    try:
        return VolumeGeometry(shape=(count, *size), affine_lps=affine)
    except GeometryError as exc:
        raise VolumeError(f"the slices form no grid: {exc}; {names_of(planes.frames)}") from exc
