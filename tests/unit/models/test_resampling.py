"""Resampling along axes: positions, weights and what they do to values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.resampling import apply_slab_wise, axis_matrix, positions, target_size, weights


@pytest.mark.parametrize(
    ("size", "spacing_mm", "target_mm", "expected"),
    [
        (100, 0.3, 3.0, 10),  # 100 * 0.3 / 3 is a little over 10 in floating point
        (101, 0.3, 3.0, 11),
        (35, 5.0, 3.0, 59),
        (1, 0.5, 3.0, 1),
        (7, 3.0, 3.0, 7),
    ],
)
def test_target_voxels_cover_the_source(
    size: int, spacing_mm: float, target_mm: float, expected: int
) -> None:
    assert target_size(size, spacing_mm, target_mm) == expected


@pytest.mark.parametrize(("source", "target", "step"), [(9, 4, 2.3), (4, 9, 0.44), (1, 3, 0.5)])
def test_positions_are_even_and_share_the_sources_centre(
    source: int, target: int, step: float
) -> None:
    at = positions(source, target, step)
    np.testing.assert_allclose(np.diff(at), step)
    assert at.mean() == pytest.approx((source - 1) / 2)


@pytest.mark.parametrize(("source", "target", "step"), [(9, 4, 2.3), (4, 9, 0.44), (7, 7, 1.0)])
def test_weights_of_a_sample_sum_to_one(source: int, target: int, step: float) -> None:
    matrix = axis_matrix(source, target, step)
    assert matrix.shape == (target, source)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(target))


def test_equal_spacing_changes_nothing() -> None:
    torch.testing.assert_close(axis_matrix(6, 6, 1.0), torch.eye(6))


def test_a_finer_grid_interpolates_linearly_and_repeats_the_border() -> None:
    row = weights(4, np.array([-0.4, 0.0, 0.25, 2.5, 3.2]), 0.3) @ np.array([10, 20, 40, 80.0])
    np.testing.assert_allclose(row, [10, 10, 12.5, 60, 80], rtol=1e-6)


def test_a_coarser_grid_averages_over_its_own_spacing() -> None:
    at_the_middle = weights(9, np.array([4.0]), 2.0)[0]
    np.testing.assert_allclose(at_the_middle, np.array([0, 0, 0, 1, 2, 1, 0, 0, 0]) / 4)


@pytest.mark.parametrize("step", [2.0, 3.75, 5.0])
def test_a_pattern_finer_than_the_target_does_not_alias(step: float) -> None:
    pattern = torch.tensor([(-1.0) ** n for n in range(60)])
    coarse = axis_matrix(60, round(60 / step), step) @ pattern
    assert coarse[1:-1].abs().max() < 0.1  # picking voxels would give 1


@pytest.mark.parametrize("step", [0.3, 0.77, 1.4, 2.9])
def test_a_ramp_stays_where_it_is(step: float) -> None:
    target = int(50 / step)
    coarse = axis_matrix(50, target, step).double().numpy() @ np.arange(50.0)
    inside = slice(int(3 / step) + 2, -int(3 / step) - 2)
    np.testing.assert_allclose(
        coarse[inside], positions(50, target, step)[inside], atol=0.06 * max(1.0, step)
    )


@pytest.mark.parametrize("slab", [1, 3, 16, 100])
def test_slabs_give_what_one_product_gives(slab: int) -> None:
    array = np.random.default_rng(1).integers(-32768, 32767, (17, 6, 9), np.int16)
    matrices = [axis_matrix(17, 8, 2.2), axis_matrix(6, 10, 0.6), axis_matrix(9, 4, 2.4)]
    whole = torch.einsum(
        "ak,bj,ci,kji->abc", *[m.double() for m in matrices], torch.from_numpy(array).double()
    )
    result = apply_slab_wise(array, matrices, slab)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), whole, rtol=1e-4, atol=0.05)


def test_a_turned_view_is_resampled_like_its_copy() -> None:
    array = np.random.default_rng(2).integers(-1024, 1000, (5, 6, 7), np.int16)
    view = np.flip(array.transpose(2, 0, 1), (0, 2))
    matrices = [axis_matrix(n, n + 2, n / (n + 2)) for n in view.shape]
    copy = apply_slab_wise(np.ascontiguousarray(view), matrices)
    torch.testing.assert_close(apply_slab_wise(view, matrices), copy)


def test_a_single_slice_is_repeated() -> None:
    array = np.random.default_rng(3).integers(-1024, 1000, (1, 4, 4), np.int16)
    result = apply_slab_wise(array, [axis_matrix(1, 3, 0.4), torch.eye(4), torch.eye(4)])
    for plane in result:
        np.testing.assert_array_equal(plane.numpy(), array[0])
