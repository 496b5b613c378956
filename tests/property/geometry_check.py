"""Compare a volume with the phantom, from where the case put its slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.volumes import SeriesVolume
from tests.property.analytic_series import PHASE_HU, SeriesCase

#: What is allowed, and what the digits of directions in headers add to it.
POSITION_MM = 0.01 + 1e-5
ROUNDING_HU = 0.5 + 1e-6
AIR_HU = -1024


def assert_regular(case: SeriesCase, built: SeriesVolume) -> None:
    """The slices are the grid: voxel (k, j, i) is pixel (j, i) of the k-th slice."""
    grid = built.volume.geometry
    kept = case.kept
    assert built.stack.repairs == ()
    assert grid.shape == (len(kept), case.rows, case.columns)
    for k, n in enumerate(kept):
        j, i = np.indices((case.rows, case.columns))
        found = grid.to_lps(np.stack([np.full_like(j, k), j, i], axis=-1))
        apart = np.linalg.norm(found - case.pixels_lps(n), axis=-1)
        assert apart.max() <= POSITION_MM, f"slice {n} lies {apart.max():.4f} mm off"
        assert (built.volume.hu[k][case.outside] == AIR_HU).all()


def assert_right(case: SeriesCase, built: SeriesVolume) -> None:
    """The grid holds all slices, and every voxel shows what the phantom has there."""
    grid, hu = built.volume.geometry, built.volume.hu
    kept = case.kept
    np.testing.assert_allclose(grid.direction_lps, case.directions, atol=1e-6)
    np.testing.assert_allclose(grid.spacing_mm[1:], case.pixel_mm, atol=1e-5)
    assert hu.size <= 2 * len(kept) * case.rows * case.columns
    at_mm = grid.to_index(case.positions_lps[kept]) * grid.spacing_mm  # along k, j, i
    _assert_holds(case, built, at_mm)
    np.testing.assert_allclose(
        built.stack.positions_lps, case.positions_lps[kept], atol=POSITION_MM
    )
    phase_hu = PHASE_HU * (int(built.candidate.header.AcquisitionNumber) - 1)
    _assert_unchanged(case, built, at_mm, phase_hu)
    checked = 0
    for k in range(grid.shape[0]):
        checked += _check_plane(case, built, at_mm, k, phase_hu)
    assert checked > 0


def _assert_holds(case: SeriesCase, built: SeriesVolume, at_mm: NDArray[np.float64]) -> None:
    grid = built.volume.geometry
    last_mm = (np.array(grid.shape) - 1) * grid.spacing_mm
    size_mm = (np.array([1, case.rows, case.columns]) - 1) * grid.spacing_mm
    assert abs(at_mm[0, 0]) <= POSITION_MM
    assert abs(at_mm[-1, 0] - last_mm[0]) <= POSITION_MM
    assert at_mm.min() >= -POSITION_MM
    assert (at_mm + size_mm <= last_mm + POSITION_MM).all()


def _assert_unchanged(
    case: SeriesCase, built: SeriesVolume, at_mm: NDArray[np.float64], phase_hu: float
) -> None:
    """Slices whose pixels are voxels of the grid keep their HU, but for whole numbers."""
    at = at_mm / built.volume.geometry.spacing_mm
    near = np.rint(at)
    on_voxels = (np.abs(at - near) * built.volume.geometry.spacing_mm <= POSITION_MM / 2).all(
        axis=1
    )
    for row in np.flatnonzero(on_voxels):
        k, j, i = near[row].astype(int)
        found = built.volume.hu[k, j : j + case.rows, i : i + case.columns]
        wrong = np.abs(found - case.stored_hu(case.kept[row], phase_hu))[~case.outside]
        assert wrong.max() <= ROUNDING_HU, f"slice {case.kept[row]}: {wrong.max():.3f} HU off"


def _check_plane(
    case: SeriesCase, built: SeriesVolume, at_mm: NDArray[np.float64], k: int, phase_hu: float
) -> int:
    """Check a plane of the grid against the slices below and above it; counts sure voxels."""
    grid = built.volume.geometry
    height_mm = k * grid.spacing_mm[0]
    around = _shown(at_mm[:, 0], height_mm)
    inside, outside = zip(*[_coverage(case, built, at_mm[n]) for n in around], strict=True)
    everywhere, nowhere = np.all(inside, axis=0), np.all(outside, axis=0)
    index = np.indices(grid.shape[1:])
    points = grid.to_lps(np.stack([np.full_like(index[0], k), *index], axis=-1))
    truth = case.phantom.hu(points) + phase_hu
    found = built.volume.hu[k].astype(float)
    limit = _limit_hu(case, built, float(np.ptp(at_mm[around, 0])))
    if case.stored.padded:
        everywhere = everywhere & ~case.outside
    errors = np.abs(found - truth)[everywhere]
    assert errors.max(initial=0) <= limit, (
        f"plane {k}: {errors.max():.2f} HU off, limit {limit:.2f}"
    )
    assert (found[nowhere] == AIR_HU).all()
    assert (found >= AIR_HU).all()
    assert (found <= truth + limit).all() or case.stored.padded
    return int(everywhere.sum())


def _shown(heights_mm: NDArray[np.float64], height_mm: float) -> NDArray[np.intp]:
    """The slices that a plane may show: the one that it lies on, else those around it."""
    apart = np.abs(heights_mm - height_mm)
    on = np.flatnonzero(apart <= 0.9 * POSITION_MM)
    if len(on):
        return on[:1]
    near = np.flatnonzero(apart <= 1.1 * POSITION_MM)
    below, above = np.flatnonzero(heights_mm <= height_mm), np.flatnonzero(heights_mm > height_mm)
    return np.unique(np.concatenate([near, below[-1:], above[:1]]))


def _coverage(
    case: SeriesCase, built: SeriesVolume, at_mm: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Voxels of a plane that surely lie within a slice, and those surely outside."""
    grid = built.volume.geometry
    inside, outside = np.ones(grid.shape[1:], bool), np.zeros(grid.shape[1:], bool)
    for axis, count in ((0, case.rows), (1, case.columns)):
        spacing = grid.spacing_mm[axis + 1]
        along = np.indices(grid.shape[1:])[axis] * spacing - at_mm[axis + 1]
        beyond = np.maximum(-along, along - (count - 1) * spacing)
        inside &= beyond <= 0.9 * POSITION_MM  # as good as on the border
        outside |= beyond > 1.1 * POSITION_MM
    return inside, outside


def _limit_hu(case: SeriesCase, built: SeriesVolume, gap_mm: float) -> float:
    phantom = case.phantom
    limit = case.rounding_hu() + POSITION_MM * phantom.steepest
    if built.stack.is_grid:
        return limit
    rounding = 1.0  # once more in the plane of a shifted slice, once between two slices
    return limit + rounding + phantom.bend(gap_mm) + sum(map(phantom.bend, case.pixel_mm))
