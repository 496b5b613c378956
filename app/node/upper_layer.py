"""pynetdicom's socket and message provider, with the limits that they leave out."""

from __future__ import annotations

import logging
import queue
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider, _QueueItem
from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

_LOGGER = logging.getLogger(__name__)

#: Room for an association request with 128 contexts of many transfer syntaxes each.
_REQUEST_BYTES = 2**20
#: As much as is received before it is known what it is.
LOOK_AHEAD_BYTES = 4096
_LOOK_S = 0.05


class BoundedSocket(AssociationSocket):
    """Reads no longer PDU than was negotiated, whatever length it claims, and may look ahead."""

    most_bytes = _REQUEST_BYTES

    def __init__(self, assoc: Association, client_socket: socket.socket) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._ahead = memoryview(bytearray(2 * LOOK_AHEAD_BYTES))
        self._start = self._end = 0  # of what has been received ahead of its use
        self._poll: select.poll | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return self._start < self._end or super().ready

    def wait(self, bell: socket.socket, timeout_s: float) -> bool:
        """Wait until there is something to read, or somebody rings.

        Returns
        -------
        bool
            Whether there is something to read: the end of the connection, too.
        """
        peer = self._open_socket()
        if self._start < self._end or (isinstance(peer, ssl.SSLSocket) and peer.pending()):
            return True
        if self._poll is None:
            self._poll = select.poll()  # select.select takes no descriptor beyond 1023
            self._poll.register(peer, select.POLLIN)
            self._poll.register(bell, select.POLLIN)
        stirred = [descriptor for descriptor, _ in self._poll.poll(timeout_s * 1000)]
        if bell.fileno() in stirred:
            bell.recv(LOOK_AHEAD_BYTES)
        return peer.fileno() in stirred

    def look(self, count: int) -> memoryview:
        """Give the next bytes, at least `count` of them and at most 4096, and leave them there."""
        if self._start + count > len(self._ahead):
            self._move_to(0)
        while self._end - self._start < count:
            if self._start == self._end:
                self._start = self._end = 0
            self._end += self._receive(self._ahead[self._end : self._start + LOOK_AHEAD_BYTES])
        return self._ahead[self._start : self._end]

    def skip(self, count: int) -> None:
        """Leave bytes behind that were looked at."""
        self._start += count

    def put_back(self, data: bytes) -> None:
        """Let these few bytes come next."""
        self._move_to(len(data))
        self._ahead[: len(data)] = data
        self._start = 0

    def take_into(self, target: memoryview) -> None:
        """Fill a buffer with the next bytes."""
        filled = min(self._end - self._start, len(target))
        target[:filled] = self._ahead[self._start : self._start + filled]
        self._start += filled
        while filled < len(target):
            filled += self._receive(target[filled:])

    def recv(self, nr_bytes: int) -> bytearray:
        """Read this many bytes, fewer if the peer ends the connection."""
        if nr_bytes > self.most_bytes:
            raise OSError(f"expected a PDU of at most {self.most_bytes} bytes, found {nr_bytes}")
        data = bytearray(nr_bytes)
        view = memoryview(data)
        read = min(self._end - self._start, nr_bytes)
        view[:read] = self._ahead[self._start : self._start + read]
        self._start += read
        while read < nr_bytes:
            count = self._open_socket().recv_into(view[read:])
            if not count:
                break
            read += count
        view.release()
        del data[read:]
        return data

    def _receive(self, target: memoryview) -> int:
        count = self._open_socket().recv_into(target)
        if not count:
            raise OSError("the peer ended it")
        return count

    def _open_socket(self) -> socket.socket:
        if self.socket is None or self.socket.fileno() < 0:
            raise OSError("the connection is closed")
        return self.socket

    def _move_to(self, start: int) -> None:
        rest = bytes(self._ahead[self._start : self._end])
        self._ahead[start : start + len(rest)] = rest
        self._start, self._end = start, start + len(rest)


class NodeMessages(DIMSEServiceProvider):
    """Sends whole messages from any thread, and limits what is received.

    pynetdicom hands the parts of a message one by one to the lower layer, so that two threads
    would mix theirs; and it takes the next message that arrives, whichever it is, for the answer
    to an N-EVENT-REPORT.

    The thread of the association asks for messages without end, so it is made to wait for them.

    Parameters
    ----------
    assoc
        The association.
    max_instance_bytes
        A larger data set ends the association.
    """

    def __init__(self, assoc: Association, max_instance_bytes: int) -> None:
        super().__init__(assoc)
        self._max_instance_bytes = max_instance_bytes
        #: Held while the parts of a message are queued for the lower layer.
        self.sending = threading.Lock()
        #: Whether the lower layer itself has begun to receive a message.
        self.receiving = False
        self._answers: dict[int, queue.SimpleQueue[int]] = {}
        #: Called one by one, each when the answer to an N-ACTION has been sent.
        self.after_action: deque[Callable[[], None]] = deque()

    def is_idle(self) -> bool:
        """Whether no message is being received or waits to be handled."""
        return self.message is None and self.msg_queue.empty() and not self.receiving

    def wake(self) -> None:
        """Let the thread of the association look around."""
        self.msg_queue.put((None, None))

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Encode and send a message."""
        with self.sending:
            super().send_msg(primitive, context_id)
        if isinstance(primitive, N_ACTION) and self.after_action:
            self.after_action.popleft()()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message."""
        try:
            super().receive_primitive(primitive)
        except Exception as exc:  # of whatever kind a command set without sense leads to
            _LOGGER.warning(
                "association with %s aborted: message that cannot be decoded (%s)",
                self.assoc.requestor.address,
                type(exc).__name__,
            )
            self.dul.event_queue.put("Evt19")
            return
        data_set = None if self.message is None else self.message.data_set
        if data_set is not None and data_set.tell() > self._max_instance_bytes:
            data_set.truncate(0)
            self.dul.event_queue.put("Evt19")  # as for a PDU that makes no sense: abort

    def get_msg(self, block: bool = False) -> _QueueItem:
        """Take the next message but for answers to `report`, which go there."""
        try:
            wait_s = self.dimse_timeout if block else _LOOK_S
            context_id, message = self.msg_queue.get(timeout=wait_s)
        except queue.Empty:
            return None, None
        if isinstance(message, N_EVENT_REPORT) and not message.is_valid_request:
            answer = self._answers.pop(message.MessageIDBeingRespondedTo or 0, None)
            if answer is not None and message.Status is not None:
                answer.put(message.Status)
            return None, None
        return context_id, message  # type: ignore[return-value]

    def report(self, request: N_EVENT_REPORT, context_id: int, timeout_s: float) -> int | None:
        """Send an N-EVENT-REPORT while the peer may be sending something else.

        Returns
        -------
        int or None
            The status that the peer answers; None if it does not, or ends the association.
        """
        answer: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._answers[request.MessageID or 0] = answer
        self.send_msg(request, context_id)
        deadline = time.monotonic() + timeout_s
        while self.assoc.is_established and time.monotonic() < deadline:
            try:
                return answer.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
        return None
