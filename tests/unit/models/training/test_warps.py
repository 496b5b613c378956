"""Moving voxels: one interpolation, from the part of the volume that is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.errors import TrainingError
from models.intensity import AIR_HU
from models.training.warps import GridDistortion, Warp, crop, nodes_mm, sample, upsample

RANDOM = np.random.default_rng(3)
HU = RANDOM.integers(-1000, 1000, (20, 24, 28), np.int16)
LABELS = RANDOM.integers(0, 5, HU.shape, np.uint8)


@pytest.mark.parametrize("start", [(2, 3, 4), (-3, -2, 20), (15, 18, -5)])
def test_sampling_at_whole_voxels_is_cutting_out(start: tuple[int, int, int]) -> None:
    shape = (9, 10, 11)
    centre = torch.tensor([s + (n - 1) / 2 for s, n in zip(start, shape, strict=True)])
    hu, labels = sample(HU, LABELS, nodes_mm(shape, (1, 1, 1)) + centre, shape)
    cut_hu, cut_labels = crop(HU, LABELS, start, shape)
    torch.testing.assert_close(hu, cut_hu, rtol=0, atol=0.02)
    assert torch.equal(labels, cut_labels)


def test_a_cut_holds_the_cases_voxels_and_air_beyond_them() -> None:
    hu, labels = crop(HU, LABELS, (-2, 0, 0), (6, 24, 30))
    assert (hu[:2] == AIR_HU).all()
    assert (labels[:2] == 0).all()
    assert (hu[:, :, 28:] == AIR_HU).all()
    assert np.array_equal(hu[2:, :, :28].numpy(), HU[:4])
    assert np.array_equal(labels[2:, :, :28].numpy(), LABELS[:4])
    assert (crop(HU, LABELS, (40, 0, 0), (2, 2, 2))[0] == AIR_HU).all()


def test_reading_only_the_box_that_is_needed_changes_nothing() -> None:
    nodes = Warp(elastic_mm=2).apply(nodes_mm((12, 16, 16), (1, 1, 1)), np.random.default_rng(0))
    nodes = nodes + torch.tensor([5.0, 6.0, 20.0])  # in part outside
    hu, labels = sample(HU, LABELS, nodes, (12, 16, 16))
    size = torch.tensor(HU.shape)
    grid = upsample(((2 * nodes + 1) / size - 1).flip(-1), (12, 16, 16))[None]
    whole = torch.from_numpy(HU.astype(np.float32))[None, None] - AIR_HU
    expected = F.grid_sample(whole, grid, align_corners=False)[0, 0] + AIR_HU
    torch.testing.assert_close(hu, expected, rtol=0, atol=0.05)
    values = torch.from_numpy(LABELS.astype(np.float32))[None, None]
    nearest = F.grid_sample(values, grid, mode="nearest", align_corners=False)[0, 0]
    assert (labels != nearest).float().mean() < 1e-3


def test_places_far_outside_are_air_and_background() -> None:
    nodes = nodes_mm((6, 6, 6), (1, 1, 1)) + 500
    hu, labels = sample(HU, LABELS, nodes, (6, 6, 6))
    assert (hu == AIR_HU).all()
    assert (labels == 0).all()


def test_memory_maps_that_nobody_may_write_can_be_sampled(tmp_path: Path) -> None:
    np.save(tmp_path / "hu.npy", HU)
    mapped = np.load(tmp_path / "hu.npy", mmap_mode="r")
    nodes = nodes_mm((6, 6, 6), (1, 1, 1)) + 10
    assert torch.equal(
        sample(mapped, LABELS, nodes, (6, 6, 6))[0], sample(HU, LABELS, nodes, (6, 6, 6))[0]
    )


def test_upsampling_is_linear_with_first_and_last_nodes_in_place() -> None:
    nodes = torch.from_numpy(RANDOM.normal(size=(4, 6, 7, 3)).astype(np.float32))
    expected = F.interpolate(
        nodes.permute(3, 0, 1, 2)[None], size=(9, 17, 30), mode="trilinear", align_corners=True
    )
    found = upsample(nodes, (9, 17, 30))
    torch.testing.assert_close(found, expected[0].permute(1, 2, 3, 0), rtol=0, atol=1e-5)


def test_slices_turn_and_bend_in_their_own_plane_alone() -> None:
    points = nodes_mm((1, 64, 64), (1, 1, 1))
    warp = Warp(rotation_degrees=45, scale=0.2, elastic_mm=5, dimensions=2)
    for seed in range(5):
        moved = warp.apply(points, np.random.default_rng(seed))
        assert (moved[..., 0] == 0).all()
        assert (moved[..., 1:] - points[..., 1:]).abs().max() > 1


def test_rotations_reach_the_angle_that_is_allowed_and_no_more() -> None:
    points = nodes_mm((1, 33, 33), (1, 1, 1))
    warp = Warp(rotation_degrees=45, scale=0, elastic_mm=0, dimensions=2)
    angles = []
    for seed in range(50):
        moved = warp.apply(points, np.random.default_rng(seed))
        along = moved[0, 0, -1] - moved[0, 0, 0]
        angles.append(float(torch.rad2deg(torch.atan2(along[1], along[2]))))
        assert float(along.norm()) == pytest.approx(32, abs=1e-3)
    assert 40 < max(map(abs, angles)) <= 45
    assert min(angles) < -30 < 30 < max(angles)


def test_grid_distortion_moves_the_inside_and_keeps_the_border_and_the_order() -> None:
    points = nodes_mm((1, 64, 64), (2, 2, 2))
    for seed in range(5):
        moved = GridDistortion(limit=0.9).apply(points, np.random.default_rng(seed))
        torch.testing.assert_close(moved[0, 0, :, 1], points[0, 0, :, 1])
        torch.testing.assert_close(moved[0, :, -1, 2], points[0, :, -1, 2])
        assert (moved - points).abs().max() > 2
        assert (moved[0, 1:, :, 1] > moved[0, :-1, :, 1]).all()


@pytest.mark.parametrize("settings", [{"limit": 1.0}, {"steps": 0}, {"steps": 2.5}])
def test_grids_that_would_turn_over_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TrainingError, match="expected"):
        GridDistortion(**settings)  # type: ignore[arg-type]
