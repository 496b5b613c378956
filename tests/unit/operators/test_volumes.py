from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry import LabelMap
from operators.errors import PixelDataError, VolumeError
from operators.volumes import SeriesVolume, build_volume, labels_on_slices
from tests.unit.operators.anisotropic_slices import (
    COLUMN_SPACING_MM,
    DEPTH,
    HEIGHT,
    OBLIQUE,
    ORIGIN,
    ROW_SPACING_MM,
    STEP_MM,
    WIDTH,
    candidate_of,
    headers_at,
    headers_of,
    leaning,
    rotation,
    write_candidate,
)

TALL = (40, 50)
RAMP = np.array([7.0, -5.0, 9.0])  # HU / mm
TILTS = {"rows": (12.0, 0.0), "columns": (0.0, -15.0), "both": (-9.0, 11.0)}


def noise(count: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[NDArray[np.int16]]:
    random = np.random.default_rng(5)
    return [random.integers(-900, 900, size).astype(np.int16) for _ in range(count)]


def ramp(points_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation makes no error on it."""
    hu: NDArray[np.float64] = (points_lps - ORIGIN) @ RAMP / 2
    return hu


def pixels_lps(position, axes, size=TALL) -> NDArray[np.float64]:
    j, i = np.indices(size)[..., None]
    points: NDArray[np.float64] = (
        position + i * axes[:, 0] * COLUMN_SPACING_MM + j * axes[:, 1] * ROW_SPACING_MM
    )
    return points


def ramp_volume(folder, heights, axes, shifts) -> SeriesVolume:
    headers = headers_at(heights, axes, shifts, TALL)
    stored = [
        np.rint(ramp(pixels_lps(np.array(h.ImagePositionPatient, float), axes))).astype(np.int16)
        for h in headers
    ]
    return build_volume(write_candidate(folder, headers, stored))


def voxels_lps(built: SeriesVolume) -> NDArray[np.float64]:
    return built.volume.geometry.to_lps(np.moveaxis(np.indices(built.volume.hu.shape), 0, -1))


def test_each_slice_is_rescaled_by_itself_and_put_in_its_place(tmp_path):
    headers = headers_of(OBLIQUE)
    pixels = [plane // 2 for plane in noise(DEPTH)]
    for k, header in enumerate(headers):
        header.RescaleSlope, header.RescaleIntercept = 1 + k / 4, -10 * k
    built = build_volume(write_candidate(tmp_path / "s", headers, pixels))
    assert built.volume.hu.dtype == np.int16
    assert built.volume.geometry is built.stack.grid
    for k in range(DEPTH):
        hu = np.maximum(np.rint(pixels[k] * (1 + k / 4) - 10 * k), -1024)
        np.testing.assert_array_equal(built.volume.hu[k], hu)
        assert built.stack.frames[k].SOPInstanceUID == headers[k].SOPInstanceUID


def test_geometry_is_checked_before_any_pixel_is_read():
    headers = headers_of(depth=12)
    del headers[3:9]
    with pytest.raises(VolumeError, match="missing"):
        build_volume(candidate_of(headers))  # there are no files


def test_memory_is_given_to_pixels_that_are_there(tmp_path):
    headers = headers_of(depth=20)
    candidate = write_candidate(tmp_path / "s", headers, noise(20))
    for frame in candidate.frames:
        frame.header.Rows = frame.header.Columns = 8000
    tracemalloc.start()
    try:
        with pytest.raises(PixelDataError, match="128000000 bytes expected"):
            build_volume(candidate)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# --- planes between slices


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, rotation(180, 0)])
def test_missing_slices_are_linear_means_and_present_ones_stay_as_they_are(tmp_path, axes):
    present = [0, 2, 3, 4, 7, 8, 9]
    pixels = noise(10)
    headers = headers_of(axes, depth=10)
    built = build_volume(
        write_candidate(tmp_path / "s", [headers[k] for k in present], [pixels[k] for k in present])
    )
    hu = built.volume.hu
    for k in present:
        np.testing.assert_array_equal(hu[k], pixels[k])
    np.testing.assert_array_equal(hu[1], np.rint((pixels[0].astype(float) + pixels[2]) / 2))
    thirds = (2 * pixels[4].astype(float) + pixels[7]) / 3
    np.testing.assert_allclose(hu[5], thirds, atol=0.51)
    thirds = (pixels[4].astype(float) + 2 * pixels[7]) / 3
    np.testing.assert_allclose(hu[6], thirds, atol=0.51)


def test_slices_within_rounding_of_their_place_stay_as_they_are(tmp_path):
    present = [0, 1, 3, 4, 5, 6]
    heights = [k * STEP_MM + 0.004 * (-1) ** k for k in present]
    pixels = noise(len(present))
    built = build_volume(write_candidate(tmp_path / "s", headers_at(heights, OBLIQUE), pixels))
    assert not built.stack.is_grid
    np.testing.assert_array_equal(built.volume.hu[present], pixels)


def test_uneven_slices_are_shared_out_by_distance(tmp_path):
    heights = [0.0, 1.3, 2.5, 3.8, 5.0]
    pixels = noise(5)
    built = build_volume(write_candidate(tmp_path / "s", headers_at(heights, OBLIQUE), pixels))
    shares = [(pixels[0], pixels[1], 1.25 / 1.3), (pixels[2], pixels[3], 1.25 / 1.3)]
    for k, (below, above, share) in zip((1, 3), shares, strict=True):
        np.testing.assert_allclose(
            built.volume.hu[k], below * (1 - share) + above * share, atol=0.51
        )
    np.testing.assert_array_equal(built.volume.hu[[0, 2, 4]], [pixels[n] for n in (0, 2, 4)])


@pytest.mark.parametrize("turned", [False, True])
def test_two_blocks_of_different_distance_show_one_body(tmp_path, turned):
    heights = np.array([0, 5, 10, *range(11, 21)], float)
    heights = (20 - heights)[::-1] if turned else heights
    built = ramp_volume(tmp_path / "s", heights.tolist(), OBLIQUE, (0, 0))
    assert built.volume.hu.shape == (21, *TALL)
    np.testing.assert_allclose(built.volume.hu, ramp(voxels_lps(built)), atol=1.01)


# --- shifted slices


@pytest.mark.parametrize("tilt", TILTS)
@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, rotation(90, 0)])
@pytest.mark.parametrize(
    "heights",
    [
        [0, 2.5, 5, 7.5, 10, 12.5],
        [0, 2.5, 7.5, 10, 12.5, 15],
        [0, 2.4, 5, 7.6, 10, 12.5],
        [0, 2, 4.1, 6, 10, 12, 13.9, 16],
    ],
    ids=["even", "a gap", "uneven", "uneven with a gap"],
)
def test_a_tilted_stack_shows_the_body_upright(tmp_path, tilt, axes, heights):
    shifts = leaning(heights, *TILTS[tilt])
    built = ramp_volume(tmp_path / "s", heights, axes, shifts)
    hu, truth = built.volume.hu, ramp(voxels_lps(built))
    at = built.volume.geometry.to_index(built.stack.positions_lps)
    j, i = np.indices(hu.shape[1:])
    for k in range(len(hu)):
        above = int(np.searchsorted(at[:, 0], k - 1e-3))
        below = above if abs(at[above, 0] - k) < 1e-3 else above - 1
        inside, outside = np.ones(hu.shape[1:], bool), np.ones(hu.shape[1:], bool)
        for _, top, left in at[[below, above]]:
            gap_j = np.maximum(top - j, j - top - TALL[0] + 1)
            gap_i = np.maximum(left - i, i - left - TALL[1] + 1)
            inside &= (gap_j < 1e-6) & (gap_i < 1e-6)
            outside &= (gap_j > 0.02) | (gap_i > 0.02)
        assert inside.mean() > 0.5
        np.testing.assert_allclose(hu[k][inside], truth[k][inside], atol=1.51)
        assert (hu[k][outside] == -1024).all()


def test_a_slice_moved_by_whole_pixels_is_moved_back_exactly(tmp_path):
    pixels = noise(DEPTH, TALL)
    steps = np.arange(DEPTH)
    shifts = np.stack([steps * COLUMN_SPACING_MM, steps[::-1] * ROW_SPACING_MM], axis=1)
    headers = headers_at((steps * STEP_MM).tolist(), OBLIQUE, shifts, TALL)
    built = build_volume(write_candidate(tmp_path / "s", headers, pixels))
    assert built.volume.hu.shape == (DEPTH, TALL[0] + DEPTH - 1, TALL[1] + DEPTH - 1)
    for k in range(DEPTH):
        expected = np.full(built.volume.hu.shape[1:], -1024)
        top = DEPTH - 1 - k
        expected[top : top + TALL[0], k : k + TALL[1]] = pixels[k]
        np.testing.assert_array_equal(built.volume.hu[k], expected)


def test_wobbling_slices_show_one_body(tmp_path):
    heights = [k * STEP_MM for k in range(12)]
    shifts = np.random.default_rng(2).uniform(-3, 3, (12, 2))
    built = ramp_volume(tmp_path / "s", heights, OBLIQUE, shifts)
    inner = np.s_[:, 9:-9, 6:-6]
    truth = ramp(voxels_lps(built))
    np.testing.assert_allclose(built.volume.hu[inner], truth[inner], atol=1.01)


# --- labels


def labels_of(built: SeriesVolume, normal: NDArray[np.float64]) -> tuple[LabelMap, float]:
    """2 above a plane through the middle of the volume, 1 below."""
    along = voxels_lps(built) @ normal
    middle = float(along.mean())
    labels = np.where(along > middle, 2, 1).astype(np.uint8)
    return LabelMap(labels=labels, geometry=built.volume.geometry), middle


@pytest.mark.parametrize("tilt", TILTS)
@pytest.mark.parametrize("direction", ["row", "column", "both"])
def test_labels_come_back_on_tilted_slices_within_half_a_pixel(tmp_path, tilt, direction):
    heights = [0, 2.5, 7.5, 10, 12.5, 15]
    built = ramp_volume(tmp_path / "s", heights, OBLIQUE, leaning(heights, *TILTS[tilt]))
    weights = {"row": (1, 0, 0), "column": (0, 1, 0), "both": (0.6, 0.8, 0)}[direction]
    normal = OBLIQUE @ weights
    label_map, middle = labels_of(built, normal)
    on_slices = labels_on_slices(label_map, built.stack)
    assert on_slices.shape == (len(heights), *TALL)
    half_pixel = (weights[0] * COLUMN_SPACING_MM + weights[1] * ROW_SPACING_MM) / 2
    for labels, position in zip(on_slices, built.stack.positions_lps, strict=True):
        away = pixels_lps(position, OBLIQUE) @ normal - middle
        sure = np.abs(away) > half_pixel + 0.011
        np.testing.assert_array_equal(labels[sure], np.where(away > 0, 2, 1)[sure])
        assert {1, 2} == set(np.unique(labels))


def test_labels_come_back_from_the_nearest_plane(tmp_path):
    heights = [0, 1.3, 2.5, 3.8, 5.0, 6.3, 7.5]
    candidate = write_candidate(tmp_path / "s", headers_at(heights, OBLIQUE), noise(7))
    built = build_volume(candidate)
    planes = np.broadcast_to(np.arange(7, dtype=np.uint8)[:, None, None], (7, HEIGHT, WIDTH))
    label_map = LabelMap(labels=planes.copy(), geometry=built.volume.geometry)
    np.testing.assert_array_equal(labels_on_slices(label_map, built.stack), planes)


@pytest.mark.parametrize("missing", [[], [3], [2, 5, 6]])
def test_labels_come_back_exactly_where_slices_are_planes(tmp_path, missing):
    present = [k for k in range(9) if k not in missing]
    headers = headers_of(OBLIQUE, depth=9)
    built = build_volume(
        write_candidate(tmp_path / "s", [headers[k] for k in present], noise(len(present)))
    )
    labels = np.random.default_rng(1).integers(0, 9, (9, HEIGHT, WIDTH)).astype(np.uint8)
    label_map = LabelMap(labels=labels, geometry=built.volume.geometry)
    np.testing.assert_array_equal(labels_on_slices(label_map, built.stack), labels[present])


# --- memory


@pytest.mark.parametrize("kind", ["regular", "gaps", "uneven", "tilted"])
@pytest.mark.parametrize("slope", ["1", "0.5"])
def test_memory_holds_the_volume_and_a_few_slices(tmp_path, kind, slope):
    heights = np.arange(150.0)
    if kind == "gaps":
        heights = np.delete(heights, [40, 41, 90])
    if kind == "uneven":
        heights += 0.1 * np.sin(heights)
    shifts = leaning(heights.tolist(), 0, 10) if kind == "tilted" else (0, 0)
    headers = headers_at(heights.tolist(), OBLIQUE, shifts, (96, 80))
    for header in headers:
        header.RescaleSlope, header.RescaleIntercept = slope, "-24"
    candidate = write_candidate(tmp_path / "s", headers, noise(len(headers), (96, 80)))
    build_volume(candidate)  # elements are parsed and modules imported on first use
    tracemalloc.start()
    try:
        built = build_volume(candidate)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    volume_bytes, plane_bytes = built.volume.hu.nbytes, built.volume.hu[0].nbytes
    # each core decodes eight small slices at a time, and as many wait for their turn
    held = 24 + 18 * len(os.sched_getaffinity(0))
    assert volume_bytes < peak < min(volume_bytes + held * plane_bytes, 2.2 * volume_bytes)
