"""What the node does now and then: numbers for Prometheus, and deleting what is too old."""

from __future__ import annotations

import logging
import threading
import time

from app.node.instance_store import InstanceStore
from app.node.job_desk import JobDesk
from app.node.job_inputs import forget_inputs
from app.node.job_statuses import END_STATUSES
from app.node.metrics import NodeMetrics
from app.node.retention import Entry, apply_retention, choose_deletions
from app.node.settings import NodeSettings
from app.node.stored import StoredStudy
from app.node.workers import WorkerPool

log = logging.getLogger(__name__)

#: How often the numbers are refreshed, and how often what may be deleted is looked for.
EVERY_S = 5.0
DELETE_EVERY_S = 300.0


class Housekeeping:
    """A thread that keeps the node in order.

    Parameters
    ----------
    settings
        What is kept for how long.
    store, desk, workers
        Of the node.
    metrics
        Where numbers go.
    """

    def __init__(
        self,
        settings: NodeSettings,
        store: InstanceStore,
        desk: JobDesk,
        workers: WorkerPool,
        metrics: NodeMetrics,
    ) -> None:
        self._settings = settings
        self._store = store
        self._desk = desk
        self._workers = workers
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="housekeeping", daemon=True)
        self._deaths = 0
        self._ended_until = time.time()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self._thread.join()

    def _keep(self) -> None:
        delete_at = 0.0
        while not self._stopping.wait(EVERY_S):
            try:
                self.refresh_numbers()
                if time.monotonic() >= delete_at:
                    self.delete_old(time.time())
                    delete_at = time.monotonic() + DELETE_EVERY_S
            except Exception:  # the database is away: the next round may find it again
                log.exception("the node could not be kept in order")

    def refresh_numbers(self) -> None:
        """Tell the metrics how many jobs there are, and what has ended since the last time."""
        self._metrics.set_queue(self._desk.counts())
        deaths = self._workers.deaths
        for _ in range(deaths - self._deaths):
            self._metrics.worker_restarted()
        self._deaths = deaths
        newest = self._ended_until
        for record in self._desk.jobs(statuses=END_STATUSES, changed_after=self._ended_until):
            newest = max(newest, record.changed_at)
            if record.status == "delivered":
                self._metrics.job_succeeded()
            elif record.status in ("failed", "rejected"):
                self._metrics.job_failed(_reason(record.status, record.step, record.outcome))
        self._ended_until = newest

    def delete_old(self, now: float) -> None:
        """Delete job folders and studies that are too old or too much and that no job needs."""
        work = self._settings.work_folder
        gone = apply_retention(
            [path for path in work.iterdir() if path.is_dir()],
            self._settings.retention,
            lambda path: self._desk.needs(job_id=path.name),
            now,
        )
        for entry in gone:
            log.info("job folder %s deleted", entry.path.name)
        arriving = set(self._store.not_taken())
        studies = {study.study_key: study for study in self._store.studies()}
        entries = [
            Entry(
                path=work / key,  # its name stands for the study
                size_bytes=study.size_bytes,
                changed_at=study.last_arrival,
                needed=key in arriving or self._desk.needs(study_key=key),
            )
            for key, study in studies.items()
        ]
        for entry in choose_deletions(entries, self._settings.retention, now):
            self._delete(studies[entry.path.name])

    def _delete(self, study: StoredStudy) -> None:
        if not self._store.remove_study(study.study_key, study.last_arrival):
            return
        forget_inputs(self._desk, study.study_key, self._settings.jobs.node_name)
        self._store.audit.append("deleted", study.study_key, instances=study.instances)
        log.info("study %s deleted: too old or too much", study.StudyInstanceUID)


def _reason(status: str, step: str, outcome: str) -> str:
    """A short reason, of which there are few."""
    return "not_delivered" if status == "failed" and step == "send" else outcome or status
