"""Cases on a network's grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.data.grid import resample_case
from models.network_grid import NetworkGrid
from models.resampling import apply_slab_wise, axis_matrix, target_size
from models.training.cases import UNKNOWN, Case


def case(hu: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> Case:
    return Case(
        name="c",
        patient="p",
        hu=hu.astype(np.int16),
        labels=labels.astype(np.uint8),
        spacing_mm=spacing_mm,
        unlabelled=frozenset({3}),
    )


def noise(shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1000, 1000, shape), rng.integers(0, 4, shape)


@pytest.mark.parametrize("spacing_mm", [(3.0, 3.0, 3.0), (1.0, 2.5, 0.7)])
def test_hu_go_through_the_networks_own_filter(spacing_mm: tuple[float, float, float]) -> None:
    """Slab by slab, to the rounding of HU the same as all at once."""
    hu, labels = noise((37, 14, 19))
    source_mm = (1.5, 1.1, 1.3)
    found = resample_case(case(hu, labels, source_mm), NetworkGrid(spacing_mm=spacing_mm))
    matrices = [
        axis_matrix(n, target_size(n, mm, to), to / mm)
        for n, mm, to in zip(hu.shape, source_mm, spacing_mm, strict=True)
    ]
    whole = apply_slab_wise(hu.astype(np.int16), matrices)
    assert found.hu.shape == whole.shape
    assert float((torch.from_numpy(found.hu) - whole).abs().max()) <= 0.5 + 1e-3
    assert found.spacing_mm == pytest.approx(spacing_mm)
    assert (found.name, found.patient, found.unlabelled) == ("c", "p", {3})


def test_each_class_is_resampled_alone_and_the_largest_wins() -> None:
    hu, labels = noise((37, 14, 19), seed=1)
    source_mm, to_mm = (1.5, 1.1, 1.3), (3.0, 2.0, 2.0)
    found = resample_case(case(hu, labels, source_mm), NetworkGrid(spacing_mm=to_mm))
    matrices = [
        axis_matrix(n, target_size(n, mm, to), to / mm).double()
        for n, mm, to in zip(labels.shape, source_mm, to_mm, strict=True)
    ]
    shares = torch.stack(
        [
            torch.einsum("ak,bj,ci,kji->abc", *matrices, torch.from_numpy(labels == c).double())
            for c in range(4)
        ]
    )
    expected = shares.argmax(dim=0).numpy()
    top = shares.sort(dim=0).values
    clear = (top[-1] - top[-2] > 1e-4).numpy()
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(found.labels[clear], expected[clear])


def test_on_a_tie_the_lower_class_wins() -> None:
    labels = np.zeros((1, 1, 4))
    labels[..., 2:] = 2
    found = resample_case(case(labels, labels, (1, 1, 1)), NetworkGrid(shape=(None, None, 1)))
    assert found.labels.tolist() == [[[0]]]


def test_what_is_half_unknown_is_unknown() -> None:
    labels = np.array([[[UNKNOWN, UNKNOWN, 1, 1, 1, 1, UNKNOWN, 1]]])
    found = resample_case(case(labels * 0, labels, (1, 1, 1)), NetworkGrid(spacing_mm=(1, 1, 2)))
    # triangles of 4 voxels: weights 1/8, 3/8, 3/8, 1/8 but for the borders
    assert found.labels.tolist() == [[[UNKNOWN, 1, 1, 1]]]
    half = np.array([[[UNKNOWN, 0]]])
    found = resample_case(case(half * 0, half, (1, 1, 1)), NetworkGrid(shape=(1, 1, 1)))
    assert found.labels.tolist() == [[[UNKNOWN]]]


def test_a_shape_keeps_the_extent_and_none_keeps_an_axis() -> None:
    hu, labels = noise((9, 20, 30))
    found = resample_case(case(hu, labels, (5.0, 2.0, 1.0)), NetworkGrid(shape=(None, 10, 45)))
    assert found.hu.shape == (9, 10, 45)
    assert found.spacing_mm == pytest.approx((5.0, 4.0, 2 / 3))


def test_the_same_grid_changes_nothing() -> None:
    hu, labels = noise((5, 6, 7))
    found = resample_case(
        case(hu, labels, (2.0, 1.5, 1.0)), NetworkGrid(spacing_mm=(2.0, 1.5, 1.0))
    )
    np.testing.assert_array_equal(found.hu, hu)
    np.testing.assert_array_equal(found.labels, labels)


def test_padding_is_air() -> None:
    hu = np.full((4, 4, 4), -3024)
    found = resample_case(case(hu, hu * 0, (1, 1, 1)), NetworkGrid(spacing_mm=(2, 2, 2)))
    assert set(np.unique(found.hu)) == {-1024}
