"""`viscera serve` as a process on free ports, for fixtures and for scripts that run by themselves.

Nothing of the tests is imported here, so that a script beside this file can import it by its name.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.node.job_desk import JobDesk
from app.node.job_listing import JobRecord
from app.node.job_statuses import END_STATUSES
from app.node.stored import study_key
from models.geometry import VolumeGeometry

VISCERA = str(Path(sys.executable).with_name("viscera"))
#: For a worker to load its networks on a busy machine, and for a small study to be worked on.
STARTING_S, WORKING_S = 90.0, 90.0
#: Small studies come at once: nobody pauses between images.
COMPLETION = {"closed_s": 0.3, "quiet_s": 0.6, "incomplete_s": 2.0, "max_wait_s": 60.0}
SOON = {"attempts": 40, "first_delay_s": 0.3, "factor": 1.5, "longest_delay_s": 2.0}


@dataclass(frozen=True)
class CtStudy:
    """Files of one study of one series."""

    StudyInstanceUID: str
    SeriesInstanceUID: str
    files: list[Path]
    geometry: VolumeGeometry
    #: By the organ's label.
    centroids_lps: Mapping[str, Any]

    def key(self, workflow: str = "VISCERA") -> str:
        return study_key(workflow, self.StudyInstanceUID)


@dataclass
class NodeProcess:
    """A node on free ports of the loopback interface."""

    folder: Path
    settings: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    _desks: list[JobDesk] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "node.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def port(self) -> int:
        return int(self.settings["listener"]["port"])

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text("utf-8", "replace")

    @property
    def workers(self) -> list[int]:
        """Its worker processes that live, as Linux tells them."""
        assert self.process is not None
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it ended meanwhile
                continue
            if int(parent) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return found

    def start(self) -> None:
        """Start it, and wait until it listens; the worker may still be loading."""
        self.launch()
        assert self.process is not None
        until = time.monotonic() + STARTING_S
        while time.monotonic() < until and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        pytest.fail(f"the node did not start:\n{self.log}")

    def launch(self) -> None:
        """Start it without a wait."""
        self.config.write_text(json.dumps(self.settings))  # which is YAML
        environment = {n: v for n, v in os.environ.items() if not n.startswith("HOLOSCAN_")}
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [VISCERA, "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**environment, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
            )

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """End it by a signal; returns its exit status."""
        for desk in self._desks:
            desk.close()
        self._desks.clear()
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # it writes what each thread is at
            self.process.wait(timeout_s)
            pytest.fail(f"the node did not end:\n{self.log}")

    @property
    def desk(self) -> JobDesk:
        if not self._desks:
            url = self.settings.get("database_url", f"sqlite:///{self.state / 'dbos.sqlite'}")
            self._desks.append(JobDesk(url))
        return self._desks[0]

    def jobs(self, study: CtStudy, workflow: str = "VISCERA") -> list[JobRecord]:
        """By version."""
        found = self.desk.jobs(study_key=study.key(workflow))
        return sorted(found, key=lambda record: record.job.version)

    def ended(
        self, study: CtStudy, workflow: str = "VISCERA", version: int = 1, timeout_s: float = 0
    ) -> JobRecord:
        """Wait for the end of a version of a study."""
        return self.until(
            lambda: next(
                (
                    job
                    for job in self.jobs(study, workflow)
                    if job.job.version == version and job.status in END_STATUSES
                ),
                None,
            ),
            timeout_s or WORKING_S,
        )

    def until(self, look: Callable[[], Any], timeout_s: float = WORKING_S) -> Any:
        """Wait until something is so, and return it."""
        give_up_at = time.monotonic() + timeout_s
        while time.monotonic() < give_up_at:
            assert self.process is None or self.process.poll() is None, self.log
            found = look()
            if found:
                return found
            time.sleep(0.1)
        pytest.fail(f"it did not come to this in {timeout_s:g} s:\n{self.log}")

    def get(self, path: str) -> Any:
        """Ask its health server."""
        url = f"http://127.0.0.1:{self.settings['health']['port']}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
        return json.loads(text) if path != "/metrics" else text

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command with the node's settings."""
        name, *rest = arguments
        return subprocess.run(
            [VISCERA, name, "--config", str(self.config), *rest],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def events(self, study: CtStudy, kind: str) -> list[dict[str, Any]]:
        """Of the audit trail, as `viscera status` tells them."""
        told = self.run("status", "--json", study.StudyInstanceUID)
        assert told.returncode == 0, told.stderr
        return [e["details"] for e in json.loads(told.stdout)["events"] if e["kind"] == kind]


def node_settings(
    folder: Path, models: Path, destinations: Mapping[str, Any], port: int, health_port: int
) -> dict[str, Any]:
    """Of a node with one worker and one workflow, that waits for studies as short as it may."""
    return {
        "state": str(folder / "state"),
        "models": str(models),
        "listener": {"port": port, "bind_address": "127.0.0.1"},
        "store": {"min_free_bytes": 0},
        "workflows": {"VISCERA": {"destinations": list(destinations), "any_anatomy": True}},
        "destinations": dict(destinations),
        "completion": COMPLETION,
        "workers": {"count": 1, "threads": 1, "devices": ["cpu"]},
        "jobs": {"send_retries": SOON, "segment_retries": SOON},
        "circuit": {"failures": 3, "open_s": 1.0},
        "health": {"port": health_port},
    }
