"""Associations that we request: timeouts, TLS, and why one did not come about."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider, _QueueItem
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from app.errors import AssociationError
from app.node.destinations import DimsePeer

MAX_PDU_BYTES = 131072
#: What one association can propose (PS3.8 9.3.2.2: odd numbers of one byte).
MOST_CONTEXTS = 128

Handler = tuple[Any, Callable[..., Any]]

_REJECTED_FOR_GOOD = 1
_LISTENER_TIMEOUT_S = 30.0
_CONTEXT_RESULTS = {
    1: "rejected by the user",
    2: "rejected without a reason",
    3: "SOP class not supported",
    4: "transfer syntax not supported",
}


def context_of(SOPClassUID: str, *TransferSyntaxUIDs: str) -> PresentationContext:
    """A presentation context to propose."""
    context = PresentationContext()
    context.abstract_syntax = SOPClassUID
    context.transfer_syntax = list(TransferSyntaxUIDs)
    return context


class _Answers(DIMSEServiceProvider):
    """Messages of an association that we requested: all are for whoever asked for something.

    pynetdicom's own thread looks for requests of the peer. Told to pause, it may still take one
    more message (3.0.4), and with it an answer: a file that was stored seems to be unanswered, a
    list of C-FIND is one short. Reports of storage commitment take another way.
    """

    def get_msg(self, block: bool = False) -> _QueueItem:
        """Take the next message; for pynetdicom's thread, which does not wait, there is none."""
        return super().get_msg(block=True) if block else (None, None)


@contextmanager
def associated(
    peer: DimsePeer,
    contexts: Sequence[PresentationContext],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[Handler] = (),
) -> Iterator[Association]:
    """An association with a peer, released at the end, aborted if the block raises.

    Parameters
    ----------
    contexts
        1 to 128 to propose.
    roles
        Roles to propose beyond the usual ones.
    handlers
        pynetdicom's events and what handles them.

    Raises
    ------
    AssociationError
        If there is no connection, the peer rejects or does not answer, or it accepts no context.
    PeerSettingsError
        If the TLS files cannot be used.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # they would write identifiers of patients into the log
    opened: list[bool] = []
    serving = threading.Lock()

    def on_open(event: Event) -> None:
        opened.append(True)
        prepare_socket(event, peer.response_timeout_s)
        event.assoc.dimse = _Answers(event.assoc)
        _serve_one_by_one(event.assoc, serving)

    ae = ApplicationEntity(peer.calling_ae_title)
    ae.connection_timeout = peer.connect_timeout_s
    ae.acse_timeout = peer.associate_timeout_s
    ae.dimse_timeout = peer.response_timeout_s
    ae.network_timeout = None  # dimse_timeout covers it, and knows the size of a file
    tls = peer.tls
    try:
        association = ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            max_pdu=MAX_PDU_BYTES,
            ext_neg=list(roles) or None,
            tls_args=None if tls is None else (tls.context(), peer.host),
            evt_handlers=[(evt.EVT_CONN_OPEN, on_open), *handlers],
        )
    except OSError as exc:
        raise AssociationError(
            f"{peer}: no connection: {exc.strerror or exc}", retryable=True
        ) from exc
    except UnicodeError as exc:  # of the host's name
        raise AssociationError(f"{peer}: no such host", retryable=False) from exc
    if not association.is_established:
        raise _why_not(association, peer, bool(opened))
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    with serving:
        association.release()


def _serve_one_by_one(association: Association, serving: threading.Lock) -> None:
    """Hold a lock while a request of the peer is served, which pynetdicom does in a thread.

    That thread and `release` write the same flag; without the lock a release could go out before
    the answer, or wait for ever.
    """
    serve = association._serve_request

    def serve_alone(message: Any, context_id: int) -> None:
        with serving:
            serve(message, context_id)

    association._serve_request = serve_alone  # type: ignore[assignment]


@contextmanager
def listening(
    ae: ApplicationEntity,
    address: str,
    port: int,
    handlers: Sequence[Handler],
    tls: SSLContext | None = None,
) -> Iterator[int]:
    """Listen for associations until the block ends; those still open then are aborted.

    Parameters
    ----------
    ae
        With the contexts and limits that it accepts.
    address
        To listen on; all where empty.
    port
        0 takes any free one.
    handlers
        pynetdicom's events and what handles them.
    tls
        A context for servers; None listens for plain connections.

    Yields
    ------
    int
        The port.

    Raises
    ------
    AssociationError
        If the port cannot be had.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    timeout_s = ae.network_timeout or _LISTENER_TIMEOUT_S

    def on_open(event: Event) -> None:
        prepare_socket(event, timeout_s)

    try:
        server = ae.start_server(
            (address, port),
            block=False,
            ssl_context=tls,
            evt_handlers=[(evt.EVT_CONN_OPEN, on_open), *handlers],
        )
    except OSError as exc:
        text = f"port {port} cannot be listened on: {exc.strerror or exc}"
        raise AssociationError(text, retryable=True) from exc
    try:
        yield server.server_address[1] if server is not None else port
    finally:
        ae.shutdown()


def prepare_socket(event: Event, timeout_s: float) -> None:
    """Send small packets at once, and give up a peer that stops reading.

    pynetdicom leaves Nagle's algorithm on, which with delayed acknowledgement costs about 40 ms
    for every message, and lets a send wait for ever.
    """
    wrapper = event.assoc.dul.socket
    if wrapper is not None and wrapper.socket is not None:
        wrapper.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapper.socket.settimeout(timeout_s)


def refusal_of(association: Association, SOPClassUID: str) -> str:
    """Why the peer accepted no context of a class, in words."""
    results = {
        context.result or 0
        for context in association.rejected_contexts
        if context.abstract_syntax == SOPClassUID
    }
    words = [_CONTEXT_RESULTS.get(result, f"result {result}") for result in sorted(results)]
    return ", ".join(words) or "not proposed"


def ended_text(association: Association) -> str:
    """Why no response came, in words; the association is over."""
    if association.acse.is_aborted("a-abort"):
        return "the association was aborted before an answer"
    return "no answer: the connection was closed or the time was up"


def echo(peer: DimsePeer) -> None:
    """Ask a peer whether it is there (C-ECHO, PS3.4 annex A).

    Raises
    ------
    AssociationError
        If it does not say so.
    """
    with associated(peer, [context_of(Verification, "1.2.840.10008.1.2")]) as association:
        status = association.send_c_echo()
    code = status.get("Status")
    if code != 0:
        said = "no answer" if code is None else f"status {code:#06x}"
        raise AssociationError(f"{peer}: C-ECHO failed: {said}", retryable=True)


def _why_not(association: Association, peer: DimsePeer, opened: bool) -> AssociationError:
    if not opened:
        secured = " or no TLS agreement" if peer.tls else ""
        return AssociationError(f"{peer}: no connection{secured}", retryable=True)
    answer = association.acceptor.primitive
    if answer is not None and association.is_rejected:
        for_good = answer.result == _REJECTED_FOR_GOOD
        kind = "for good" if for_good else "for now"
        return AssociationError(
            f"{peer}: association rejected {kind}: {answer.reason_str}", retryable=not for_good
        )
    if answer is not None and answer.result == 0 and not association.accepted_contexts:
        refused = {
            f"{context.abstract_syntax} ({_CONTEXT_RESULTS.get(context.result or 0, 'refused')})"
            for context in association.rejected_contexts
        }
        return AssociationError(
            f"{peer}: no presentation context accepted: {', '.join(sorted(refused))}",
            retryable=False,
        )
    return AssociationError(
        f"{peer}: connected, but the association was aborted or not answered", retryable=True
    )
