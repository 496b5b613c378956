"""The health server over real connections, with clients that are slow, silent or many."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import app.node.health as health
from app.errors import HealthError
from app.node.health import CheckResult, HealthServer, HealthSettings, disk_check
from app.node.metrics import NodeMetrics


class Node:
    """What the checks ask about."""

    worker_is_alive = True


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def server(tmp_path: Path, node: Node) -> Iterator[HealthServer]:
    def worker() -> CheckResult:
        alive = node.worker_is_alive
        return CheckResult(alive, "1 worker is alive" if alive else "no worker is alive")

    running = HealthServer(
        HealthSettings(port=0, check_timeout_s=5),
        {"worker": worker, "disk": disk_check(tmp_path, 1)},
        NodeMetrics(tmp_path),
    )
    running.start()
    yield running
    running.stop()


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def test_a_node_is_ready_while_all_checks_are_well(server: HealthServer, node: Node) -> None:
    status, headers, body = ask(server, "/readyz?verbose")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["checks"]["worker"] == {"ok": True, "reason": "1 worker is alive"}
    node.worker_is_alive = False
    status, _, body = ask(server, "/readyz")
    assert status == 503
    told = json.loads(body)
    assert told["ready"] is False
    assert told["checks"]["worker"]["reason"] == "no worker is alive"
    assert told["checks"]["disk"]["ok"]
    assert ask(server, "/healthz")[0] == 200  # the process itself is up


def test_metrics_are_shown_as_prometheus_reads_them(server: HealthServer) -> None:
    status, headers, body = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert b"\nviscera_associations_open 0.0\n" in body


def test_head_has_no_body_and_other_methods_and_paths_are_refused(server: HealthServer) -> None:
    status, headers, body = ask(server, "/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0
    assert "Python" not in headers["Server"]
    assert ask(server, "/etc/passwd")[0] == 404
    assert ask(server, "/healthz", "DELETE")[0] == 501


def test_silent_and_slow_clients_keep_nobody_out(server: HealthServer) -> None:
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(3 * health.MOST_CONNECTIONS)
        ]
        for client in silent[::2]:
            client.sendall(b"GET /healthz HT")  # and no more
        assert ask(server, "/readyz")[0] == 200
        silent[0].settimeout(30)
        assert silent[0].recv(1) == b""  # the oldest had to go


def test_a_client_that_never_ends_its_request_is_dropped(
    server: HealthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LONGEST_CONNECTION_S", 0.3)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(30)
        client.sendall(b"GET /healthz HTTP/1.1\r\n")
        dropped = threading.Event()

        def trickle() -> None:
            try:
                while not dropped.wait(0.05):
                    client.sendall(b"X-More: 1\r\n")
            except OSError:
                dropped.set()

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
        finally:
            dropped.set()
            thread.join()


def test_a_port_that_is_taken_is_an_error_that_names_it(
    server: HealthServer, tmp_path: Path
) -> None:
    second = HealthServer(HealthSettings(port=server.port), {}, NodeMetrics(tmp_path))
    with pytest.raises(HealthError, match=f"cannot listen on 127.0.0.1 port {server.port}"):
        second.start()


def test_after_a_stop_nobody_listens_and_the_port_is_free(tmp_path: Path) -> None:
    first = HealthServer(HealthSettings(port=0), {}, NodeMetrics(tmp_path))
    first.start()
    port = first.port
    assert ask(first, "/readyz")[0] == 200
    with socket.create_connection(("127.0.0.1", port)):
        time.sleep(0.05)  # the connection is being served
        first.stop()
        first.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    again = HealthServer(HealthSettings(port=port), {}, NodeMetrics(tmp_path))
    again.start()
    again.stop()


def test_it_listens_on_ipv6_too(tmp_path: Path) -> None:
    running = HealthServer(HealthSettings(bind="::1", port=0), {}, NodeMetrics(tmp_path))
    try:
        running.start()
    except HealthError:
        pytest.skip("this machine has no IPv6 loopback address")
    with socket.create_connection(("::1", running.port)) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").readline().split()[1] == b"200"
    running.stop()
