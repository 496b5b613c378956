"""What the node counts and measures, for Prometheus; no patient data, few different labels."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from operators.product import product_version

#: Different values of one label; what comes later is counted as `other`.
MOST_VALUES = 64
_LONGEST_VALUE = 64
_OTHER = "other"
_Metric = TypeVar("_Metric", Counter, Gauge)
#: From a DICOMweb request to a whole-body CT on an old CPU.
STAGE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1800)


class NodeMetrics:
    """The node's numbers; every method may be called from any thread.

    Parameters
    ----------
    state
        Folder whose file system is watched for free space.
    clock
        Seconds since 1970.
    """

    def __init__(self, state: Path, clock: Callable[[], float] = time.time):
        self.registry = CollectorRegistry()
        self._clock = clock
        self._labels = _Labels()
        self._received = self._counter("instances_received", "C-STORE by answer", "status")
        self._sent = self._counter("instances_sent", "Instances sent", "destination", "result")
        self._ended = self._counter("associations", "Associations by how they ended", "result")
        self._rejected = self._counter("associations_rejected", "Rejected associations", "reason")
        self._failures = self._counter("failures", "Jobs that failed, by reason", "reason")
        self._restarts = self._counter("worker_restarts", "Workers that had to be started anew")
        self._open = self._gauge("associations_open", "Associations open now")
        self._queue = self._gauge("queue_jobs", "Jobs by status", "status")
        self._success = self._gauge(
            "last_success_timestamp_seconds", "When a study was last delivered everywhere"
        )
        self._stages = Histogram(
            "viscera_stage_seconds",
            "Time of a stage of a job",
            ("stage",),
            buckets=STAGE_SECONDS,
            registry=self.registry,
        )
        free = self._gauge("disk_free_bytes", "Free space for the state folder")
        free.set_function(lambda: _free_bytes(state))
        self._gauge("build_info", "Version", "version").labels(product_version()).set(1)

    def instance_received(self, status: int) -> None:
        """Count an instance by the status of its C-STORE response (PS3.4 B.2.3)."""
        self._received.labels(status_name(status)).inc()

    def instances_sent(self, destination: str, result: str, count: int = 1) -> None:
        """Count instances sent to a configured destination, `stored`, `warning` or `failed`."""
        self._labelled(self._sent, destination, result).inc(count)

    def association_opened(self) -> None:
        """Count an accepted association as open."""
        self._open.inc()

    def association_ended(self, result: str) -> None:
        """Count an association that was open as `released`, `aborted` or `timeout`."""
        self._open.dec()
        self._labelled(self._ended, result).inc()

    def association_rejected(self, reason: str) -> None:
        """Count an association that was not accepted, by a short reason such as `calling_ae`."""
        self._labelled(self._rejected, reason).inc()

    def set_queue(self, jobs: Mapping[str, int]) -> None:
        """Replace the number of jobs by status; a status that is not given has none."""
        self._queue.clear()
        for status, count in jobs.items():
            self._labelled(self._queue, status).set(count)

    def stage_took(self, stage: str, seconds: float) -> None:
        """Add the time of one stage of one job."""
        self._stages.labels(self._labels.bounded(self._stages, 0, stage)).observe(seconds)

    def job_failed(self, reason: str) -> None:
        """Count a job that failed, by a status such as those of `app.outcomes`."""
        self._labelled(self._failures, reason).inc()

    def job_succeeded(self) -> None:
        """Note the time of a study that was delivered everywhere."""
        self._success.set(self._clock())

    def worker_restarted(self) -> None:
        """Count a worker that had died and was started again."""
        self._restarts.inc()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All numbers as Prometheus reads them, in what the header `Accept` asks for.

        Returns
        -------
        tuple
            The body and its Content-Type.
        """
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"viscera_{name}", told, labels, registry=self.registry)

    def _gauge(self, name: str, told: str, *labels: str) -> Gauge:
        return Gauge(f"viscera_{name}", told, labels, registry=self.registry)

    def _labelled(self, metric: _Metric, *values: str) -> _Metric:
        bounded = (self._labels.bounded(metric, n, value) for n, value in enumerate(values))
        return metric.labels(*bounded)


class _Labels:
    """Keeps the number of values of each label within bounds, whatever is asked for."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], set[str]] = {}
        self._lock = Lock()

    def bounded(self, metric: object, place: int, value: str) -> str:
        """The value itself, or `other` where it is one too many, too long or not for print."""
        if len(value) > _LONGEST_VALUE or not value.isprintable():
            return _OTHER
        with self._lock:
            seen = self._seen.setdefault((id(metric), place), set())
            if value not in seen and len(seen) >= MOST_VALUES:
                return _OTHER
            seen.add(value)
            return value


def status_name(status: int) -> str:
    """The kind of a C-STORE status (PS3.4 table B.2-1, PS3.7 annex C)."""
    if status == 0x0000:
        return "stored"
    kinds = {0xA7: "out_of_resources", 0xA9: "data_set_mismatch", 0xB0: "warning"}
    if status >> 12 == 0xC:
        return "cannot_understand"
    return kinds.get(status >> 8, "refused")


def _free_bytes(folder: Path) -> float:
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:  # gone or unmounted: not known, rather than an error of the whole page
        return float("nan")
