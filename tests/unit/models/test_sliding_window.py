"""Windows over a volume: what they cover, and what comes of what they say."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from models.errors import BundleError, OutOfMemoryError
from models.sliding_window import (
    SMALLEST_WEIGHT,
    SlidingWindow,
    gaussian_weights,
    infer,
    window_starts,
)

SETTINGS = SlidingWindow(size=(8, 12, 10), overlap=0.5, batch=3)


def image(*shape: int) -> Tensor:
    """Body everywhere: every value lies above air."""
    return torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(5)) * 1.9 - 0.95


def by_value(windows: Tensor) -> Tensor:
    """Logits that depend on each voxel's own value alone."""
    return torch.cat([torch.zeros_like(windows), 3 * windows, -2 * windows**2], dim=1)


@pytest.mark.parametrize(
    ("size", "window", "overlap", "expected"),
    [
        (110, 50, 0.5, [0, 20, 40, 60]),
        (100, 50, 0.5, [0, 25, 50]),
        (50, 50, 0.5, [0]),
        (20, 50, 0.5, [0]),
        (51, 50, 0.5, [0, 1]),
        (100, 50, 0.0, [0, 50]),
        (101, 50, 0.0, [0, 26, 51]),
        (6, 4, 0.9, [0, 1, 2]),
    ],
)
def test_starts_by_hand(size: int, window: int, overlap: float, expected: list[int]) -> None:
    assert window_starts(size, window, overlap) == expected


def test_windows_cover_all_voxels_evenly_with_the_overlap_that_was_asked_for() -> None:
    for size in range(1, 150):
        for window, overlap in ((16, 0.5), (32, 0.25), (7, 0.6), (10, 0.0), (5, 0.99)):
            starts = window_starts(size, window, overlap)
            assert starts[0] == 0
            assert starts[-1] == max(0, size - window)
            steps = [after - before for before, after in pairwise(starts)]
            assert all(1 <= step <= max(1, window * (1 - overlap)) for step in steps)
            assert not steps or max(steps) - min(steps) <= 1


def test_weights_are_symmetric_with_one_in_the_middle_and_no_zero() -> None:
    weights = gaussian_weights((8, 12, 9))
    assert weights.shape == (8, 12, 9)
    assert weights.max() == weights[3, 5, 4] == 1.0
    assert weights.min() == pytest.approx(SMALLEST_WEIGHT)
    torch.testing.assert_close(weights, weights.flip(0, 1, 2))


@pytest.mark.parametrize("shape", [(20, 31, 27), (8, 12, 10), (5, 6, 7), (3, 40, 9)], ids=str)
def test_a_constant_answer_stays_constant(shape: tuple[int, int, int]) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0])

    def constant(windows: Tensor) -> Tensor:
        return logits[None, :, None, None, None].expand(len(windows), 3, *windows.shape[2:])

    result = infer(image(*shape), constant, SETTINGS)
    assert result.shape == (3, *shape)
    expected = logits.softmax(0)[:, None, None, None].expand(3, *shape)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("shape", [(20, 31, 27), (9, 13, 11), (5, 40, 7)], ids=str)
def test_an_answer_that_belongs_to_the_voxel_comes_back_at_that_voxel(
    shape: tuple[int, int, int],
) -> None:
    seen = image(*shape)
    result = infer(seen, by_value, SETTINGS)
    torch.testing.assert_close(result, by_value(seen)[0].softmax(dim=0))
    torch.testing.assert_close(result.sum(dim=0), torch.ones(shape))


def test_the_result_agrees_with_monais_inferer_where_its_steps_are_the_same() -> None:
    """Logits that depend on the place in the window, so that the weights matter.

    An odd window has one voxel in its middle; there both normalise their weights alike.
    """
    settings = SlidingWindow(size=(9, 13, 11), overlap=0.5, batch=2)
    place = torch.randn(1, 3, *settings.size, generator=torch.Generator().manual_seed(1))

    def predict(windows: Tensor) -> Tensor:
        return by_value(windows) + place

    seen = image(21, 37, 26)  # steps of 4, 6 and 5 end at the edge
    theirs = sliding_window_inference(
        seen,
        settings.size,
        2,
        lambda windows: predict(windows).softmax(dim=1),
        overlap=0.5,
        mode="gaussian",
        sigma_scale=0.125,
    )
    torch.testing.assert_close(infer(seen, predict, settings), theirs[0], rtol=0, atol=1e-5)


def test_batches_change_nothing() -> None:
    seen = image(20, 31, 27)
    results = [
        infer(seen, by_value, SlidingWindow(size=(8, 12, 10), batch=batch)) for batch in (1, 4, 99)
    ]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_windows_without_body_are_passed_over_and_are_background() -> None:
    seen = torch.full((1, 1, 8, 12, 40), -1.0)
    seen[..., :5] = 0.5
    windows_seen = 0

    def organ_everywhere(windows: Tensor) -> Tensor:
        nonlocal windows_seen
        windows_seen += len(windows)
        return torch.stack([torch.zeros_like(windows[:, 0]), torch.ones_like(windows[:, 0])], dim=1)

    result = infer(seen, organ_everywhere, SETTINGS)
    assert windows_seen == 1  # of seven
    assert result.argmax(dim=0).sum() == 8 * 12 * 10
    torch.testing.assert_close(result[:, :, :, 10:].sum(dim=0), torch.ones(8, 12, 30))


def test_a_volume_without_body_is_background_without_asking_the_network() -> None:
    def never(windows: Tensor) -> Tensor:
        raise AssertionError("there is nothing to see")

    result = infer(torch.full((1, 1, 9, 12, 20), -1.0), never, SETTINGS)
    assert result.shape == (1, 9, 12, 20)
    assert (result == 1).all()


def test_an_image_smaller_than_a_window_is_filled_with_air() -> None:
    shapes: list[tuple[int, ...]] = []

    def look(windows: Tensor) -> Tensor:
        shapes.append(tuple(windows.shape))
        assert (windows[:, :, 5:] == -1).all()
        return by_value(windows)

    assert infer(image(5, 12, 10), look, SETTINGS).shape == (3, 5, 12, 10)
    assert shapes == [(1, 1, 8, 12, 10)]


def test_progress_counts_the_windows_that_are_done() -> None:
    told: list[float] = []
    infer(image(8, 12, 25), by_value, SETTINGS, on_progress=told.append)  # four windows
    assert told == [0.75, 1.0]


class OwnError(RuntimeError):
    """What a network may raise for its own reasons."""


def test_errors_of_the_network_pass_unchanged() -> None:
    error = OwnError("sizes do not match")

    def broken(windows: Tensor) -> Tensor:
        raise error

    with pytest.raises(OwnError) as caught:
        infer(image(8, 12, 10), broken, SETTINGS)
    assert caught.value is error


def test_a_gpu_without_memory_is_named_with_the_windows() -> None:
    def too_large(windows: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError, match=r"1 windows of \(8, 12, 10\) voxels on cpu"):
        infer(image(8, 12, 10), too_large, SETTINGS)


def test_a_machine_without_memory_is_told_from_other_failures() -> None:
    with pytest.raises(OutOfMemoryError, match="memory"):
        infer(image(8, 12, 10), lambda windows: torch.empty(2**46), SETTINGS)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": (8, 12)},
        {"size": (8, 0, 12)},
        {"size": (8, 8, 8), "overlap": 1.0},
        {"size": (8, 8, 8), "overlap": -0.1},
        {"size": (8, 8, 8), "overlap": float("nan")},
        {"size": (8, 8, 8), "batch": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BundleError):
        SlidingWindow(**settings)  # type: ignore[arg-type]
