from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from app.node.job_tables import open_engine
from app.node.takeover import Takeover


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recovered(list[str]):
    """Nodes whose jobs were handed back; each had one."""

    def __call__(self, nodes: list[str]) -> int:
        self.extend(nodes)
        return len(nodes)


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_engine(f"sqlite:///{tmp_path / 'jobs.sqlite'}")


def test_a_node_whose_number_stands_still_is_taken_for_dead(engine: sa.Engine) -> None:
    clock, recovered = Clock(), Recovered()
    other = Takeover(engine, "other", 15.0, Clock(), recovered)
    here = Takeover(engine, "here", 15.0, clock, recovered)
    here.beat()
    other.beat()
    assert here.look() == []
    clock.now += 14.9
    assert here.look() == []
    other.beat()
    clock.now += 0.1
    assert here.look() == []  # the number is another one
    clock.now += 15.0
    assert here.look() == ["other"]
    other.beat()
    assert here.look() == []
    assert recovered == ["other"]


def test_a_node_that_has_just_started_waits_before_it_judges(engine: sa.Engine) -> None:
    Takeover(engine, "other", 15.0, Clock(), Recovered()).beat()
    clock, recovered = Clock(), Recovered()
    clock.now = 1e6
    here = Takeover(engine, "here", 15.0, clock, recovered)
    assert here.look() == []
    clock.now += 15.0
    assert here.look() == ["other"]


def test_nobody_waits_for_a_node_that_has_left_until_it_is_back(engine: sa.Engine) -> None:
    recovered = Recovered()
    other = Takeover(engine, "other", 15.0, Clock(), recovered)
    here = Takeover(engine, "here", 15.0, Clock(), recovered)
    other.beat()
    other.leave()
    assert here.look() == ["other"]
    other.beat()
    assert here.look() == []


def test_a_node_does_not_take_over_from_itself(engine: sa.Engine) -> None:
    clock, recovered = Clock(), Recovered()
    here = Takeover(engine, "here", 15.0, clock, recovered)
    here.beat()
    here.look()
    clock.now += 1000.0
    assert here.look() == []
    assert recovered == []
