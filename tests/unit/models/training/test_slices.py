"""A feed of slices: single ones and those of volumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.errors import TrainingError
from models.intensity import Window
from models.training.cases import UNKNOWN, Case
from models.training.slices import SliceIndex, Slices2D
from models.training.variation import augmentation_from_json
from tests.bodies import CLASSES, body

WINDOW = Window(low_hu=0, high_hu=255)


def unit(hu: torch.Tensor) -> torch.Tensor:
    return (WINDOW.apply(hu) + 1) / 2


def volume(name: str, first: int, depth: int, labelled: tuple[int, ...]) -> Case:
    """A case whose slices have HU `first`, `first + 1`, ..., some with an organ."""
    hu = np.repeat(np.arange(first, first + depth, dtype=np.int16), 6 * 8).reshape(depth, 6, 8)
    labels = np.zeros(hu.shape, np.uint8)
    labels[list(labelled), 2, 3] = 1
    labels[:, 0, 0] = UNKNOWN
    return Case(
        name=name,
        patient=name,
        hu=hu,
        labels=labels,
        spacing_mm=(5.0, 1.0, 1.0),
        unlabelled=frozenset({2}),
    )


CASES = [volume("a", 0, 10, (4, 5)), volume("b", 100, 1, (0,)), volume("c", 200, 20, (1, 2, 3))]


def greys(feed: Slices2D, epoch: int) -> list[int]:
    return [round(float(feed.draw(epoch, n).image.max()) * 255) for n in range(len(feed))]


def test_every_slice_comes_once_an_epoch_with_its_labels() -> None:
    feed = Slices2D(CASES, scale=unit, seed=0)
    assert (len(feed), feed.cases) == (31, ("a", "b", "c"))
    expected = [*range(10), 100, *range(200, 220)]
    first = greys(feed, 0)
    assert sorted(first) == sorted(greys(feed, 1)) == expected
    assert first != greys(feed, 1)
    sample = feed.draw(0, first.index(202))
    assert (sample.image.shape, sample.image.dtype) == ((1, 6, 8), torch.float32)
    assert (sample.labels.shape, sample.labels.dtype) == ((6, 8), torch.int64)
    assert sample.labels[2, 3] == 1
    assert sample.labels[0, 0] == UNKNOWN
    assert sample.unlabelled == {2}
    assert 0 <= sample.image.min() <= sample.image.max() <= 1


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.2, 5), (1.0, 25)])
def test_of_the_slices_without_a_label_a_share_is_shown_others_each_time(
    share: float, count: int
) -> None:
    feed = Slices2D(CASES, scale=unit, seed=0, unlabelled_share=share)
    labelled = {4, 5, 100, 201, 202, 203}
    epochs = [greys(feed, epoch) for epoch in range(8)]
    for shown in epochs:
        assert len(shown) == len(set(shown)) == 6 + count
        assert labelled <= set(shown)
    if share == 0.2:
        assert len({grey for shown in epochs for grey in shown}) > 20


def test_augmented_slices_are_decided_by_seed_epoch_and_index() -> None:
    variation = augmentation_from_json(
        {
            "flip": {},
            "warp": {"rotation_degrees": 45, "scale": 0.1, "elastic_mm": 0},
            "grid_distortion": {"probability": 1},
            "coarse_dropout": {"probability": 1},
            "brightness_contrast": {"probability": 1},
        },
        2,
        CLASSES,
    )
    cases = [body(name=f"{n}", unlabelled=frozenset({1})) for n in range(2)]
    feed, other = (Slices2D(cases, scale=unit, seed=3, variation=variation) for _ in range(2))
    for n in (5, 0, 17):
        one, two = feed.draw(1, n), other.draw(1, n)
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.labels, two.labels)
        assert one.unlabelled == two.unlabelled
        assert one.image.min() >= 0
        assert one.image.max() <= 1
    drawn = {feed.draw(0, n).unlabelled for n in range(len(feed))}
    assert drawn == {frozenset({1}), frozenset({2})}  # in mirror images the other kidney


def test_single_slices_need_not_be_read_to_be_counted() -> None:
    index = SliceIndex.of_single_slices(["b", "a"])
    feed = Slices2D([volume("b", 7, 1, ()), volume("a", 9, 1, ())], scale=unit, seed=0, index=index)
    assert feed.cases == ("a", "b")
    assert sorted(greys(feed, 0)) == [7, 9]
    with pytest.raises(TrainingError, match="expected the slices of 3 cases, found 2"):
        Slices2D(CASES, scale=unit, seed=0, index=index)


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(TrainingError, match="at least one case"):
        Slices2D([], scale=unit, seed=0)
    with pytest.raises(TrainingError, match="at least one slice with a label"):
        Slices2D([volume("a", 0, 4, ())], scale=unit, seed=0, unlabelled_share=0)
    with pytest.raises(TrainingError, match="unlabelled_share of 0 to 1, found 2"):
        Slices2D(CASES, scale=unit, seed=0, unlabelled_share=2)
