"""Milliseconds for the job engine where SQLite is older than 3.42.

From Python 3.12 on DBOS takes the time from `unixepoch('subsec')`. An older SQLite, such as the one
of Debian 12 and Ubuntu 22.04, gives NULL for it or has no such function, so that no job engine
could start there.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Engine, event

#: First SQLite that knows `subsec` (https://sqlite.org/releaselog/3_42_0.html).
KNOWS_IT = (3, 42)


def supply_unixepoch() -> None:
    """Let every SQLite connection of this process know it; the engine opens some by itself."""
    if sqlite3.sqlite_version_info < KNOWS_IT and not event.contains(Engine, "connect", _supply):
        event.listen(Engine, "connect", _supply)


def _supply(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.create_function("unixepoch", 1, _unixepoch)


def _unixepoch(modifier: object) -> float:
    """Seconds since 1970 with their fraction; raises ValueError for all but `subsec`."""
    if modifier != "subsec":
        raise ValueError(f"expected unixepoch('subsec'), found {modifier!r}")
    return time.time()
