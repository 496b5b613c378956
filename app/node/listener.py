"""The listener: Storage, Verification and Storage Commitment as SCP."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydicom import Dataset
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContextTuple

from app.errors import (
    InstanceMismatchError,
    ListenerError,
    StoreError,
)
from app.node.access import AccessRules, ListenerSettings, Rejection
from app.node.commitment_scp import SUCCESS, CommitmentScp
from app.node.dimse_client import Handler
from app.node.instance_store import InstanceStore
from app.node.metrics import NodeMetrics
from app.node.open_associations import OpenAssociation, OpenAssociations
from app.node.presentation import supported_contexts
from app.node.store_messages import StoreAnswer, StoreRequest
from app.node.stored import Origin, StoredInstance
from app.node.tls_server import ConnectionHandler, NodeServer, server_context
from app.outcomes import outcome_of

_LOGGER = logging.getLogger(__name__)

_OUT_OF_RESOURCES = 0xA700
_POLL_S = 0.1
_MOST_COMMENT_CHARACTERS = 64

Stored = Callable[[StoredInstance], None]
Closed = Callable[[tuple[str, ...]], None]
Admits = Callable[[Origin], bool]


class Listener:
    """Receives instances into a store.

    Parameters
    ----------
    settings
        Where to listen, and to whom.
    store
        Where instances go.
    on_stored
        Called with each stored instance before it is acknowledged, in the thread of its
        association; the same bytes again come with `is_new` False. To be quick.
    on_association_closed
        Called with the keys of the studies that an association sent a part of, once it has ended,
        however it ended.
    admits
        Whether a sender may send to the workflow it calls, besides the rules of `settings`.
    reports
        Handlers of the reports on storage commitment that peers bring.
    metrics
        Told of each association and instance.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        store: InstanceStore,
        *,
        on_stored: Stored | None = None,
        on_association_closed: Closed | None = None,
        admits: Admits | None = None,
        reports: Sequence[Handler] = (),
        metrics: NodeMetrics | None = None,
    ) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # they cost a third of the time, and quote identifiers
        self._settings = settings
        self._store = store
        self._on_stored = on_stored
        self._on_association_closed = on_association_closed
        self._admits = admits
        self._reports = reports
        self._metrics = metrics
        self._rules = AccessRules(settings)
        self._commitment = CommitmentScp(store, settings)
        self._server: NodeServer | None = None
        self._open = OpenAssociations(settings.max_associations)
        self._lock = threading.Lock()  # of the counts
        self._counts: Counter[str] = Counter()
        self._stopping = False

    # --- for the node

    def start(self) -> None:
        """Listen, in threads of its own.

        Raises
        ------
        ListenerError
            If the address or the certificates cannot be used.
        """
        settings = self._settings
        entity = ApplicationEntity(settings.ae_titles[0])
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.maximum_associations = 2**31  # counted here: pynetdicom counts silent ones too
        entity.acse_timeout = settings.handshake_timeout_s
        entity.network_timeout = settings.idle_timeout_s
        entity.dimse_timeout = settings.answer_timeout_s
        tls = None if settings.tls is None else server_context(settings.tls)
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_C_STORE, self._receive_slowly),
            (evt.EVT_N_ACTION, self._commit),
            *self._reports,
        ]
        try:
            server: Any = entity.make_server(
                (settings.bind_address, settings.port),
                contexts=supported_contexts(),
                evt_handlers=handlers,
                server_class=NodeServer,
                request_handler=ConnectionHandler,
                rules=self._rules,
                tls=tls,
                receive=self._receive,
                on_closed=self._close,
            )
        except OSError as exc:
            raise ListenerError(
                f"{settings.bind_address}:{settings.port} cannot be listened on: {exc.strerror}"
            ) from exc
        self._server = server
        threading.Thread(
            target=server.serve_forever, args=(_POLL_S,), name="listener", daemon=True
        ).start()
        _LOGGER.info("listening on %s:%d", settings.bind_address, self.port)

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise ListenerError("the listener has not been started")
        return int(self._server.server_address[1])

    def counts(self) -> Mapping[str, int]:
        """How many of what, since the start.

        Returns
        -------
        Mapping[str, int]
            `stored`, `repeated`, `bytes`, `refused` (instances), `associations`, `open`, and
            `rejected <reason>` (associations).
        """
        with self._lock:
            return {**self._counts, "open": len(self._open)}

    def stop(self, timeout_s: float) -> None:
        """Accept nothing more, let each association finish the instance at hand, and end it.

        Parameters
        ----------
        timeout_s
            Associations that take longer are cut off; what they were sending is not acknowledged.
        """
        if self._server is None:
            return
        deadline = time.monotonic() + timeout_s
        self._stopping = True
        self._commitment.stop()
        self._server.shutdown()
        self._open.end_all(deadline)

    def _count(self, what: str, how_many: int = 1) -> None:
        with self._lock:
            self._counts[what] += how_many

    # --- in the thread of an association

    def _admit(self, event: Event) -> None:
        """Accept or reject an association request."""
        association = event.assoc
        request: Any = association.requestor.primitive
        origin = Origin(
            request.called_ae_title.strip(),
            request.calling_ae_title.strip(),
            association.requestor.address,
        )
        rejection = self._rejection(origin)
        taken = self._open.add(association, origin) if rejection is None else None
        if taken is not None:
            self._store.open_association(taken.number)
            self._count("associations")
            if self._metrics is not None:
                self._metrics.association_opened()
            return
        rejection = rejection or Rejection.TOO_MANY
        self._count(f"rejected {rejection.name.lower()}")
        if self._metrics is not None:
            self._metrics.association_rejected(rejection.name.lower())
        _LOGGER.warning(
            "association of %r at %s to %r rejected: %s",
            origin.calling_ae,
            origin.address,
            origin.workflow,
            rejection.name.lower(),
        )
        association.acse.send_reject(*rejection.value)
        association.kill()

    def _rejection(self, origin: Origin) -> Rejection | None:
        if self._stopping:
            return Rejection.STOPPING
        rejection = self._rules.rejection(origin.workflow, origin.calling_ae)
        if rejection is None and self._admits is not None and not self._admits(origin):
            rejection = Rejection.CALLING_AE
        if rejection is None and not self._store.has_room():
            return Rejection.NO_ROOM
        return rejection

    def _receive_slowly(self, event: Event) -> Dataset:
        """Store an instance whose request pynetdicom read, and say how it went."""
        request: Any = event.request
        announced = StoreRequest(
            event.context.context_id,
            request.MessageID,
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
        )
        data = request.DataSet.getbuffer() if request.DataSet else memoryview(b"")
        answer = self._receive(event.assoc, announced, event.context, data)
        told = Dataset()
        told.Status = answer.status
        if answer.comment:
            told.ErrorComment = answer.comment
        return told

    def _receive(
        self,
        association: Association,
        request: StoreRequest,
        context: PresentationContextTuple,
        data: memoryview,
    ) -> StoreAnswer:
        """Store an instance and say how it went."""
        live = self._open[association]
        if self._stopping:
            if live.had_its_last:
                association.abort(block=False)
                return StoreAnswer(_OUT_OF_RESOURCES)
            live.had_its_last = True
        live.in_hand = True
        try:
            return self._store_one(live, request, context, data)
        finally:
            live.in_hand = False

    def _store_one(
        self,
        live: OpenAssociation,
        request: StoreRequest,
        context: PresentationContextTuple,
        data: memoryview,
    ) -> StoreAnswer:
        try:
            if request.SOPClassUID != context.abstract_syntax:
                raise InstanceMismatchError("SOP class of another presentation context")
            stored = self._store.receive(
                data,
                SOPClassUID=request.SOPClassUID,
                SOPInstanceUID=request.SOPInstanceUID,
                TransferSyntaxUID=str(context.transfer_syntax),
                origin=live.origin,
                association=live.number,
            )
        except StoreError as exc:
            return self._refused(exc, live)
        live.received[stored.study_key] += 1
        self._count("stored" if stored.is_new else "repeated")
        self._count("bytes", stored.size_bytes if stored.is_new else 0)
        if self._metrics is not None:
            self._metrics.instance_received(SUCCESS)
        if self._on_stored is not None:
            self._on_stored(stored)
        return StoreAnswer(SUCCESS)

    def _refused(self, error: StoreError, live: OpenAssociation) -> StoreAnswer:
        status = outcome_of(error).dimse_status
        live.refused += 1
        self._count("refused")
        if self._metrics is not None:
            self._metrics.instance_received(status)
        _LOGGER.error(
            "instance of %r at %s refused with 0x%04X: %s",
            live.origin.calling_ae,
            live.origin.address,
            status,
            error,
        )
        return StoreAnswer(status, str(error)[:_MOST_COMMENT_CHARACTERS])

    def _commit(self, event: Event) -> tuple[int, None]:
        return self._commitment.handle(event, self._open[event.assoc].origin)

    # --- in the thread of its connection, when it has ended

    def _close(self, association: Association) -> None:
        live = self._open.remove(association)
        if live is None:
            return
        if self._metrics is not None:
            self._metrics.association_ended("released" if association.is_released else "aborted")
        keys = self._store.close_association(live.number)
        for key in keys:
            self._store.audit.append(
                "received",
                key,
                workflow=live.origin.workflow,
                calling_ae=live.origin.calling_ae,
                address=live.origin.address,
                instances=live.received[key],
                released=association.is_released,
            )
        if live.refused:
            self._store.audit.append(
                "refused",
                workflow=live.origin.workflow,
                calling_ae=live.origin.calling_ae,
                address=live.origin.address,
                instances=live.refused,
            )
        if keys and self._on_association_closed is not None:
            self._on_association_closed(keys)
