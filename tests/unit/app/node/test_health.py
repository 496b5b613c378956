from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.errors import HealthError
from app.node.health import CheckResult, HealthServer, HealthSettings, disk_check
from app.node.metrics import NodeMetrics
from operators.errors import OutputError

SETTINGS = HealthSettings(port=0, check_timeout_s=5)


@pytest.fixture
def metrics(tmp_path: Path) -> NodeMetrics:
    return NodeMetrics(tmp_path)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened at the end, so that no thread is left behind."""
    opened = threading.Event()
    yield opened
    opened.set()


def well() -> CheckResult:
    return CheckResult(True, "well")


def test_ready_is_what_every_check_finds_well(metrics: NodeMetrics) -> None:
    server = HealthServer(
        SETTINGS, {"a": well, "b": lambda: CheckResult(False, "no worker is alive")}, metrics
    )
    ready, found = server.readiness()
    assert not ready
    assert found == {"a": CheckResult(True, "well"), "b": CheckResult(False, "no worker is alive")}
    assert HealthServer(SETTINGS, {"a": well}, metrics).readiness()[0]


def test_an_error_is_the_answer_of_its_check_without_words_of_other_libraries(
    metrics: NodeMetrics,
) -> None:
    def ours() -> CheckResult:
        raise OutputError("the disk is gone")

    def theirs() -> CheckResult:
        raise ValueError("Doe^Jane")

    _, found = HealthServer(SETTINGS, {"ours": ours, "theirs": theirs}, metrics).readiness()
    assert found["ours"] == CheckResult(False, "the disk is gone")
    assert found["theirs"] == CheckResult(False, "a defect of the program: ValueError")


def test_a_check_that_hangs_is_not_ready_and_not_started_twice(
    metrics: NodeMetrics, gate: threading.Event
) -> None:
    started = []

    def hangs() -> CheckResult:
        started.append(1)
        gate.wait(60)
        return CheckResult(True, "at last")

    settings = HealthSettings(port=0, check_timeout_s=0.05)
    server = HealthServer(settings, {"database": hangs, "disk": well}, metrics)
    for _ in range(3):
        ready, found = server.readiness()
        assert not ready
        assert found["database"] == CheckResult(False, "no answer in time")
        assert found["disk"].ok
    assert started == [1]


def test_the_disk_is_well_above_its_watermark(tmp_path: Path) -> None:
    found = disk_check(tmp_path, 0)()
    assert found.ok
    assert found.reason.endswith("GiB free, at least 0.00 GiB needed")
    assert not disk_check(tmp_path, 2**62)().ok


def test_the_answers_are_json_and_other_paths_are_none(metrics: NodeMetrics) -> None:
    server = HealthServer(SETTINGS, {"a": well}, metrics)
    status, content_type, body = server.answer("/readyz", "")
    assert (status, content_type) == (200, "application/json")
    assert json.loads(body) == {"ready": True, "checks": {"a": {"ok": True, "reason": "well"}}}
    assert server.answer("/healthz", "")[0] == 200
    assert server.answer("/", "")[0] == 404
    assert b"viscera_associations_open" in server.answer("/metrics", "")[2]


def test_the_port_is_known_once_started_only(metrics: NodeMetrics) -> None:
    with pytest.raises(HealthError, match="has not been started"):
        _ = HealthServer(SETTINGS, {}, metrics).port


def test_the_default_is_the_loopback_interface() -> None:
    assert HealthSettings().bind == "127.0.0.1"
    with pytest.raises(ValidationError):
        HealthSettings(port=70000)
