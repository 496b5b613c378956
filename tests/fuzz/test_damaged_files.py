"""The fuzz target without a fuzzer: each kind of file, damaged in the same ways every time."""

from __future__ import annotations

import random
from functools import partial

import pytest

from operators.frames import frames_of
from operators.loading import scan
from operators.pixels import decode_hu
from tests.fuzz.damaged_files import CASE, Target, change_bytes, mutate, seeds

ROUNDS = 20
MOST_BYTES = 8192


@pytest.fixture(scope="module")
def intact() -> dict[str, bytes]:
    return dict(seeds())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    return Target(tmp_path_factory.mktemp("fuzz"))


def test_intact_files_are_read_to_their_pixels(intact, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    for name, data in intact.items():
        if name == "dicomdir":
            continue
        (folder / "input").write_bytes(data)
        (study,) = scan(folder).studies
        (instance,) = study.series[0].instances
        for frame in frames_of(instance):
            assert decode_hu(frame).shape == (CASE.rows, CASE.columns), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_damaged_files_end_as_volumes_or_with_an_error_of_this_package(round_, intact, target):
    order = random.Random(round_)
    change = partial(change_bytes, order=order)
    for data in intact.values():
        for _ in range(1 + round_ % 3):
            data = mutate(data, MOST_BYTES, order, change)
        target(data)
