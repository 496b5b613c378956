"""The associations that are open, and how they are brought to their end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from pynetdicom.association import Association

from app.node.stored import Origin
from app.node.upper_layer import NodeMessages

_LOOK_S = 0.02
#: For the threads of associations that were cut off to notice.
_CUT_OFF_S = 1.0


@dataclass(eq=False)
class OpenAssociation:
    """What is known of an open association.

    Parameters
    ----------
    number
        Its own since the start of the listener.
    origin
        Who opened it, and for which workflow.
    received
        Number of its instances by study key.
    refused
        Number of instances that were not stored.
    in_hand
        Whether one is being stored.
    had_its_last
        Whether one has been stored since the listener began to stop.
    """

    number: int
    origin: Origin
    received: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    in_hand: bool = False
    had_its_last: bool = False


class OpenAssociations:
    """All open associations. Any thread may use it.

    Parameters
    ----------
    most
        How many may be open at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[Association, OpenAssociation] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __getitem__(self, association: Association) -> OpenAssociation:
        return self._open[association]

    def add(self, association: Association, origin: Origin) -> OpenAssociation | None:
        """Take one in, or None if there are too many."""
        with self._lock:
            if len(self._open) >= self._most:
                return None
            taken = OpenAssociation(next(self._numbers), origin)
            self._open[association] = taken
            return taken

    def remove(self, association: Association) -> OpenAssociation | None:
        """Take one out; None if it was never taken in."""
        with self._lock:
            return self._open.pop(association, None)

    def end_all(self, deadline: float) -> None:
        """End each as soon as it has nothing in hand, and cut off the rest.

        Parameters
        ----------
        deadline
            By `time.monotonic`, when those that are still open are cut off.
        """
        while self._open and time.monotonic() < deadline:
            for association, known in self._snapshot():
                messages = association.dimse
                idle = isinstance(messages, NodeMessages) and messages.is_idle()
                if idle and not known.in_hand:
                    association.abort(block=False)
            time.sleep(_LOOK_S)
        for association, _ in self._snapshot():
            _cut_off(association)
        until = time.monotonic() + _CUT_OFF_S
        while self._open and time.monotonic() < until:
            time.sleep(_LOOK_S)

    def _snapshot(self) -> list[tuple[Association, OpenAssociation]]:
        with self._lock:
            return list(self._open.items())


def _cut_off(association: Association) -> None:
    """End an association whose thread may be waiting for its peer."""
    layer = association.dul.socket
    if layer is not None and layer.socket is not None:
        with contextlib.suppress(OSError):
            # of the plain socket: that of an SSLSocket would drop the state its thread works with
            socket.socket.shutdown(layer.socket, socket.SHUT_RDWR)
