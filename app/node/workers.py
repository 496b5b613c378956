"""A pool of processes that segment, each with its networks in memory."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from app.errors import (
    AppError,
    WorkerDiedError,
    WorkerGoneError,
    WorkersClosedError,
    WorkerStoppedError,
)
from app.node.job_steps import SegmentOutcome, Stop
from app.node.json_logs import LoggingSettings
from app.node.worker import Worker

if TYPE_CHECKING:
    from app.run_settings import RunSettings  # loads torch, which only the processes need

log = logging.getLogger(__name__)

#: How often a wait for a free worker looks whether it is to be given up.
LOOK_EVERY_S = 0.2
#: A worker that dies sooner after its start is started again only after a while.
SHORT_LIFE_S = 10.0
LONGEST_PAUSE_S = 30.0


class WorkerSettings(BaseModel):
    """How many processes segment, and where.

    Parameters
    ----------
    count
        How many, each with its networks in memory.
    at_once
        How many of those of one device use a network at the same time; meanwhile the others read
        the next study and write the last.
    devices
        Dealt out to the processes in turns; `auto`, `cpu`, `gpu` or `gpu:N`.
    threads
        Of each process, on the CPU; None shares the cores among those that may be at it at once.
    timeout_s
        Longest run on one study; the process is killed then.
    start_timeout_s
        Longest time until a process has loaded its networks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=2, ge=1)
    at_once: int = Field(default=1, ge=1)
    devices: tuple[str, ...] = Field(default=("auto",), min_length=1)
    threads: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=3600.0, gt=0)
    start_timeout_s: float = Field(default=300.0, gt=0)

    @property
    def threads_each(self) -> int:
        """What each process uses."""
        at_once = min(self.count, self.at_once * len(set(self.devices)))
        return self.threads or max(1, len(os.sched_getaffinity(0)) // at_once)


class WorkerPool:
    """Hands each run to a free process, and replaces processes that die, also idle ones.

    Reading, inference and writing of one study happen in one process; several processes overlap
    them: while one infers, others read or write.

    Parameters
    ----------
    settings
        How many processes.
    turns
        Folder of the locks by which the processes take turns at a device.
    workflows
        By name: what a run of that workflow needs. Workflows with the same model share it.
    log_settings
        How the processes write their logs, to the standard error they inherit.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        turns: Path,
        workflows: Mapping[str, RunSettings],
        log_settings: LoggingSettings | None = None,
    ):
        self._settings = settings
        self._log_settings = log_settings or LoggingSettings()
        self._turns = turns
        self._workflows = dict(workflows)
        self._free: queue.Queue[Worker] = queue.Queue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._living: dict[int, Worker] = {}
        self._deaths = 0
        self._keepers = [
            threading.Thread(target=self._keep, args=(slot,), name=f"worker-{slot}", daemon=True)
            for slot in range(settings.count)
        ]
        for keeper in self._keepers:
            keeper.start()

    @property
    def deaths(self) -> int:
        """How many processes have died by themselves."""
        return self._deaths

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that live."""
        with self._lock:
            return tuple(worker.pid for worker in self._living.values())

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a process is free."""
        give_up_at = time.monotonic() + timeout_s
        while self._free.empty() and time.monotonic() < give_up_at:
            time.sleep(0.02)
        return not self._free.empty()

    def run(
        self,
        workflow: str,
        source: Path,
        output: Path,
        stop: Stop = lambda: False,
        progress: Callable[[str, float], None] | None = None,
    ) -> SegmentOutcome:
        """Segment a folder in the next free process; its report lies in the output folder.

        Raises
        ------
        WorkerDiedError
            If the process died; the message names the signal. It is replaced.
        WorkerTimeoutError, WorkerStoppedError
            If the run took too long, or `stop` asked for its end. The process is replaced.
        WorkersClosedError
            If the node ends.
        """
        if workflow not in self._workflows:
            known = ", ".join(sorted(self._workflows))
            raise AppError(f"expected one of the workflows {known}, found {workflow!r}")
        while True:
            worker = self._take(stop)
            try:
                timeout_s = self._settings.timeout_s
                return worker.run(workflow, source, output, timeout_s, stop, progress)
            except WorkerDiedError as exc:
                if self._closing.is_set():
                    raise WorkersClosedError("the node ends") from exc
                if not isinstance(exc, WorkerGoneError):
                    raise
            finally:
                if worker.lives:
                    self._free.put(worker)

    def close(self, grace_s: float = 2.0) -> None:
        """End all processes; runs raise WorkersClosedError."""
        self._closing.set()
        with self._lock:
            workers = list(self._living.values())
        for worker in workers:
            worker.end(grace_s)
        for keeper in self._keepers:
            keeper.join()

    def _take(self, stop: Stop) -> Worker:
        while not self._closing.is_set():
            try:
                worker = self._free.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                if stop():
                    raise WorkerStoppedError("given up before a worker was free") from None
                continue
            if worker.lives:
                return worker
        raise WorkersClosedError("the node ends")

    def _keep(self, slot: int) -> None:
        """Start a process, offer it, wait for its death, and again."""
        settings = self._settings
        device = settings.devices[slot % len(settings.devices)]
        pause_s = 0.1
        while not self._closing.is_set():
            begun = time.monotonic()
            turns = {"folder": str(self._turns), "device": device, "at_once": settings.at_once}
            worker = Worker(
                self._workflows, device, settings.threads_each, turns, self._log_settings
            )
            with self._lock:
                self._living[slot] = worker
            if self._closing.is_set():  # `close` has not seen this one
                worker.end(0.0)
                return
            if worker.wait_ready(settings.start_timeout_s):
                self._free.put(worker)
            reason = worker.wait_end()
            if self._closing.is_set():
                return
            if worker.killed_by_us:
                continue
            self._deaths += 1
            log.error("worker %d (process %d) ended: %s", slot, worker.pid, reason)
            short = time.monotonic() - begun < SHORT_LIFE_S
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if short else 0.1
            if short:
                self._closing.wait(pause_s)
