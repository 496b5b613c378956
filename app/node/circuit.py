"""A circuit for each destination: one that does not answer is left alone for a while.

A destination that does not answer costs its own results time and nothing else: its circuit opens,
and what is meant for it waits without a connection being tried, until one try probes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from app.node.delivery import Delivery


class CircuitSettings(BaseModel):
    """When a circuit opens, and for how long.

    Parameters
    ----------
    failures
        This many failed tries one after another open it.
    open_s
        How long nothing is tried; then one try probes the destination.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    failures: int = Field(default=3, ge=1)
    open_s: float = Field(default=60, gt=0, allow_inf_nan=False)


class Circuit:
    """Lets tries through while a destination answers; threads may share it.

    It is closed (all may try), open (none), or half open: one try probes the destination, and its
    result closes or opens it. A probe that never reports is given up after `open_s`.

    Parameters
    ----------
    settings
        Defaults where None.
    clock
        Seconds from any origin, never running back.
    """

    def __init__(
        self,
        settings: CircuitSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or CircuitSettings()
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        #: Until when nothing is tried; of no meaning while closed.
        self._closed_off_until = 0.0
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`, for people and metrics."""
        with self._lock:
            if self._failures < self._settings.failures:
                return "closed"
            waiting = self._clock() < self._closed_off_until and not self._probing
            return "open" if waiting else "half-open"

    def wait_s(self) -> float:
        """Ask for a try: 0 grants it, anything else is how long to wait before asking again.

        Whoever is granted a try makes it and reports it with `record`.
        """
        with self._lock:
            if self._failures < self._settings.failures:
                return 0.0
            now = self._clock()
            if now < self._closed_off_until:
                return self._closed_off_until - now
            self._probing = True
            self._closed_off_until = now + self._settings.open_s
            return 0.0

    def record(self, delivery: Delivery) -> None:
        """Count a try: it failed if anything is left that another try may deliver.

        What the destination refuses for good is an answer, and speaks for the destination.
        """
        with self._lock:
            self._probing = False
            if not delivery.retryable:
                self._failures = 0
                return
            self._failures += 1
            if self._failures >= self._settings.failures:
                self._closed_off_until = self._clock() + self._settings.open_s


class Circuits:
    """The circuits of all destinations, by name; threads may share them."""

    def __init__(
        self,
        settings: CircuitSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._circuits: dict[str, Circuit] = {}

    def of(self, name: str) -> Circuit:
        with self._lock:
            if name not in self._circuits:
                self._circuits[name] = Circuit(self._settings, self._clock)
            return self._circuits[name]
