"""Peers written for the tests: they count what they receive, and fail as they are told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import CTImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.sop_class import Verification

from tests.integration.node.programs import free_port


@dataclass(frozen=True)
class Counted:
    """What a scripted peer received."""

    uids: list[str]
    data: list[bytes]
    associations: list[int]

    def handlers(self, answer: Callable[[evt.Event, int], int] = lambda event, n: 0) -> list[Any]:
        """Keeps the bytes, and answers `answer(event, number of the file from 1)`."""

        def store(event: evt.Event) -> int:
            self.uids.append(str(event.request.AffectedSOPInstanceUID))
            self.data.append(event.encoded_dataset(include_meta=False))
            return answer(event, len(self.uids))

        return [
            (evt.EVT_C_STORE, store),
            (evt.EVT_ACCEPTED, lambda event: self.associations.append(1)),
        ]


@dataclass
class FaultyScp:
    """A PACS that fails as it is told; what it is told may change while it runs.

    Parameters
    ----------
    port
        Stays the same through `stop` and `start`.
    classes
        SOP classes that it takes; others are refused in negotiation.
    answer
        From the number of a C-STORE, counted from 1, to its status.
    delay_s
        Before each answer.
    close_after_bytes
        The connection is closed when it has brought as many; 0 for never.
    close_instead
        Numbers of the C-STOREs that it takes, and closes the connection instead of an answer.
    tls
        For connections with TLS.
    received
        All that came, also what got no answer.
    """

    port: int = field(default_factory=free_port)
    classes: Sequence[str] = (CTImageStorage, SegmentationStorage, Verification)
    answer: Callable[[int], int] = lambda number: 0
    delay_s: float = 0.0
    close_after_bytes: int = 0
    close_instead: Collection[int] = ()
    tls: ssl.SSLContext | None = None
    received: Counted = field(default_factory=lambda: Counted([], [], []))

    def __post_init__(self) -> None:
        self._ae: AE | None = None
        self._bytes = 0
        self._stopping = threading.Event()

    def start(self) -> None:
        """Be there."""
        self._ae = AE("PACS")
        self._ae.maximum_pdu_size = 4096  # a small object, too, comes in several pieces
        self._stopping.clear()
        for sop_class in self.classes:
            self._ae.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)
        handlers = [*self.received.handlers(self._answer), (evt.EVT_DATA_RECV, self._count)]
        self._ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self.tls
        )

    def stop(self) -> None:
        """Be down: connections are refused, open associations aborted."""
        self._stopping.set()
        if self._ae is not None:
            self._ae.shutdown()
            self._ae = None

    @property
    def open_associations(self) -> int:
        return 0 if self._ae is None else len(self._ae.active_associations)

    def _answer(self, event: evt.Event, number: int) -> int:
        self._stopping.wait(self.delay_s)
        if number in self.close_instead:
            _close(event)
        return self.answer(number)

    def _count(self, event: evt.Event) -> None:
        self._bytes += len(event.data)
        if 0 < self.close_after_bytes <= self._bytes:
            _close(event)
            self._bytes = 0


def _close(event: evt.Event) -> None:
    """End the connection; what has come already is not read any more."""
    connection = event.assoc.dul.socket
    connection.recv = lambda size: b""
    connection.socket.shutdown(socket.SHUT_RDWR)
