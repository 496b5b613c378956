"""Feeds of volumes: every case each epoch, drawn by seed, epoch and index alone."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import numpy as np
import pytest
import torch

from models.errors import TrainingError
from models.intensity import AIR_HU
from models.training.cases import UNKNOWN, Case
from models.training.feed import Feed
from models.training.patches import GridPatches, WholeVolumes, labelled_voxel
from models.training.variation import augmentation_from_json
from tests.bodies import CLASSES, body


class Lazy(Sequence[Case]):
    """Cases made on access, like those read from files; counts those that are still alive."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.alive: list[weakref.ref[Case]] = []

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        if isinstance(index, slice):
            raise TypeError("one case at a time")
        if index >= self._count:
            raise IndexError(index)
        case = marked(index)
        self.alive.append(weakref.ref(case))
        return case

    def still_alive(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in self.alive)


def marked(number: int, shape: tuple[int, int, int] = (12, 14, 16)) -> Case:
    """A case whose HU are its number, with one small organ and one large one."""
    labels = np.zeros(shape, np.uint8)
    labels[2, 3, 4] = 1
    labels[6:, 6:, 6:] = 2
    labels[0] = UNKNOWN
    return Case(
        name=f"case-{number}",
        patient=f"case-{number}",
        hu=np.full(shape, number, np.int16),
        labels=labels,
        spacing_mm=(2.0, 1.0, 1.0),
        unlabelled=frozenset({number}),
    )


def patches(cases: Sequence[Case], size: tuple[int, int, int] = (4, 4, 4), **kw: Any) -> Feed:
    return GridPatches(cases, size, scale=lambda hu: hu, **{"seed": 0, **kw})


def seen(feed: Feed, epoch: int) -> list[int]:
    return [int(feed.draw(epoch, n).image.max()) for n in range(len(feed))]


def test_every_case_gives_its_patches_in_every_epoch_in_another_order() -> None:
    feed = patches([marked(n) for n in range(7)], per_case=3)
    assert len(feed) == 21
    assert feed.cases == tuple(f"case-{n}" for n in range(7))
    first, second = seen(feed, 0), seen(feed, 1)
    assert Counter(first) == Counter(second) == dict.fromkeys(range(7), 3)
    assert first != second
    assert first == seen(feed, 0)
    assert first != seen(patches([marked(n) for n in range(7)], per_case=3, seed=1), 0)


def test_samples_do_not_depend_on_the_order_of_calls_or_on_threads() -> None:
    variation = augmentation_from_json(
        {"warp": {}, "flip": {}, "noise": {}, "noise_hu": {}}, 3, CLASSES
    )
    cases = [body(name=str(n)) for n in range(3)]
    feed = patches(cases, (12, 12, 12), variation=variation)
    straight = [feed.draw(2, n) for n in range(len(feed))]
    again = patches(cases, (12, 12, 12), variation=variation)
    backwards = [again.draw(2, n) for n in reversed(range(len(feed)))][::-1]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda n: feed.draw(2, n), range(len(feed))))
    for other in (backwards, at_once):
        for one, two in zip(straight, other, strict=True):
            assert torch.equal(one.image, two.image)
            assert torch.equal(one.labels, two.labels)
    assert len({float(one.image.sum()) for one in straight}) == len(straight)


def test_patches_are_pieces_of_their_case() -> None:
    rng = np.random.default_rng(0)
    case = marked(1)
    case = Case(**{**case.__dict__, "hu": rng.integers(-500, 500, case.hu.shape, np.int16)})
    feed = patches([case], (5, 6, 7), per_case=20)
    windows = np.lib.stride_tricks.sliding_window_view(case.hu, (5, 6, 7)).reshape(-1, 5 * 6 * 7)
    truths = np.lib.stride_tricks.sliding_window_view(case.labels, (5, 6, 7)).reshape(-1, 5 * 6 * 7)
    places = set()
    for n in range(20):
        sample = feed.draw(0, n)
        flat = sample.image.numpy().ravel()
        (place,) = np.flatnonzero((windows == flat).all(axis=1))
        assert np.array_equal(truths[place], sample.labels.numpy().ravel())
        assert sample.unlabelled == {1}
        places.add(int(place))
    assert len(places) > 10


def test_a_small_case_lies_in_the_middle_of_air_and_background() -> None:
    sample = patches([marked(9)], (20, 10, 21)).draw(0, 0)
    assert sample.image.shape == (1, 20, 10, 21)
    inside = sample.image[0] == 9
    assert inside[:, 0, 2].nonzero()[:, 0].tolist() == list(range(4, 16))
    assert inside[4, 0].nonzero()[:, 0].tolist() == list(range(2, 18))
    assert (sample.image[0][~inside] == AIR_HU).all()
    assert (sample.labels[~inside] == 0).all()


def test_patches_around_organs_show_small_ones_as_often_as_large_ones() -> None:
    case = marked(3)
    counts = {}
    for balance in ("organ", "voxel"):
        feed = patches([case], (1, 1, 1), per_case=200, foreground_probability=1, balance=balance)
        counts[balance] = Counter(int(feed.draw(0, n).labels[0, 0, 0]) for n in range(200))
        assert set(counts[balance]) <= {1, 2}
    assert 70 < counts["organ"][1] < 130
    assert counts["voxel"][1] < 5
    feed = patches([case], (1, 1, 1), per_case=200, foreground_probability=0)
    anywhere = Counter(int(feed.draw(0, n).labels[0, 0, 0]) for n in range(200))
    assert set(anywhere) == {0, 2, UNKNOWN}


def test_small_organs_of_large_cases_are_found() -> None:
    labels = np.zeros((110, 110, 110), np.uint8)
    labels[51:53, 61:63, 71:73] = 4
    case = Case(**{**marked(0).__dict__, "labels": labels, "hu": labels.astype(np.int16)})
    for seed in range(8):
        voxel = labelled_voxel(case, np.random.default_rng(seed), "organ")
        assert voxel is not None
        assert labels[tuple(voxel)] == 4
    labels[:] = UNKNOWN
    assert labelled_voxel(case, np.random.default_rng(0), "organ") is None


def test_whole_volumes_come_once_an_epoch() -> None:
    feed = WholeVolumes([marked(n) for n in range(5)], scale=lambda hu: hu / 100, seed=4)
    assert len(feed) == 5
    for epoch in range(2):
        drawn = [feed.draw(epoch, n) for n in range(5)]
        assert sorted(round(float(s.image.max()) * 100) for s in drawn) == [0, 1, 2, 3, 4]
        assert all(s.image.shape == (1, 12, 14, 16) for s in drawn)
        assert all(np.array_equal(s.labels.numpy(), marked(0).labels) for s in drawn)


def test_cases_read_on_access_are_not_kept() -> None:
    cases = Lazy(30)
    for feed in (patches(cases, per_case=1), WholeVolumes(cases, scale=lambda hu: hu, seed=0)):
        assert feed.cases[0] == "case-0"
        for n in range(len(feed)):
            feed.draw(0, n)
        assert cases.still_alive() == 0


def test_given_names_spare_the_reading() -> None:
    cases = Lazy(3)
    feed = patches(cases, names=["c", "a", "b"])
    assert feed.cases == ("a", "b", "c")
    assert not cases.alive
    with pytest.raises(TrainingError, match="a name for each of 3 cases, found 2"):
        patches(cases, names=["a", "b"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_case": 0}, "at least one patch a case"),
        ({"foreground_probability": 1.1}, "a probability of 0 to 1"),
        ({"balance": "size"}, "expected balance to be organ or voxel, found 'size'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        patches([marked(0)], **settings)
    with pytest.raises(TrainingError, match="at least one case"):
        patches([])
