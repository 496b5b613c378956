"""The node: everything that `viscera serve` starts, in order, and stops in the reverse order."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from pathlib import Path

from app.node.commitment_scu import CommitmentInbox
from app.node.health import Check, CheckResult, HealthServer, disk_check
from app.node.housekeeping import Housekeeping
from app.node.instance_store import InstanceStore
from app.node.job_desk import JobDesk
from app.node.job_inputs import JobInput, earlier_results, hand_in, input_of
from app.node.job_steps import JobRef
from app.node.jobs import JobService
from app.node.listener import Listener
from app.node.metrics import NodeMetrics
from app.node.node_steps import NodeSteps
from app.node.sender_counts import SenderCounts
from app.node.settings import NodeSettings
from app.node.settings_file import secret_job_settings
from app.node.stored import Origin, StoredStudy
from app.node.study_watch import StudyWatch
from app.node.workers import WorkerPool
from app.run_settings import RunSettings

log = logging.getLogger(__name__)

#: Of the time a stop may take: for associations to end, and for what follows the jobs.
_SHARE_OF_LISTENER = 0.25
_AFTER_JOBS_S = 2.0


class Node:
    """Receives, segments and sends, until it is stopped.

    Parameters
    ----------
    settings
        What it is told.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._started = contextlib.ExitStack()

    def start(self) -> None:
        """Start all parts; what was under way when an earlier node died goes on.

        Raises
        ------
        StoreError, ListenerError, HealthError
            If the state folder is in use, or a port cannot be listened on.
        """
        with contextlib.ExitStack() as started:
            self._start(started)
            self._started = started.pop_all()
        log.info("the node is ready on port %d", self.listener.port)

    def _start(self, started: contextlib.ExitStack) -> None:
        settings = self._settings
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds patients' images
        self.metrics = NodeMetrics(settings.state)
        self.store = InstanceStore(settings.state, settings.store)
        started.callback(self.store.close)
        self.workers = WorkerPool(
            settings.workers, settings.state / "turns", run_settings(settings), settings.logging
        )
        started.callback(self.workers.close)
        self._inbox = CommitmentInbox()
        steps = NodeSteps(
            settings,
            inputs=lambda job: input_of(self.desk, job),
            earlier=lambda job: earlier_results(self.desk, job, settings.work_folder),
            workers=self.workers,
            audit=self.store.audit,
            inbox=self._inbox,
            metrics=self.metrics,
        )
        self._jobs = JobService(
            secret_job_settings(settings),
            settings.state,
            steps,
            settings.workers.count,
            settings.work_folder,
        )
        self._jobs.start()
        started.callback(self._stop_jobs)
        self._counts = SenderCounts(settings.sources.values())
        started.callback(self._counts.stop)
        self.watch = StudyWatch(self.store, settings.completion, self._hand_in, self._counts)
        self.watch.start()
        started.callback(self.watch.stop)
        self.listener = Listener(
            settings.listener,
            self.store,
            admits=self._admits,
            reports=self._inbox.handlers(),
            metrics=self.metrics,
            on_association_closed=lambda studies: self.watch.wake(),
        )
        self.listener.start()
        started.callback(self._stop_listener)
        self.health = HealthServer(settings.health, self._checks(), self.metrics)
        self.health.start()
        started.callback(self.health.stop)
        self._house = Housekeeping(settings, self.store, self.desk, self.workers, self.metrics)
        self._house.start()
        started.callback(self._house.stop)

    @property
    def desk(self) -> JobDesk:
        """The jobs."""
        return self._jobs.desk

    def stop(self, timeout_s: float) -> bool:
        """Accept nothing more, finish what runs or park it, and end within about this time.

        Returns
        -------
        Whether all work at hand was finished; what was not goes on at the next start.
        """
        self._listener_until = time.monotonic() + _SHARE_OF_LISTENER * timeout_s
        self._jobs_until = time.monotonic() + timeout_s - _AFTER_JOBS_S
        self._all_done = True
        self._started.close()
        return self._all_done

    _listener_until = _jobs_until = 0.0
    _all_done = False

    def _stop_listener(self) -> None:
        self.listener.stop(max(0.0, self._listener_until - time.monotonic()))

    def _stop_jobs(self) -> None:
        left_s = max(0.0, self._jobs_until - time.monotonic())
        self._all_done = self._jobs.stop(left_s, self.workers.close)

    def _admits(self, origin: Origin) -> bool:
        return self._settings.workflows[origin.workflow].admits(origin.calling_ae, origin.address)

    def _hand_in(self, study: StoredStudy, found: JobInput, taken: int) -> JobRef:
        return hand_in(
            self.desk,
            study.study_key,
            study.workflow,
            found,
            node=self._settings.jobs.node_name,
            taken=taken,
            priority=self._settings.workflows[study.workflow].priority,
        )

    def _checks(self) -> dict[str, Check]:
        return {
            "listener": lambda: CheckResult(True, f"listening on port {self.listener.port}"),
            "database": lambda: CheckResult(True, f"{sum(self.desk.counts().values())} jobs"),
            "workers": self._check_workers,
            "watch": lambda: CheckResult(self.watch.is_alive, "looks at the studies"),
            "disk": disk_check(self._settings.state, self._settings.store.min_free_bytes),
        }

    def _check_workers(self) -> CheckResult:
        living, wanted = len(self.workers.pids), self._settings.workers.count
        return CheckResult(living > 0, f"{living} of {wanted} worker processes live")


def run_settings(settings: NodeSettings) -> dict[str, RunSettings]:
    """By workflow, what a run of the graph needs; inline rules become files of the state folder."""
    found = {}
    for title, workflow in settings.workflows.items():
        rules = workflow.rules
        if workflow.selections is not None:
            rules = _rules_file(settings.state, title, workflow.selections)
        found[title] = RunSettings(
            models=settings.models,
            model=workflow.model,
            rules=rules,
            largest_gap_mm=workflow.largest_gap_mm,
            any_anatomy=workflow.any_anatomy,
            outputs=workflow.outputs,
        )
    return found


def _rules_file(state: Path, title: str, selections: list[object]) -> Path:
    folder = state / "rules"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{title.encode().hex()}.json"
    path.write_text(json.dumps({"selections": selections}), "utf-8")
    return path
