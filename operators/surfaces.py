"""Surfaces of organs as triangles in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import LabelMap, VolumeGeometry
from models.segments import Segment
from operators.vtk_meshes import isosurface, smoothed

#: Voxels finer than this are put together before the surface is laid, for files of a fair size.
CELL_MM = 1.5
#: Slightly off a half, which blocks of voxels often hold exactly and where triangles degenerate.
_HALF = np.float32(0.499)
#: Outlines of neighbouring slices that are further apart do not draw each other.
_DEEPEST_MM = 12.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """The closed surface of one organ.

    Parameters
    ----------
    number, name, label, rgb
        Those of its segment.
    points_lps
        `(N, 3)` float64 LPS mm.
    triangles
        `(M, 3)` int64 indices of points, counter-clockwise as seen from outside.
    voxels_ml
        Volume of the organ's voxels, which the surface of a thin structure does not hold in full.
    """

    number: int
    name: str
    label: str
    rgb: tuple[int, int, int]
    points_lps: NDArray[np.float64] = field(repr=False)
    triangles: NDArray[np.int64] = field(repr=False)
    voxels_ml: float

    @property
    def volume_ml(self) -> float:
        """Volume inside the surface."""
        return _volume_mm3(self.points_lps, self.triangles) / 1000.0

    @property
    def normals_lps(self) -> NDArray[np.float64]:
        """`(N, 3)` unit vectors outwards, of the triangles around each point by their area."""
        return _normals(self.points_lps, self.triangles)


def organ_surfaces(
    label_map: LabelMap, segments: Sequence[Segment], cell_mm: float = CELL_MM
) -> tuple[Surface, ...]:
    """Lay a surface around each organ that was found.

    Voxels are boxes around their centres, which the affine places; outside the grid there is
    nothing, so that an organ that the field of view cuts is closed there. The surface is where
    half of a cell is filled, interpolated where slices lie far apart (flying edges: Schroeder et
    al., LDAV 2015), smoothed by a windowed sinc filter that does not shrink (Taubin et al., ECCV
    1996), and moved along its normals until it holds the volume of the voxels. What fills no cell
    by half, a few stray voxels, has a surface around each of them.

    Parameters
    ----------
    label_map
        Labels `(D, H, W)` on any orthogonal grid.
    segments
        What the labels mean; the surfaces are in this order, without the organs that are absent or
        have no surface.
    cell_mm
        Neighbouring voxels are put together to cells of about this size.

    Raises
    ------
    OutputError
        If VTK is absent.
    """
    boxes = ndimage.find_objects(label_map.labels)
    surfaces = []
    for segment in segments:
        box = boxes[segment.number - 1] if segment.number <= len(boxes) else None
        if box is None:
            continue
        mask = label_map.labels[box] == segment.number
        points, triangles = _surface(label_map.geometry, mask, box, cell_mm)
        if not len(triangles):
            continue
        surfaces.append(
            Surface(
                number=segment.number,
                name=segment.name,
                label=segment.label,
                rgb=segment.rgb,
                points_lps=points,
                triangles=triangles,
                voxels_ml=_voxels_ml(label_map.geometry, mask),
            )
        )
    return tuple(surfaces)


def _voxels_ml(geometry: VolumeGeometry, mask: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(mask)) * geometry.voxel_volume_ml


def _surface(
    geometry: VolumeGeometry, mask: NDArray[np.bool_], box: tuple[slice, ...], cell_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points and triangles around the voxels of a box of the grid; none where there is none."""
    spacing_mm = np.array(geometry.spacing_mm)
    factors = np.maximum(1, np.rint(cell_mm / spacing_mm)).astype(int)
    share = _filled_share(mask, factors)
    stray = bool(share.max() <= _HALF)  # a few voxels, or thinner than a cell
    if stray:  # each voxel counts for itself, and is not smoothed away
        factors, finer = np.ones(3, np.int64), np.ones(3, np.int64)
        field = _filled_share(mask, factors) - _HALF
    else:
        field, finer = _between_slices(share - _HALF, spacing_mm * factors)
    index_ijk, triangles = isosurface(field, 0.0)
    if not len(triangles):
        return index_ijk, triangles
    start = np.array([axis.start for axis in box])
    # the first cell lies before the box, and a cell's centre amid its voxels
    index_kji = (index_ijk[:, ::-1] / finer - 0.5) * factors - 0.5 + start
    points = geometry.to_lps(index_kji)
    if not stray:
        points = smoothed(points, triangles)
    if _volume_mm3(points, triangles) < 0:  # the grid is left-handed
        triangles = np.ascontiguousarray(triangles[:, ::-1])
    target = _voxels_ml(geometry, mask) * 1000.0
    limit_mm = float((spacing_mm * factors).min())
    return _with_volume(points, triangles, target, limit_mm), triangles


def _filled_share(mask: NDArray[np.bool_], factors: NDArray[np.int64]) -> NDArray[np.float32]:
    """Share of each cell of `factors` voxels that is filled, with a rim of empty cells."""
    cells = -(-np.array(mask.shape) // factors)
    room = np.stack((factors, (cells + 1) * factors - mask.shape), axis=1)
    padded = np.pad(mask, room.tolist())
    (d, h, w), (fd, fh, fw) = cells + 2, factors
    share: NDArray[np.float32] = padded.reshape(d, fd, h, fh, w, fw).mean(
        axis=(1, 3, 5), dtype=np.float32
    )
    return share


def _between_slices(
    field: NDArray[np.float32], cells_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Fill in slices where they lie far apart, so that a slope does not become a staircase.

    In between, the distances to the outlines of both neighbours are weighed (shape-based
    interpolation: Raya and Udupa, IEEE TMI 1990).

    Returns
    -------
    The field, positive inside, and how many times finer it has become on each axis.
    """
    finer = np.ones(3, np.int64)
    axis = int(cells_mm.argmax())
    times = round(float(cells_mm[axis] / cells_mm.min()))
    if times == 1:
        return field, finer
    finer[axis] = times
    in_plane_mm = np.delete(cells_mm, axis)
    planes = np.stack([_depth_mm(plane > 0, in_plane_mm) for plane in np.moveaxis(field, axis, 0)])
    positions = np.arange((len(planes) - 1) * times + 1) / times
    lower = np.minimum(positions.astype(int), len(planes) - 2)
    weight = (positions - lower)[:, None, None]
    fine = (1 - weight) * planes[lower] + weight * planes[lower + 1]
    return np.moveaxis(fine, 0, axis).astype(np.float32), finer


def _depth_mm(inside: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance to the outline in a plane, positive inside, at most `_DEEPEST_MM`."""
    edge = spacing_mm.min() / 2  # the outline runs between two cells' centres
    if not inside.any():
        return np.full(inside.shape, -_DEEPEST_MM)
    depth = np.where(
        inside,
        ndimage.distance_transform_edt(inside, spacing_mm) - edge,
        edge - ndimage.distance_transform_edt(~inside, spacing_mm),
    )
    clipped: NDArray[np.float64] = depth.clip(-_DEEPEST_MM, _DEEPEST_MM)
    return clipped


def _with_volume(
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    target_mm3: float,
    limit_mm: float,
) -> NDArray[np.float64]:
    """Move the points along their normals, all as far, until the volume is the one wanted."""
    moved = 0.0
    for _ in range(3):
        missing = target_mm3 - _volume_mm3(points, triangles)
        area = np.linalg.norm(_doubled_areas(points, triangles), axis=1).sum() / 2
        # no further than half a cell in all: a thin sheet of voxels must not turn inside out
        step = float(np.clip(moved + missing / area, -limit_mm / 2, limit_mm / 2)) - moved
        points = points + step * _normals(points, triangles)
        moved += step
    return points


def _doubled_areas(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`(M, 3)`: the normal of each triangle, as long as twice its area."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def _volume_mm3(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    about = points - points.mean(axis=0)
    cross = _doubled_areas(about, triangles)
    return float((about[triangles[:, 0]] * cross).sum() / 6)


def _normals(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    areas = _doubled_areas(points, triangles)
    sums = np.empty_like(points)
    for axis in range(3):
        weights = np.repeat(areas[:, axis], 3)
        sums[:, axis] = np.bincount(triangles.ravel(), weights, len(points))
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # where triangles fold flat there is no outside: any direction will do
    return np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), (0.0, 0.0, 1.0))
