"""A small HTTP server that says how the node is.

| path | answer |
|---|---|
| `/healthz` | 200 while the process answers at all |
| `/readyz` | 200 when every check is well, else 503; JSON with each check and its reason |
| `/metrics` | the node's numbers for Prometheus |

Nothing here asks who asks, so it listens on the loopback interface unless told otherwise. Clients
that are slow or silent hold nobody up: when too many are connected the oldest is dropped, and each
after a while.
"""

from __future__ import annotations

import json
import logging
import shutil
import socket
import socketserver
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.errors import HealthError
from app.node.metrics import NodeMetrics
from app.outcomes import sentence_of

log = logging.getLogger(__name__)

#: Connections at a time; the oldest is dropped for one more.
MOST_CONNECTIONS = 32
#: A connection lives this long at most, and this long without a byte.
LONGEST_CONNECTION_S = 10.0
SILENCE_S = 5.0


class HealthSettings(BaseModel):
    """Where the node says how it is.

    Parameters
    ----------
    bind
        Address to listen on.
    port
        TCP port; 0 takes any free one.
    check_timeout_s
        A check that takes longer counts as failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bind: str = "127.0.0.1"
    port: int = Field(default=11114, ge=0, le=65535)
    check_timeout_s: float = Field(default=2.0, gt=0, le=8)


@dataclass(frozen=True)
class CheckResult:
    """What one check of readiness found: whether it is well, and why in words."""

    ok: bool
    reason: str


Check = Callable[[], CheckResult]


def disk_check(folder: Path, least_free_bytes: int) -> Check:
    """A check that a folder's file system has enough room."""

    def check() -> CheckResult:
        free = shutil.disk_usage(folder).free
        told = f"{free / 2**30:.2f} GiB free, at least {least_free_bytes / 2**30:.2f} GiB needed"
        return CheckResult(free >= least_free_bytes, told)

    return check


class HealthServer:
    """Answers over HTTP in threads of its own.

    Parameters
    ----------
    settings
        Where to listen.
    checks
        What readiness means, by name. Each runs in a thread of its own, one call at a time; what
        it raises makes it fail with the error's sentence.
    metrics
        The numbers to show.
    """

    def __init__(
        self, settings: HealthSettings, checks: Mapping[str, Check], metrics: NodeMetrics
    ) -> None:
        self._settings = settings
        self._probes = {name: _Probe(name, check) for name, check in checks.items()}
        self._metrics = metrics
        self._server: _Server | None = None
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on, once started."""
        if self._server is None:
            raise HealthError("the health server has not been started")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen; raises HealthError if the port is taken."""
        bind, port = self._settings.bind, self._settings.port
        try:
            self._server = _Server(bind, port, self.answer)
        except OSError as exc:
            raise HealthError(
                f"the health server cannot listen on {bind} port {port}: {exc.strerror or exc}"
            ) from exc
        self._thread = Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and drop who is connected; may be called twice."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.drop_all()
            self._thread.join()
            self._thread = None

    def readiness(self) -> tuple[bool, dict[str, CheckResult]]:
        """Run all checks at once; whether all are well, and what each found."""
        deadline = time.monotonic() + self._settings.check_timeout_s
        runs = {name: probe.run() for name, probe in self._probes.items()}
        found = {name: run.result(deadline) for name, run in runs.items()}
        return all(result.ok for result in found.values()), found

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, Content-Type and body for a path."""
        if path == "/metrics":
            body, content_type = self._metrics.exposition(accept)
            return 200, content_type, body
        if path == "/healthz":
            return 200, "application/json", b'{"alive": true}\n'
        if path == "/readyz":
            ready, found = self.readiness()
            checks = {n: {"ok": r.ok, "reason": r.reason} for n, r in found.items()}
            text = json.dumps({"ready": ready, "checks": checks}, indent=2)
            return 200 if ready else 503, "application/json", f"{text}\n".encode()
        return 404, "text/plain", b"try /healthz, /readyz or /metrics\n"


class _Run:
    """One call of a check."""

    def __init__(self, name: str, check: Check) -> None:
        self._check = check
        self._done = Event()
        self._found = CheckResult(False, "")
        # a daemon: a check that hangs must not keep the process from ending
        Thread(target=self._run, name=f"check {name}", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def _run(self) -> None:
        try:
            self._found = self._check()
        except Exception as exc:  # whatever it is, it is the check's answer
            self._found = CheckResult(False, sentence_of(exc))
        finally:
            self._done.set()

    def result(self, deadline: float) -> CheckResult:
        """Wait for the answer until `time.monotonic()` is at the deadline."""
        if self._done.wait(max(0.0, deadline - time.monotonic())):
            return self._found
        return CheckResult(False, "no answer in time")


class _Probe:
    """Runs a check for all who ask at the same time; one that hangs is not started again."""

    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._lock = Lock()
        self._last: _Run | None = None

    def run(self) -> _Run:
        with self._lock:
            if self._last is None or self._last.is_done:
                self._last = _Run(self._name, self._check)
            return self._last


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, bind: str, port: int, answer: Callable[[str, str], tuple[int, str, bytes]]
    ) -> None:
        self.answer = answer
        self._lock = Lock()
        self._connected: dict[socket.socket, float] = {}  # in order of their coming
        if ":" in bind:
            self.address_family = socket.AF_INET6
        super().__init__((bind, port), _Handler)

    def server_bind(self) -> None:
        # not that of HTTPServer: it asks DNS for the name of this machine, and may wait for it
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connected[request] = time.monotonic()
            excess = list(self._connected)[:-MOST_CONNECTIONS]
        self._drop(excess)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connected.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:  # called twice a second
        earliest = time.monotonic() - LONGEST_CONNECTION_S
        with self._lock:
            late = [request for request, since in self._connected.items() if since < earliest]
        self._drop(late)

    def drop_all(self) -> None:
        with self._lock:
            connected = list(self._connected)
        self._drop(connected)

    def _drop(self, requests: list[socket.socket]) -> None:
        for request in requests:
            with self._lock:
                self._connected.pop(request, None)
            try:
                request.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
            except OSError:
                log.debug("a connection had already ended")

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("an HTTP client of the health server went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = SILENCE_S
    server_version = "viscera"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        status, content_type, body = self.server.answer(path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds, and their paths are anybody's text."""
