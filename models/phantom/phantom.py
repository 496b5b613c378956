"""Phantoms on any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.phantom.anatomy import Anatomy
from models.phantom.contrast import Phase
from models.phantom.painting import Painter
from models.phantom.plane import PlaneMaker
from models.phantom.scanner import Scanner

#: Room in mm around the body on a grid that is chosen for it.
_MARGIN_MM = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Phantom:
    """A CT of a person who never lived, and its truth.

    Parameters
    ----------
    volume
        Hounsfield units.
    label_map
        Organs on the same grid: 1 spleen, 2 pancreas, 3 left kidney, 4 gallbladder,
        5 oesophagus, 6 liver, 7 stomach, 8 duodenum, 9 right kidney.
    phase
        Contrast phase.
    """

    volume: Volume
    label_map: LabelMap
    phase: Phase


def make_phantom(
    seed: int,
    spacing_mm: tuple[float, float, float] = (5.0, 0.8, 0.8),
    shape: tuple[int, int, int] | None = None,
    *,
    direction_lps: ArrayLike | None = None,
    origin_lps: Sequence[float] | None = None,
    phase: Phase | None = None,
    circular_view: bool = True,
) -> Phantom:
    """Scan a person drawn from a seed.

    The seed decides the person: anatomy, position on the table, contrast phase. The same seed
    gives the same anatomy in LPS mm whatever the grid; only noise depends on the grid.

    Parameters
    ----------
    seed
        At least 0.
    spacing_mm
        In array order `(k, j, i)`; slices are as thick as they are apart.
    shape
        `(D, H, W)`; None covers the trunk from upper pelvis to lower chest with square slices.
    direction_lps
        `(3, 3)`, columns are the unit vectors of i, j and k; default axial from feet to head.
    origin_lps
        Centre of the voxel `(0, 0, 0)` in LPS mm; None centres the grid on the trunk.
    phase
        `none`, `arterial`, `portal` or `delayed`; None lets the seed decide.
    circular_view
        Whether HU outside the circle that fits the slice are -1024, as scanners store them.

    Returns
    -------
    Phantom
        A voxel has an organ's label if its centre lies in the organ.

    Raises
    ------
    GeometryError
        If no such grid can exist.
    """
    anatomy = Anatomy.draw(seed, phase)
    low, high = anatomy.extent_mm()
    directions = np.eye(3) if direction_lps is None else np.asarray(direction_lps, float)
    if shape is None:
        depth, height, width = _covering(low, high, spacing_mm, directions)
        side = max(height, width)
        shape = (depth, side, side)
    geometry = _placed(shape, spacing_mm, directions, origin_lps, (low + high) / 2)
    return _scan(anatomy, geometry, seed, circular_view)


def phantom_case(seed: int, spacing_mm: float = 2.0, phase: Phase | None = None) -> Phantom:
    """Scan a person on an isotropic grid cropped to the body, as for training.

    Parameters
    ----------
    seed, phase
        As in `make_phantom`.
    spacing_mm
        Distance between voxel centres on all axes.
    """
    anatomy = Anatomy.draw(seed, phase)
    low, high = anatomy.extent_mm()
    spacing = (spacing_mm,) * 3
    shape = _covering(low, high, spacing, np.eye(3))
    geometry = _placed(shape, spacing, np.eye(3), None, (low + high) / 2)
    return _scan(anatomy, geometry, seed, circular_view=False)


def _covering(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    spacing_mm: Sequence[float],
    directions: NDArray[np.float64],
) -> tuple[int, int, int]:
    """Sizes of the smallest grid that covers a box, with some room in x and y."""
    room = np.array([_MARGIN_MM, _MARGIN_MM, 0.0])
    length = np.abs(directions.T) @ (high - low + 2 * room)
    depth, height, width = np.ceil(length[::-1] / np.asarray(spacing_mm)).astype(int)
    return int(depth), int(height), int(width)


def _placed(
    shape: tuple[int, int, int],
    spacing_mm: Sequence[float],
    directions: NDArray[np.float64],
    origin_lps: Sequence[float] | None,
    centre_lps: NDArray[np.float64],
) -> VolumeGeometry:
    if origin_lps is None:
        last = (np.asarray(shape, float) - 1) * np.asarray(spacing_mm)
        origin_lps = (centre_lps - directions @ last[::-1] / 2).tolist()
    return VolumeGeometry.from_spacing(shape, spacing_mm, origin_lps, directions)


def _scan(anatomy: Anatomy, geometry: VolumeGeometry, seed: int, circular_view: bool) -> Phantom:
    planes = PlaneMaker(anatomy, geometry)
    scanner = Scanner.draw(seed, geometry, circular_view)
    painter = Painter(anatomy, scanner.edge_mm)
    hu = np.empty(geometry.shape, np.int16)
    labels = np.empty(geometry.shape, np.uint8)
    offsets = scanner.offsets_in_slice()
    for k in range(geometry.shape[0]):
        mean = np.zeros(geometry.shape[1:], np.float32)
        for offset in offsets:
            values, numbers = painter.draw(planes.at(k + offset))
            mean += values / np.float32(len(offsets))
            if offset == 0.0:
                labels[k] = numbers
        hu[k], seen = scanner.expose(mean, k)
        labels[k][~seen] = 0
    return Phantom(
        volume=Volume(hu=hu, geometry=geometry),
        label_map=LabelMap(labels=labels, geometry=geometry),
        phase=anatomy.phase,
    )
