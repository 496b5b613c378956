"""The durable jobs of a node, on DBOS: one SQLite file, or one PostgreSQL for several nodes.

A job is handed in once per version of a study and ends in one of `END_STATUSES`, whatever dies in
between. Attempts are durable workflows, all queued in the very transaction that notes why: an
attempt on a study assembles, segments and concludes; then each destination has its own attempts, in
turns, so that a dead one holds up no other. A back-off occupies no worker, it is a delay in the
queue. What a step has done is not done again; what it was doing when the node died is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

from app.node.job_desk import (
    APPLICATION,
    DELIVERY_QUEUE,
    DELIVERY_WORKFLOW,
    SHAPE,
    STUDY_QUEUE,
    STUDY_WORKFLOW,
    JobDesk,
)
from app.node.job_records import JobRecords
from app.node.job_runs import JobRuns
from app.node.job_settings import JobSettings
from app.node.job_steps import JobSteps
from app.node.takeover import Takeover, recover_workflows

log = logging.getLogger(__name__)

#: After so many deaths of its node in the middle of one attempt, a job fails.
LARGEST_RECOVERIES = 50
#: How many heartbeats there are between two looks for jobs that the engine has given up.
BEATS_PER_LOOK = 5


class JobService:
    """Works on the jobs; there is one at a time in a process.

    Parameters
    ----------
    settings
        How.
    state
        The node's state folder, with the SQLite file.
    steps
        The work itself.
    workers
        How many studies are segmented at once.
    work
        Has one folder per job; nodes that share a database share it. None is `work` in `state`.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        settings: JobSettings,
        state: Path,
        steps: JobSteps,
        workers: int,
        work: Path | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._settings = settings
        self._state = state
        self._work = work or state / "work"
        self._steps = steps
        self._workers = workers
        self._clock = clock
        self._stopping = threading.Event()
        self._takeover: Takeover | None = None

    def start(self) -> JobDesk:
        """Go on with all jobs that are not at their end; returns the desk to hand in more."""
        settings, url = self._settings, self._settings.url(self._state)
        self._work.mkdir(parents=True, exist_ok=True)
        DBOS(config=_engine_config(settings, url))
        _log_as_we_do()
        # the desk makes our tables, and the journal mode of the file, before the engine starts
        self.desk = JobDesk(url, self._clock)
        records = JobRecords(
            self.desk, settings.node_name, settings.segment_retries, settings.send_retries
        )
        self._runs = JobRuns(self._steps, records, self._work)
        self._register(self._runs)
        DBOS.launch()
        self._register_queues()
        self._records = records
        if self.desk.engine.dialect.name != "sqlite":  # which no other node shares
            self._takeover = Takeover(
                self.desk.engine,
                settings.node_name,
                settings.dead_after_s,
                time.monotonic,
                recover_workflows,
            )
        self._watch = threading.Thread(target=self._watch_over, name="jobs-watch", daemon=True)
        self._watch.start()
        return self.desk

    def stop(self, timeout_s: float, close_workers: Callable[[], None]) -> bool:
        """Begin nothing new, wait for what runs, then park the rest.

        Parameters
        ----------
        timeout_s
            How long to wait for running steps.
        close_workers
            Ends the segmentations that still run then, which parks their jobs.

        Returns
        -------
        Whether all steps ended; a send that ignores its `stop` may go on, and its job is continued
        at the next start.
        """
        self._stopping.set()
        self._runs.stop()
        self._runs.wait_idle(timeout_s)
        close_workers()
        idle = self._runs.wait_idle(5.0)
        self._watch.join()
        if self._takeover is not None:
            self._takeover.leave()
        DBOS.destroy(destroy_registry=True)
        self.desk.close()
        return idle

    def _register(self, runs: JobRuns) -> None:
        @DBOS.workflow(name=STUDY_WORKFLOW, max_recovery_attempts=LARGEST_RECOVERIES)
        def study(job_id: str, attempt: int) -> None:
            runs.study(job_id, attempt)

        @DBOS.workflow(name=DELIVERY_WORKFLOW, max_recovery_attempts=LARGEST_RECOVERIES)
        def deliver(job_id: str, run: int, destination: str, attempt: int) -> None:
            runs.deliver(job_id, run, destination, attempt)

    def _register_queues(self) -> None:
        settings = self._settings
        DBOS.register_queue(
            STUDY_QUEUE,
            worker_concurrency=self._workers + settings.assembling,
            polling_interval_sec=settings.polling_interval_s,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            DELIVERY_QUEUE,
            partition_worker_concurrency=settings.sends_per_destination,
            polling_interval_sec=settings.polling_interval_s,
            on_conflict="always_update",
        )

    def _watch_over(self) -> None:
        beats = 0
        while not self._stopping.is_set():
            try:
                if self._takeover is not None:
                    self._takeover.beat()
                    self._takeover.look()
                if beats % BEATS_PER_LOOK == 0:
                    self._records.fail_lost()
            except Exception:  # the database is away: the next beat may find it again
                log.exception("the jobs could not be watched over")
            beats += 1
            self._stopping.wait(self._settings.heartbeat_s)


def _engine_config(settings: JobSettings, url: str) -> DBOSConfig:
    return {
        "name": APPLICATION,
        "system_database_url": url,
        "application_version": SHAPE,
        "executor_id": settings.node_name,
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "WARNING",
        # nothing is sent anywhere: no conductor, no traces
        "conductor_key": None,
        "enable_otlp": False,
    }


def _log_as_we_do() -> None:
    """Leave the engine's messages to the node's own logging."""
    logger = logging.getLogger("dbos")
    logger.handlers.clear()
    logger.propagate = True
