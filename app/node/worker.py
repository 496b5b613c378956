"""One process that segments, as its parent sees it.

Parent and child speak JSON, one object a line, over the child's standard input and output. The
child is started anew rather than forked, since threads do not survive a fork; it has a session of
its own, so that a Ctrl-C at the terminal reaches the parent alone; and it ends when its input does,
so that it never outlives its parent.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import (
    WorkerDiedError,
    WorkerGoneError,
    WorkerStoppedError,
    WorkerTimeoutError,
)
from app.node.job_steps import SegmentOutcome, Stop
from app.node.json_logs import LoggingSettings

if TYPE_CHECKING:
    from app.run_settings import RunSettings  # loads torch, which only the child needs

log = logging.getLogger(__name__)

#: How often a run looks whether it is to be given up.
LOOK_EVERY_S = 0.2


class Worker:
    """Starts the process at once; see `WorkerPool` for the parameters."""

    def __init__(
        self,
        workflows: Mapping[str, RunSettings],
        device: str,
        threads: int,
        turns: Mapping[str, Any],
        log_settings: LoggingSettings,
    ):
        here = str(Path(__file__).resolve().parents[2])
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.node.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.pathsep.join(paths),
            },
        )
        self.pid = self._process.pid
        self.killed_by_us = False
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, name=f"worker-{self.pid}-read", daemon=True).start()
        self._tell(
            {
                "logging": log_settings.model_dump(),
                "turns": turns,
                "workflows": {
                    name: settings_to_json(_on_device(settings, device))
                    for name, settings in workflows.items()
                },
            }
        )

    @property
    def lives(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the networks are loaded; a process that takes too long is killed."""
        try:
            message = self._messages.get(timeout=timeout_s)
        except queue.Empty:
            log.error("process %d was not ready within %g s", self.pid, timeout_s)
            self._process.kill()
            return False
        return message is not None

    def wait_end(self) -> str:
        """Wait for the end of the process; returns how it came."""
        return ending(self._process.wait())

    def run(
        self,
        workflow: str,
        source: Path,
        output: Path,
        timeout_s: float,
        stop: Stop,
        progress: Callable[[str, float], None] | None,
    ) -> SegmentOutcome:
        """As `WorkerPool.run`."""
        give_up_at = time.monotonic() + timeout_s
        self._tell({"workflow": workflow, "source": str(source), "output": str(output)})
        begun = False
        while True:
            try:
                message = self._messages.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                message = {}
            if message is None:
                reason = ending(self._process.wait())
                error = WorkerDiedError if begun else WorkerGoneError
                raise error(f"the process that segmented the study ended: {reason}")
            begun = begun or bool(message)
            if "done" in message:
                done = message["done"]
                return SegmentOutcome(**{**done, "files": tuple(done["files"])})
            if progress is not None and "stage" in message:
                progress(message["stage"], message["share"])
            if time.monotonic() > give_up_at:
                self._kill()
                raise WorkerTimeoutError(f"expected the run to end within {timeout_s:g} s")
            if stop():
                self._kill()
                raise WorkerStoppedError("the run was given up")

    def end(self, grace_s: float) -> None:
        """Let the process end by itself, or kill it where that takes too long."""
        self.killed_by_us = True
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
        except OSError:  # it is dead, with something unread
            pass
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        self.killed_by_us = True
        self._process.kill()
        self._process.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # dead: the reader sees the end, too
            log.debug("process %d takes no more messages", self.pid)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._messages.put(json.loads(line))
            except ValueError:  # cut off by the death of the process
                break
        self._messages.put(None)


def ending(code: int) -> str:
    """How a process ended, by its return code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, as when memory is short" if name == "SIGKILL" else name


def settings_to_json(settings: RunSettings) -> dict[str, Any]:
    """Settings as plain values."""
    return {n: str(v) if isinstance(v, Path) else v for n, v in asdict(settings).items()}


def _on_device(settings: RunSettings, device: str) -> RunSettings:
    """A workflow's own device comes first."""
    return replace(settings, device=device) if settings.device == "auto" else settings
