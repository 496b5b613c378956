"""The time that the job engine asks SQLite for."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from app.node.sqlite_clock import supply_unixepoch


def test_any_sqlite_tells_fractions_of_a_second(tmp_path: Path) -> None:
    supply_unixepoch()
    supply_unixepoch()  # a node and its desk in one process
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'clock.sqlite'}")
    before = time.time()
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE t (n INTEGER, ms INTEGER NOT NULL DEFAULT (unixepoch('subsec') * 1000))"
        )
        connection.exec_driver_sql("INSERT INTO t (n) VALUES (1)")
        told_ms = connection.exec_driver_sql("SELECT ms FROM t").scalar_one()
    engine.dispose()
    assert before * 1000 - 1 <= told_ms <= time.time() * 1000 + 1
