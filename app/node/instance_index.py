"""Index of the stored instances in SQLite. The files are the truth; this answers questions."""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.errors import StoreError
from app.node.audit import open_database
from app.node.stored import Origin, StoredInstance, StoredStudy

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances(
    study_key TEXT NOT NULL,
    SOPInstanceUID TEXT NOT NULL,
    version INTEGER NOT NULL,
    StudyInstanceUID TEXT NOT NULL,
    SeriesInstanceUID TEXT NOT NULL,
    SOPClassUID TEXT NOT NULL,
    TransferSyntaxUID TEXT NOT NULL,
    workflow TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    address TEXT NOT NULL,
    name TEXT NOT NULL,
    arrived REAL NOT NULL,
    size_bytes INTEGER NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (study_key, SOPInstanceUID, version)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS instances_by_uid ON instances(SOPInstanceUID);
CREATE INDEX IF NOT EXISTS instances_not_taken ON instances(study_key) WHERE taken = 0;
"""
_COLUMNS = (
    "study_key, SOPInstanceUID, version, StudyInstanceUID, SeriesInstanceUID, SOPClassUID,"
    " TransferSyntaxUID, workflow, calling_ae, address, name, arrived, size_bytes, taken"
)
_NEWEST = (
    "version = (SELECT MAX(version) FROM instances AS other WHERE"
    " other.study_key = instances.study_key"
    " AND other.SOPInstanceUID = instances.SOPInstanceUID)"
)


class InstanceIndex:
    """The table `instances` of the node's database. Any thread may use it.

    Parameters
    ----------
    database
        The SQLite file; it is made where it is absent.
    incoming
        Folder of the files, with one folder for each study key.

    Raises
    ------
    StoreError
        If the file is no such database.
    """

    def __init__(self, database: Path, incoming: Path) -> None:
        self._incoming = incoming
        self._lock = threading.Lock()
        try:
            self._connection = open_database(database, synchronous="NORMAL")
            self._prepare()
        except sqlite3.DatabaseError as exc:
            raise StoreError(
                f"{database} cannot be used: {exc}; once it is removed, the index is made anew"
                " from the files, and the audit trail starts anew"
            ) from exc

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _SCHEMA_VERSION):
            raise StoreError(f"expected an index of version {_SCHEMA_VERSION}, found {version}")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    # --- one instance

    def add(self, instance: StoredInstance) -> None:
        """Add an instance; the row survives the death of this process."""
        self.add_all([instance])

    def add_all(self, instances: Iterable[StoredInstance]) -> None:
        """Add many instances at once."""
        marks = ", ".join("?" * (_COLUMNS.count(",") + 1))
        rows = [_row(instance) for instance in instances]
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(
                    f"INSERT OR REPLACE INTO instances({_COLUMNS}) VALUES ({marks})", rows
                )
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def newest(self, study_key: str, SOPInstanceUID: str) -> StoredInstance | None:
        """The newest version of an instance of a study."""
        found = self._select(
            "study_key = ? AND SOPInstanceUID = ? ORDER BY version DESC LIMIT 1",
            study_key,
            SOPInstanceUID,
        )
        return found[0] if found else None

    def find(self, SOPInstanceUID: str, workflow: str) -> list[StoredInstance]:
        """The newest version of an instance in every study of a workflow that holds it."""
        return self._select(
            f"SOPInstanceUID = ? AND workflow = ? AND {_NEWEST} ORDER BY arrived",
            SOPInstanceUID,
            workflow,
        )

    # --- versions of studies

    def take(self, study_key: str) -> tuple[int, list[StoredInstance]]:
        """Make what has arrived of a study its next version, of all that is there.

        Returns
        -------
        version : int
            From 1; the last one again where nothing has arrived since.
        instances : list of StoredInstance
            What it holds.
        """
        with self._lock:
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            try:
                (last,) = execute(
                    "SELECT MAX(taken) FROM instances WHERE study_key = ?", (study_key,)
                ).fetchone()
                changed = execute(
                    "UPDATE instances SET taken = ? WHERE study_key = ? AND taken = 0",
                    ((last or 0) + 1, study_key),
                ).rowcount
                execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise
        version = (last or 0) + (1 if changed else 0)
        return version, self.taken(study_key, version)

    def taken(self, study_key: str, version: int) -> list[StoredInstance]:
        """What a version of a study holds, of each instance the newest there was."""
        newest: dict[str, StoredInstance] = {}
        for instance in self._select(
            "study_key = ? AND taken BETWEEN 1 AND ? ORDER BY version", study_key, version
        ):
            newest[instance.SOPInstanceUID] = instance
        return list(newest.values())

    def not_taken(self) -> list[str]:
        """Keys of the studies of which something has arrived that no version holds."""
        return [
            key
            for (key,) in self._query("SELECT DISTINCT study_key FROM instances WHERE taken = 0")
        ]

    def last_taken(self) -> dict[str, int]:
        """The last version of each study that has one."""
        rows = self._query(
            "SELECT study_key, MAX(taken) FROM instances GROUP BY study_key HAVING MAX(taken) > 0"
        )
        return {key: version for key, version in rows}  # noqa: C416 - rows are no pairs to mypy

    # --- studies

    def instances(self, study_key: str) -> list[StoredInstance]:
        """The newest versions of a study's instances, by series and arrival."""
        return self._select(
            f"study_key = ? AND {_NEWEST} ORDER BY SeriesInstanceUID, arrived, SOPInstanceUID",
            study_key,
        )

    def studies(self, study_key: str | None = None) -> list[StoredStudy]:
        """All studies, or the one with this key; the first to arrive comes first."""
        rows = self._query(
            "SELECT study_key, SeriesInstanceUID, workflow, calling_ae, address,"
            " MIN(StudyInstanceUID), COUNT(*), MIN(arrived), MAX(arrived), SUM(size_bytes)"
            f" FROM instances WHERE (?1 IS NULL OR study_key = ?1) AND {_NEWEST}"
            " GROUP BY study_key, SeriesInstanceUID, workflow, calling_ae, address"
            " ORDER BY MIN(arrived)",
            study_key,
        )
        groups: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            groups[row[0]].append(row)
        return [_study(key, members) for key, members in groups.items()]

    def last_arrival(self, study_key: str) -> float | None:
        """When the last instance of a study arrived, or None where it has none."""
        (row,) = self._query("SELECT MAX(arrived) FROM instances WHERE study_key = ?", study_key)
        return None if row[0] is None else float(row[0])

    def remove(self, study_key: str) -> None:
        """Forget a study."""
        self._query("DELETE FROM instances WHERE study_key = ?", study_key)

    # --- all files

    def paths(self) -> set[Path]:
        """The files of all versions of all instances."""
        rows = self._query("SELECT study_key, name FROM instances")
        return {self._incoming / key / name for key, name in rows}

    def forget(self, paths: Iterable[Path]) -> None:
        """Forget files that are no more."""
        with self._lock:
            self._connection.executemany(
                "DELETE FROM instances WHERE study_key = ? AND name = ?",
                [(path.parent.name, path.name) for path in paths],
            )

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def _query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _select(self, condition: str, *values: Any) -> list[StoredInstance]:
        rows = self._query(f"SELECT {_COLUMNS} FROM instances WHERE {condition}", *values)
        return [self._instance(row) for row in rows]

    def _instance(self, row: tuple[Any, ...]) -> StoredInstance:
        return StoredInstance(
            study_key=row[0],
            SOPInstanceUID=row[1],
            version=row[2],
            StudyInstanceUID=row[3],
            SeriesInstanceUID=row[4],
            SOPClassUID=row[5],
            TransferSyntaxUID=row[6],
            origin=Origin(row[7], row[8], row[9]),
            path=self._incoming / row[0] / row[10],
            arrived=row[11],
            size_bytes=row[12],
            taken=row[13],
        )


def _row(instance: StoredInstance) -> tuple[Any, ...]:
    return (
        instance.study_key,
        instance.SOPInstanceUID,
        instance.version,
        instance.StudyInstanceUID,
        instance.SeriesInstanceUID,
        instance.SOPClassUID,
        instance.TransferSyntaxUID,
        instance.origin.workflow,
        instance.origin.calling_ae,
        instance.origin.address,
        instance.path.name,
        instance.arrived,
        instance.size_bytes,
        instance.taken,
    )


def _study(study_key: str, groups: list[tuple[Any, ...]]) -> StoredStudy:
    """Put together the groups of one study, each of one series from one sender."""
    series: dict[str, int] = defaultdict(int)
    for group in groups:
        series[group[1]] += group[6]
    return StoredStudy(
        study_key=study_key,
        workflow=groups[0][2],
        StudyInstanceUID=groups[0][5],
        series=dict(series),
        origins=tuple(dict.fromkeys(Origin(*group[2:5]) for group in groups)),
        first_arrival=min(group[7] for group in groups),
        last_arrival=max(group[8] for group in groups),
        size_bytes=sum(group[9] for group in groups),
    )
