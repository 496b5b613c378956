"""A server whose connections neither block it nor each other, with TLS or without.

pynetdicom shakes hands inside the loop that accepts connections, so that one silent connection
keeps out everybody. Here each connection has a thread of its own from the start, and a time by
which it must have asked for an association.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from app.errors import ListenerError
from app.node.access import AccessRules, TlsServerSettings
from app.node.message_pump import MessagePump, Receive
from app.node.upper_layer import BoundedSocket, NodeMessages

_LOGGER = logging.getLogger(__name__)
#: For each association that may be open, so many connections may be about to ask for one.
_PENDING_PER_ASSOCIATION = 4


def server_context(settings: TlsServerSettings) -> ssl.SSLContext:
    """Make the TLS side of the server: TLS 1.2 or later, and senders must show a certificate.

    Raises
    ------
    ListenerError
        If a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
        context.load_verify_locations(settings.ca_file)
    except OSError as exc:  # ssl.SSLError is one
        raise ListenerError(
            f"TLS cannot be set up with {settings.certificate_file}, {settings.key_file} and"
            f" {settings.ca_file}: {exc}"
        ) from exc
    return context


class NodeServer(ThreadedAssociationServer):
    """Accepts connections; a thread for each shakes hands and sees its association to its end.

    Parameters
    ----------
    *args, **kwargs
        As pynetdicom's `AE.make_server` gives them.
    rules
        Who may connect, and the limits.
    tls
        For connections with TLS.
    receive
        Stores an instance; see `MessagePump`.
    on_closed
        Called with each association when it has ended, however it ended.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        *args: Any,
        rules: AccessRules,
        tls: ssl.SSLContext | None,
        receive: Receive,
        on_closed: Callable[[Association], None],
        **kwargs: Any,
    ) -> None:
        self.rules = rules
        self.receive = receive
        self.on_closed = on_closed
        self._tls = tls
        self._pending: dict[threading.Thread, tuple[socket.socket, float]] = {}
        super().__init__(*args, **kwargs)

    # --- in the thread that accepts connections

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is taken at all."""
        settings = self.rules.settings
        if not self.rules.allows_address(client_address[0]):
            _LOGGER.warning("connection from %s refused: not in the networks", client_address[0])
            return False
        if len(self._pending) >= _PENDING_PER_ASSOCIATION * settings.max_associations:
            _LOGGER.warning("connection from %s refused: too many at once", client_address[0])
            return False
        return True

    def service_actions(self) -> None:
        """End the connections that have not asked for an association in time."""
        super().service_actions()
        now = time.monotonic()
        for thread, (connection, deadline) in list(self._pending.items()):
            if now > deadline and self._pending.pop(thread, None) is not None:
                _LOGGER.warning("connection ended: no association request in time")
                self._end(connection)

    def shutdown(self) -> None:
        """Accept no more connections, and end those that have not asked for an association."""
        BaseServer.shutdown(self)  # pynetdicom's looks for the server in a list of its own
        self.server_close()
        for connection, _ in list(self._pending.values()):
            self._end(connection)

    # --- in the thread of a connection

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """See a connection from its handshake to its end."""
        thread = threading.current_thread()
        settings = self.rules.settings
        deadline = time.monotonic() + settings.handshake_timeout_s
        self._pending[thread] = (request, deadline)
        try:
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request.settimeout(settings.idle_timeout_s)
            if self._tls is not None:
                request = self._tls.wrap_socket(
                    request, server_side=True, do_handshake_on_connect=False
                )
                self._pending[thread] = (request, deadline)
                request.do_handshake()
            self.finish_request(request, client_address)
        except OSError as exc:
            _LOGGER.warning("connection from %s ended: %s", client_address[0], _reason(exc))
        finally:
            self._pending.pop(thread, None)
            self.shutdown_request(request)

    def asked(self, thread: threading.Thread) -> None:
        """Note that the connection of a thread has asked for an association."""
        self._pending.pop(thread, None)

    @staticmethod
    def _end(connection: socket.socket) -> None:
        """Wake the thread that waits for a connection; it closes it then."""
        with contextlib.suppress(OSError):
            # of the plain socket: that of an SSLSocket would drop the state its thread works with
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _reason(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate refused: {exc.verify_message}"
    return getattr(exc, "reason", None) or exc.strerror or type(exc).__name__


class ConnectionHandler(RequestHandler):
    """One connection: makes its association and stays until it has ended."""

    server: NodeServer

    def handle(self) -> None:
        """Run the association."""
        thread = threading.current_thread()
        association = self._create_association()
        association.bind(evt.EVT_REQUESTED, lambda event: self.server.asked(thread))
        association.bind(evt.EVT_FSM_TRANSITION, _wake)
        association.start()
        association.join()
        self.server.on_closed(association)

    def _create_association(self) -> Association:
        settings = self.server.rules.settings
        association = super()._create_association()
        association.dul = MessagePump(
            association,
            self.server.receive,
            max_pdu_bytes=settings.max_pdu_bytes,
            max_instance_bytes=settings.max_instance_bytes,
        )
        bounded = BoundedSocket(association, client_socket=self.request)
        bounded.most_bytes = max(bounded.most_bytes, settings.max_pdu_bytes)
        association.dul.socket = bounded
        association.dimse = NodeMessages(association, settings.max_instance_bytes)
        return association


def _wake(event: Event) -> None:
    """Tell the thread of an association that there is more than messages."""
    if event.next_state != event.current_state:
        messages = event.assoc.dimse
        assert isinstance(messages, NodeMessages)
        messages.wake()
