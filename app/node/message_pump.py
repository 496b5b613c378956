"""pynetdicom's upper layer with a short way for the one message that comes by the thousand."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import cast

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContextTuple

from app.errors import InvalidPduError
from app.node.store_messages import (
    P_DATA_TF,
    StoreAnswer,
    StoreRequest,
    read_store_request,
    store_response,
)
from app.node.upper_layer import LOOK_AHEAD_BYTES, BoundedSocket, NodeMessages

_LOGGER = logging.getLogger(__name__)

#: State and events of PS3.8 section 9.2.
_ESTABLISHED = "Sta6"
_SEND_P_DATA, _CONNECTION_CLOSED, _INVALID_PDU = "Evt9", "Evt17", "Evt19"

_PDU = struct.Struct(">BxL")
_ITEM = struct.Struct(">LBB")
_COMMAND, _LAST = 0x01, 0x02
_WAIT_S = 0.5
_FIRST_BYTES = 2**16
#: A larger buffer is not kept for the next instance.
_MOST_KEPT_BYTES = 2**22

Receive = Callable[[Association, StoreRequest, PresentationContextTuple, memoryview], StoreAnswer]


class MessagePump(DULServiceProvider):
    """Takes C-STORE requests straight from the socket, and leaves all else to pynetdicom.

    Parameters
    ----------
    assoc
        The association.
    receive
        Stores an instance and says what its sender is told; called in the thread of this layer.
    max_pdu_bytes
        Longest P-DATA-TF that was negotiated; a longer one aborts the association.
    max_instance_bytes
        A larger data set aborts the association.

    Notes
    -----
    pynetdicom turns each PDU into objects, hands them from one thread to another and looks for
    the next one a thousand times a second, which takes far longer than to store an instance. Here
    the thread that owns the socket waits for it, and where the state machine stands at "ready for
    data transfer", the fragments of a C-STORE request go into a buffer, from there to `receive`,
    and its answer to the socket.

    All other PDUs, all other messages and requests in an unusual form stay where they are, for
    pynetdicom to read. What makes no sense becomes the event that it is to the state machine.
    """

    def __init__(
        self,
        assoc: Association,
        receive: Receive,
        *,
        max_pdu_bytes: int,
        max_instance_bytes: int,
    ) -> None:
        super().__init__(assoc)
        self.artim_timer.timeout = assoc.acse_timeout
        self._idle_timer.timeout = assoc.network_timeout
        self._receive = receive
        self._max_pdu_bytes = max_pdu_bytes
        self._max_instance_bytes = max_instance_bytes
        self._request: StoreRequest | None = None
        self._data = bytearray(_FIRST_BYTES)
        self._filled = 0
        self._is_storing = False
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)

    # --- from other threads

    def send_pdu(self, primitive: object) -> None:
        """Queue a primitive, and wake the thread that sends it."""
        super().send_pdu(primitive)  # type: ignore[arg-type]
        with contextlib.suppress(OSError):  # closed, or rung more often than heard
            self._ringer.send(b"\0")

    def idle_timer_expired(self) -> bool:
        """Whether the peer has been silent for too long, and not because it waits for the disk."""
        return not self._is_storing and super().idle_timer_expired()

    # --- in its own thread

    def run_reactor(self) -> None:
        """See the association to its end."""
        try:
            super().run_reactor()
        finally:
            self._bell.close()
            self._ringer.close()

    def _is_transport_event(self) -> bool:
        """Take what the peer sends until there is something for the state machine."""
        if self.state_machine.current_state != _ESTABLISHED or not self.assoc.is_established:
            return super()._is_transport_event()
        came = False
        while self.event_queue.empty() and self.to_provider_queue.empty():
            try:
                if not self._layer.wait(self._bell, _WAIT_S):
                    break
                came = True
                self._take_pdu()
            except InvalidPduError as exc:
                _LOGGER.warning("association with %s aborted: %s", self._peer, exc)
                self._drop()
                self.event_queue.put(_INVALID_PDU)
            except OSError as exc:
                _LOGGER.warning("connection with %s lost: %s", self._peer, exc)
                self._drop()
                self.event_queue.put(_CONNECTION_CLOSED)
            self._idle_timer.restart()
        return came

    def _take_pdu(self) -> None:
        kind, left = _PDU.unpack_from(self._layer.look(_PDU.size))
        if kind == P_DATA_TF and left > self._max_pdu_bytes:
            raise InvalidPduError(f"expected at most {self._max_pdu_bytes} bytes, found {left}")
        if kind == P_DATA_TF and self._request is not None:
            self._layer.skip(_PDU.size)
        elif kind == P_DATA_TF and self._messages.message is None and self._begins(left):
            assert self._request is not None
            left -= self._skip_command()
        else:
            self._drop()  # a message is cut off by whatever is not P-DATA-TF
            self._read_pdu_data()
            return
        self._take_fragments(left)

    def _begins(self, length: int) -> bool:
        """Whether a P-DATA-TF begins with a whole C-STORE request that can be taken here."""
        header = _PDU.size + _ITEM.size
        if length < _ITEM.size:
            return False
        item_length, context_id, control = _ITEM.unpack_from(self._layer.look(header), _PDU.size)
        if control & (_COMMAND | _LAST) != _COMMAND | _LAST:
            return False
        if not 2 <= item_length <= min(length - 4, LOOK_AHEAD_BYTES - header):
            return False
        end = header + item_length - 2
        request = read_store_request(context_id, bytes(self._layer.look(end)[header:end]))
        if request is None:
            return False
        if context_id not in self.assoc._accepted_cx:
            raise InvalidPduError(f"message in presentation context {context_id}, not accepted")
        self._request = request
        self._messages.receiving = True
        return True

    def _skip_command(self) -> int:
        """Leave the first item behind; returns its length with its header."""
        item_length, _, _ = _ITEM.unpack_from(self._layer.look(_PDU.size + _ITEM.size), _PDU.size)
        self._layer.skip(_PDU.size + 4 + item_length)
        return 4 + int(item_length)

    def _take_fragments(self, left: int) -> None:
        """Take the items of a P-DATA-TF, `left` bytes of it, up to the end of the data set."""
        request = cast(StoreRequest, self._request)
        while left:
            if left < _ITEM.size:
                raise InvalidPduError("P-DATA-TF ends inside an item")
            length, context_id, control = _ITEM.unpack_from(self._layer.look(_ITEM.size))
            self._layer.skip(_ITEM.size)
            if not 2 <= length <= left - 4:
                raise InvalidPduError(f"item of {length} bytes in a P-DATA-TF with {left} left")
            if control & _COMMAND or context_id != request.context_id:
                raise InvalidPduError("another message inside a C-STORE request")
            left -= 4 + length
            self._take_data(length - 2)
            if control & _LAST:
                if left:  # the next message has begun in the same PDU: make it one of its own
                    self._layer.put_back(_PDU.pack(P_DATA_TF, left))
                self._finish(request)
                return

    def _take_data(self, count: int) -> None:
        end = self._filled + count
        if end > self._max_instance_bytes:
            raise InvalidPduError(f"data set of more than {self._max_instance_bytes} bytes")
        if end > len(self._data):
            grown = bytearray(max(end, 2 * len(self._data)))
            grown[: self._filled] = memoryview(self._data)[: self._filled]
            self._data = grown
        self._layer.take_into(memoryview(self._data)[self._filled : end])
        self._filled = end

    def _finish(self, request: StoreRequest) -> None:
        """Store the instance that has arrived, and answer."""
        context = self.assoc._accepted_cx[request.context_id].as_tuple
        data = memoryview(self._data)[: self._filled]
        self._is_storing = True
        answer = self._receive(self.assoc, request, context, data)
        self._idle_timer.restart()
        self._is_storing = False
        messages = self._messages
        with messages.sending:
            # what other threads have begun to send comes first, whole
            while not self.to_provider_queue.empty() and isinstance(
                self.to_provider_queue.queue[0], P_DATA
            ):
                self.state_machine.do_action(_SEND_P_DATA)
            if self.to_provider_queue.empty() and self.assoc.is_established:
                self._layer.send(store_response(request, answer, messages.maximum_pdu_size))
        self._drop()

    def _drop(self) -> None:
        """Be ready for the next message."""
        self._request = None
        self._filled = 0
        if len(self._data) > _MOST_KEPT_BYTES:
            self._data = bytearray(_FIRST_BYTES)
        self._messages.receiving = False

    @property
    def _layer(self) -> BoundedSocket:
        return cast(BoundedSocket, self.socket)

    @property
    def _messages(self) -> NodeMessages:
        return cast(NodeMessages, self.assoc.dimse)

    @property
    def _peer(self) -> str:
        return str(self.assoc.requestor.address)
