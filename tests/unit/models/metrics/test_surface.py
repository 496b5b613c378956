"""Surface distances by hand, against surface-distance and MONAI, and beside unknown voxels."""

from __future__ import annotations

import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance
from scipy.ndimage import gaussian_filter

from models.metrics.surface import LabelSurfaces, SurfaceDistances

# what the two peers say of their own inside
pytestmark = [
    pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning"),
]

SPACINGS = ((1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (2.5, 0.9765625, 0.83), (0.6, 1.5, 3.1))
KINDS = ("blobs", "noise", "single voxels", "touching the border", "one slice")


def random_masks(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two masks `(D, H, W)`, neither empty."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(5, 18, 3))
    if kind == "one slice":
        shape = (1, *shape[1:])
    noise = rng.random((2, *shape))
    if kind == "noise":
        return noise[0] > 0.6, noise[1] > 0.7
    if kind == "single voxels":
        return noise[0] == noise[0].max(), noise[1] == noise[1].max()
    smooth = [gaussian_filter(noise[0], 1.5), gaussian_filter(noise[0] + 0.4 * noise[1], 1.5)]
    masks = [image > np.quantile(image, 0.7) for image in smooth]
    if kind == "touching the border":
        for mask in masks:
            mask[:, : shape[1] // 2] = True
            mask[:, :, -1] = True
    return masks[0], masks[1]


def compare(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    unknown: np.ndarray | None = None,
) -> SurfaceDistances | None:
    labels = truth.astype(np.uint8)
    if unknown is not None:
        labels[unknown] = 255
    return LabelSurfaces(labels, prediction.astype(np.uint8), spacing_mm, 255).distances(1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_distances_agree_with_surface_distance_and_monai(kind: str, seed: int) -> None:
    truth, prediction = random_masks(kind, seed)
    spacing_mm = SPACINGS[seed % len(SPACINGS)]
    found = compare(truth, prediction, spacing_mm)
    assert found is not None
    if kind == "one slice":
        truth, prediction, peer_spacing = truth[0], prediction[0], list(spacing_mm[1:])
    else:
        peer_spacing = list(spacing_mm)
    peer = surface_distance.compute_surface_distances(truth, prediction, peer_spacing)
    for percentile in (50, 95, 100):
        expected = surface_distance.compute_robust_hausdorff(peer, percentile)
        assert found.hausdorff_mm(percentile) == pytest.approx(expected, abs=1e-6)
    tensors = torch.tensor(prediction), torch.tensor(truth)
    for tolerance_mm in (0.0, 0.55, 1.3, 2.0, 4.2):
        expected = surface_distance.compute_surface_dice_at_tolerance(peer, tolerance_mm)
        assert found.agreement(tolerance_mm) == pytest.approx(expected, abs=1e-6)
        monai = compute_surface_dice(
            *(t[None, None] for t in tensors),
            class_thresholds=[tolerance_mm],
            include_background=True,
            spacing=peer_spacing,
            use_subvoxels=True,
        )
        assert found.agreement(tolerance_mm) == pytest.approx(monai.item(), abs=1e-6)
    _, far, areas = get_edge_surface_distance(
        *tensors, spacing=peer_spacing, use_subvoxels=True, symmetric=True
    )
    assert found.hausdorff_mm(100) == pytest.approx(max(d.max().item() for d in far), abs=1e-5)
    assert found.prediction_areas.sum() == pytest.approx(areas[0].sum().item(), rel=1e-5)


def test_a_box_moved_along_one_axis_is_as_far_as_it_was_moved() -> None:
    truth = np.zeros((20, 30, 30), bool)
    truth[4:10, 5:20, 5:20] = True
    for axis, mm in ((0, 5.0), (1, 0.7), (2, 0.8)):
        found = compare(truth, np.roll(truth, 3, axis), (5.0, 0.7, 0.8))
        assert found is not None
        assert found.hausdorff_mm(100) == pytest.approx(3 * mm)


def test_equal_masks_are_no_distance_apart() -> None:
    truth, _ = random_masks("blobs", 3)
    found = compare(truth, truth, (2.0, 0.7, 0.7))
    assert found is not None
    assert found.hausdorff_mm() == 0
    assert found.agreement(0.0) == 1


def test_an_element_exactly_at_the_tolerance_agrees() -> None:
    truth = np.zeros((3, 40, 40), bool)
    truth[:, 10:30, 13:17] = True  # 13 * 0.7 - 10 * 0.7 is a little over 2.1
    found = compare(truth, np.roll(truth, 3, 2), (9.0, 0.7, 0.7))
    assert found is not None
    assert found.hausdorff_mm(100) == pytest.approx(2.1)
    assert found.agreement(2.1) == 1


def test_a_mask_that_is_empty_or_only_at_unknown_places_has_no_distances() -> None:
    truth, prediction = random_masks("blobs", 0)
    nothing = np.zeros_like(truth)
    assert compare(truth, nothing) is None
    assert compare(nothing, prediction) is None
    assert compare(nothing, nothing) is None
    assert compare(truth, prediction, unknown=prediction) is None
    assert compare(truth, prediction, unknown=truth) is None


def test_organs_keep_their_own_numbers_in_truth_and_prediction() -> None:
    truth, prediction = random_masks("blobs", 1)
    expected = compare(truth, prediction)
    both = LabelSurfaces(7 * truth.astype(np.uint8), 3 * prediction.astype(np.uint8), (1, 1, 1))
    found = both.distances(3, 7)
    assert expected is not None
    assert found is not None
    assert found.hausdorff_mm() == expected.hausdorff_mm()
    assert both.distances(3) is None
    assert both.distances(200) is None


def test_a_cut_by_the_unknown_is_no_surface() -> None:
    organ = np.zeros((12, 20, 20), bool)
    organ[3:9, 4:16, 4:16] = True
    unknown = np.zeros_like(organ)
    unknown[:, :, 10:] = True
    found = compare(organ, organ, unknown=unknown)
    assert found is not None
    assert found.hausdorff_mm(100) == 0
    assert found.agreement(0.0) == 1
    for stop in (10, 13, 20):  # wherever the prediction ends beyond the cut
        other = organ.copy()
        other[3:9, 4:16, 10:] = False
        other[3:9, 4:16, 10:stop] = True
        found = compare(organ, other, unknown=unknown)
        assert found is not None
        assert found.hausdorff_mm(100) <= 1  # the truth's last known elements may end here


def test_a_known_surface_counts_in_full_beside_a_far_unknown() -> None:
    organ = np.zeros((12, 20, 20), bool)
    organ[3:9, 4:16, 4:10] = True
    unknown = np.zeros_like(organ)
    unknown[:, :, 18:] = True
    with_unknown = compare(organ, np.roll(organ, 3, 1), (2.0, 1.0, 1.0), unknown)
    without = compare(organ, np.roll(organ, 3, 1), (2.0, 1.0, 1.0))
    assert with_unknown is not None
    assert without is not None
    assert with_unknown.hausdorff_mm() == without.hausdorff_mm() == 3
    assert with_unknown.agreement(1.0) == without.agreement(1.0)


@pytest.mark.parametrize("seed", range(10))
def test_no_turn_of_the_unknown_brings_surfaces_closer(seed: int) -> None:
    truth, prediction = random_masks("blobs", seed)
    rng = np.random.default_rng(seed)
    unknown = gaussian_filter(rng.random(truth.shape), 1) > 0.52
    spacing_mm = SPACINGS[seed % len(SPACINGS)]
    least = compare(truth, prediction, spacing_mm, unknown)
    if least is None:
        pytest.skip("one mask lies at unknown places alone")
    for _ in range(10):
        filled = np.where(unknown, rng.random(truth.shape) > rng.random(), truth)
        found = compare(filled, prediction, spacing_mm)
        assert found is not None
        worst, least_worst = found.hausdorff_mm(100), least.hausdorff_mm(100)
        assert worst is not None
        assert least_worst is None or least_worst <= worst + 1e-9


def test_a_surface_all_beside_the_unknown_has_no_measure() -> None:
    organ = np.zeros((5, 5, 5), bool)
    organ[2, 2, 2] = True
    found = compare(organ, organ, unknown=~organ)
    assert found is not None
    assert found.hausdorff_mm() is None
    assert found.agreement(2.0) is None
