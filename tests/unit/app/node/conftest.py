"""A store of instances."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.node.instance_store import InstanceStore
from tests.unit.app.node.received import ROOMY


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.25

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InstanceStore]:
    """Empty, in `tmp_path`, on a clock that counts on by a second at each look."""
    opened = InstanceStore(tmp_path, ROOMY, Clock())
    yield opened
    opened.close()
