"""The audit trail: what happened to each study, in order, kept across restarts."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events(
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    study_key TEXT,
    kind TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_study ON events(study_key, number);
"""


@dataclass(frozen=True)
class AuditEvent:
    """One entry of the trail.

    Parameters
    ----------
    number
        Rises by one with each entry.
    time
        Seconds since the epoch.
    kind
        A short word, such as `received`.
    study_key
        The study it is about, or None.
    details
        JSON values: UIDs, AE titles, addresses, counts; never patient data.
    """

    number: int
    time: float
    kind: str
    study_key: str | None
    details: Mapping[str, Any]


class AuditTrail:
    """The table `events` of the node's database. Any thread may use it.

    Parameters
    ----------
    database
        The SQLite file; it is made where it is absent.
    clock
        Gives seconds since the epoch.
    """

    def __init__(self, database: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = open_database(database, synchronous="FULL")
        self._connection.executescript(_SCHEMA)

    def append(self, kind: str, study_key: str | None = None, **details: Any) -> None:
        """Add an entry; it is on stable storage when this returns."""
        row = (self._clock(), study_key, kind, json.dumps(details, sort_keys=True))
        with self._lock:
            self._connection.execute(
                "INSERT INTO events(time, study_key, kind, details) VALUES (?, ?, ?, ?)", row
            )

    def read(self, study_key: str | None = None, kind: str | None = None) -> list[AuditEvent]:
        """List entries, oldest first: all, or those of one study, or of one kind."""
        with self._lock:
            rows: list[tuple[int, float, str, str | None, str]] = self._connection.execute(
                "SELECT number, time, kind, study_key, details FROM events"
                " WHERE (?1 IS NULL OR study_key = ?1) AND (?2 IS NULL OR kind = ?2)"
                " ORDER BY number",
                (study_key, kind),
            ).fetchall()
        return [
            AuditEvent(number, when, kind, key, json.loads(details))
            for number, when, kind, key, details in rows
        ]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()


def open_database(path: Path, synchronous: str) -> sqlite3.Connection:
    """Open a SQLite file for many threads under a lock of the caller.

    Parameters
    ----------
    path
        The file.
    synchronous
        `FULL`: a statement has reached stable storage when it returns. `NORMAL`: it survives the
        death of this process, but the last ones may be lost with power; the file stays sound.
    """
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection
