"""Instances as they were received: nothing is acknowledged before it is on stable storage."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from app.errors import InstanceMismatchError, InstanceRefusedError, StoreFullError
from app.node.audit import AuditTrail
from app.node.identifiers import Identifiers, checked_uid, read_identifiers
from app.node.instance_files import (
    file_header,
    file_name,
    holds_same,
    read_stored,
    sync_folder,
    write_durably,
)
from app.node.instance_index import InstanceIndex
from app.node.store_disk import StoreSettings, disk_errors, free_bytes, lock_folder
from app.node.stored import Origin, StoredInstance, StoredStudy, study_key
from app.node.study_gate import StudyGate

_LOGGER = logging.getLogger(__name__)
_LOCKS = 64


class InstanceStore:
    """Files of the instances below one folder, and their index. Any thread may use it.

    Parameters
    ----------
    state
        The node's folder. Files go to `incoming/<study key>/`, the index to `node.sqlite`.
    settings
        When there is no room.
    clock
        Gives seconds since the epoch.

    Raises
    ------
    StoreError
        If another process uses the folder, or the index cannot be opened.

    Notes
    -----
    The files are the truth: an instance is acknowledged once its file, with its name, is on
    stable storage. The index survives the death of the process; what it may lose with power is
    read from the files at the next start.

    The same SOPInstanceUID with the same bytes is stored once. With other bytes it becomes a new
    version: the newest counts, the older file stays as it is until its study is removed, since a
    job may be reading it.
    """

    def __init__(
        self,
        state: Path,
        settings: StoreSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings or StoreSettings()
        self._clock = clock
        self._incoming = state / "incoming"
        self._partial = self._incoming / ".partial"
        self._removed = self._incoming / ".removed"
        for folder in (self._partial, self._removed):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock_file: int | None = lock_folder(self._incoming)
        self._index = InstanceIndex(state / "node.sqlite", self._incoming)
        #: What happened to each study.
        self.audit = AuditTrail(state / "node.sqlite", clock)
        self._instance_locks = [threading.Lock() for _ in range(_LOCKS)]
        self._gate = StudyGate()
        self._associations_lock = threading.Lock()
        self._associations: dict[int, set[str]] = {}
        self._reconcile()

    def close(self) -> None:
        """Close the index and let another process use the folder."""
        self._index.close()
        self.audit.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    # --- receiving

    def has_room(self) -> bool:
        """Whether new associations should be accepted."""
        return free_bytes(self._incoming) >= self._settings.min_free_bytes

    def receive(
        self,
        data: bytes | memoryview,
        *,
        SOPClassUID: str,
        SOPInstanceUID: str,
        TransferSyntaxUID: str,
        origin: Origin,
        association: int | None = None,
    ) -> StoredInstance:
        """Store one instance; it is on stable storage when this returns.

        Parameters
        ----------
        data
            The encoded data set, which is stored as it is.
        SOPClassUID, SOPInstanceUID
            As the message announced them.
        TransferSyntaxUID
            How the data set is encoded.
        origin
            Who sent it, and for which workflow.
        association
            Number of the open association it came by.

        Raises
        ------
        InstanceRefusedError
            If the data set does not say which instance of which study it is;
            `InstanceMismatchError` if it is another one than announced.
        StoreFullError
            If there is no room.
        StoreError
            If it cannot be written for another reason.
        """
        checked_uid("SOPInstanceUID", SOPInstanceUID.encode())
        found = read_identifiers(data, TransferSyntaxUID)
        if (found.SOPClassUID, found.SOPInstanceUID) != (SOPClassUID, SOPInstanceUID):
            raise InstanceMismatchError("data set of another SOP class or instance than announced")
        key = study_key(origin.workflow, found.StudyInstanceUID)
        with disk_errors(), self._gate.receiving(key), self._lock_of(SOPInstanceUID):
            newest = self._index.newest(key, SOPInstanceUID)
            if newest is not None and holds_same(newest, data, TransferSyntaxUID):
                stored = replace(newest, is_new=False)
            else:
                version = 1 if newest is None else newest.version + 1
                stored = self._keep(data, key, found, TransferSyntaxUID, origin, version)
            self._note(association, key)
        return stored

    def _keep(
        self,
        data: bytes | memoryview,
        key: str,
        found: Identifiers,
        TransferSyntaxUID: str,
        origin: Origin,
        version: int,
    ) -> StoredInstance:
        if free_bytes(self._incoming) < self._settings.reserved_bytes:
            raise StoreFullError("less space is free than the node reserves for itself")
        folder = self._incoming / key
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(self._incoming)
        path = folder / file_name(found.SOPInstanceUID, version)
        header = file_header(found.SOPClassUID, found.SOPInstanceUID, TransferSyntaxUID, origin)
        arrived = self._clock()
        size_bytes = write_durably(path, self._partial, (header, data), arrived)
        stored = StoredInstance(
            study_key=key,
            StudyInstanceUID=found.StudyInstanceUID,
            SeriesInstanceUID=found.SeriesInstanceUID,
            SOPInstanceUID=found.SOPInstanceUID,
            SOPClassUID=found.SOPClassUID,
            TransferSyntaxUID=TransferSyntaxUID,
            origin=origin,
            path=path,
            arrived=arrived,
            size_bytes=size_bytes,
            version=version,
        )
        try:
            self._index.add(stored)
        except sqlite3.Error:
            path.unlink(missing_ok=True)  # not acknowledged: the sender will send it again
            raise
        return stored

    # --- associations

    def open_association(self, number: int) -> None:
        """Note that an association is open; none is after a restart."""
        with self._associations_lock:
            self._associations[number] = set()

    def close_association(self, number: int) -> tuple[str, ...]:
        """Note that it is closed, and name the studies it sent a part of."""
        with self._associations_lock:
            return tuple(sorted(self._associations.pop(number, ())))

    def open_associations(self, study_key: str) -> int:
        """How many open associations have sent a part of a study."""
        with self._associations_lock:
            return sum(study_key in keys for keys in self._associations.values())

    def _note(self, association: int | None, key: str) -> None:
        with self._associations_lock:
            if association in self._associations:
                self._associations[association].add(key)

    # --- questions

    def studies(self) -> list[StoredStudy]:
        """All studies; the first to arrive comes first."""
        return [self._with_associations(study) for study in self._index.studies()]

    def study(self, study_key: str) -> StoredStudy | None:
        """The study with this key."""
        for study in self._index.studies(study_key):
            return self._with_associations(study)
        return None

    def instances(self, study_key: str) -> list[StoredInstance]:
        """The newest versions of a study's instances, by series and arrival."""
        return self._index.instances(study_key)

    def find(self, SOPInstanceUID: str, workflow: str) -> list[StoredInstance]:
        """The newest version of an instance in every study of a workflow that holds it."""
        return self._index.find(SOPInstanceUID, workflow)

    def _with_associations(self, study: StoredStudy) -> StoredStudy:
        return replace(study, open_associations=self.open_associations(study.study_key))

    # --- versions

    def take(self, study_key: str) -> tuple[int, list[StoredInstance]]:
        """Make what has arrived of a study its next version; see `InstanceIndex.take`."""
        return self._index.take(study_key)

    def taken(self, study_key: str, version: int) -> list[StoredInstance]:
        """What a version of a study holds."""
        return self._index.taken(study_key, version)

    def not_taken(self) -> list[str]:
        """Keys of the studies of which something has arrived that no version holds."""
        return self._index.not_taken()

    def last_taken(self) -> dict[str, int]:
        """The last version of each study that has one."""
        return self._index.last_taken()

    # --- removing

    def remove_study(self, study_key: str, last_arrival: float | None = None) -> bool:
        """Remove a study with all its files.

        Parameters
        ----------
        study_key
            The study.
        last_arrival
            What the caller's decision rests on: if something has arrived since, nothing is
            removed. None removes it in any case.

        Returns
        -------
        bool
            Whether it was removed.
        """
        with self._gate.removing(study_key):
            newest = self._index.last_arrival(study_key)
            if newest is None or (last_arrival is not None and newest > last_arrival):
                return False
            # renamed first, so that a crash leaves no part of a study behind
            os.rename(self._incoming / study_key, self._removed / study_key)
            self._index.remove(study_key)
            shutil.rmtree(self._removed / study_key)
        return True

    def _lock_of(self, SOPInstanceUID: str) -> threading.Lock:
        """One instance sent twice at once is stored one after the other."""
        return self._instance_locks[hash(SOPInstanceUID) % _LOCKS]

    # --- start

    def _reconcile(self) -> None:
        """Bring the index in line with the files."""
        for left in self._partial.iterdir():
            left.unlink()  # never acknowledged
        for folder in list(self._removed.iterdir()):
            self._index.remove(folder.name)
            shutil.rmtree(folder)
        files = set(self._incoming.glob("[0-9a-f]*/*.dcm"))
        known = self._index.paths()
        for path in sorted(known - files):
            _LOGGER.error("file %s/%s is gone", path.parent.name, path.name)
            self.audit.append("file gone", path.parent.name, file=path.name)
        self._index.forget(known - files)
        self._index.add_all(self._read_all(files - known))

    def _read_all(self, paths: set[Path]) -> Iterator[StoredInstance]:
        for path in sorted(paths):
            try:
                stored = read_stored(path)
            except InstanceRefusedError as exc:
                _LOGGER.error("file %s/%s is not indexed: %s", path.parent.name, path.name, exc)
                continue
            if stored.study_key != path.parent.name:
                _LOGGER.error("file %s/%s is of another study", path.parent.name, path.name)
                continue
            yield stored
