"""Storage commitment for senders that ask: which instances the node holds (PS3.4 annex J)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from app.errors import AppError, InstanceRefusedError
from app.node.access import ListenerSettings
from app.node.dimse_client import associated, context_of
from app.node.identifiers import checked_uid
from app.node.instance_store import InstanceStore
from app.node.stored import Origin
from app.node.upper_layer import NodeMessages

_LOGGER = logging.getLogger(__name__)

SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_NO_SUCH_INSTANCE = 0x0112
_INVALID_ARGUMENT = 0x0115
_CLASS_CONFLICT = 0x0119
_NO_SUCH_ACTION = 0x0123

_REQUEST_COMMITMENT = 1
_ALL_HELD, _SOME_MISSING = 1, 2

#: A sender that does not wait for the report closes its association within this time.
_RELEASE_S = 0.3
#: Pauses before each attempt on a new association.
_PAUSES_S = (0.0, 5.0, 30.0, 120.0)


@dataclass(frozen=True)
class Request:
    """What a sender asks about: its transaction, and (SOP class, SOP instance) of each object."""

    transaction: str
    references: tuple[tuple[str, str], ...]


class CommitmentScp:
    """Answers N-ACTION with N-EVENT-REPORT: on the same association if it stays open, else anew.

    Parameters
    ----------
    store
        Where the instances are.
    settings
        Where senders listen.
    """

    def __init__(self, store: InstanceStore, settings: ListenerSettings) -> None:
        self._store = store
        self._peers = {peer.ae_title: peer for peer in settings.commitment_peers}
        self._answer_timeout_s = settings.answer_timeout_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Begin no more attempts to report."""
        self._stopping.set()

    def handle(self, event: Event, origin: Origin) -> tuple[int, None]:
        """Take a request; the report follows once the answer to it has been sent."""
        if event.action_type != _REQUEST_COMMITMENT:
            return _NO_SUCH_ACTION, None
        try:
            request = read_request(event.action_information)
        except InstanceRefusedError as exc:
            _LOGGER.warning("commitment request of %s refused: %s", origin.calling_ae, exc)
            return _INVALID_ARGUMENT, None
        context_id = int(event.context.context_id)
        thread = threading.Thread(
            target=self._report,
            args=(event.assoc, context_id, request, origin),
            name="commitment",
            daemon=True,
        )
        messages = event.assoc.dimse
        assert isinstance(messages, NodeMessages)
        messages.after_action.append(thread.start)
        return SUCCESS, None

    def outcome(self, request: Request, workflow: str) -> tuple[int, Dataset]:
        """Look up each instance.

        Returns
        -------
        event_type : int
            1 if the workflow holds all of them, else 2.
        information : pydicom.Dataset
            Event Information with the lists (PS3.4 table J.3-2).
        """
        held, failed = [], []
        for SOPClassUID, SOPInstanceUID in request.references:
            item = Dataset()
            item.ReferencedSOPClassUID = SOPClassUID
            item.ReferencedSOPInstanceUID = SOPInstanceUID
            reason = self._why_not(SOPClassUID, SOPInstanceUID, workflow)
            if reason is None:
                held.append(item)
            else:
                item.FailureReason = reason
                failed.append(item)
        information = Dataset()
        information.TransactionUID = request.transaction
        if held:
            information.ReferencedSOPSequence = held
        if failed:
            information.FailedSOPSequence = failed
        return (_SOME_MISSING if failed else _ALL_HELD), information

    def _why_not(self, SOPClassUID: str, SOPInstanceUID: str, workflow: str) -> int | None:
        found = [one for one in self._store.find(SOPInstanceUID, workflow) if one.path.is_file()]
        if not found:
            return _NO_SUCH_INSTANCE
        if all(one.SOPClassUID != SOPClassUID for one in found):
            return _CLASS_CONFLICT
        return None

    # --- in a thread for each request

    def _report(
        self, association: Association, context_id: int, request: Request, origin: Origin
    ) -> None:
        event_type, information = self.outcome(request, origin.workflow)
        way = "the same association"
        status = self._report_here(association, context_id, event_type, information)
        if status != SUCCESS:
            way = "a new association"
            status = self._report_anew(origin, event_type, information)
        self._store.audit.append(
            "commitment",
            transaction=request.transaction,
            calling_ae=origin.calling_ae,
            held=len(information.get("ReferencedSOPSequence", ())),
            failed=len(information.get("FailedSOPSequence", ())),
            reported=way if status == SUCCESS else None,
        )
        if status != SUCCESS:
            _LOGGER.error(
                "commitment of transaction %s could not be reported to %s",
                request.transaction,
                origin.calling_ae,
            )

    def _report_here(
        self, association: Association, context_id: int, event_type: int, information: Dataset
    ) -> int | None:
        until = time.monotonic() + _RELEASE_S
        while association.is_established and time.monotonic() < until:
            time.sleep(0.02)
        messages = association.dimse
        if not association.is_established or not isinstance(messages, NodeMessages):
            return None
        context = association._accepted_cx[context_id]
        primitive = _event_report(event_type, information, context.transfer_syntax[0])
        return messages.report(primitive, context_id, self._answer_timeout_s)

    def _report_anew(self, origin: Origin, event_type: int, information: Dataset) -> int | None:
        peer = self._peers.get(origin.calling_ae)
        if peer is None:
            return None
        peer = peer.model_copy(update={"calling_ae_title": origin.workflow})
        context = context_of(
            StorageCommitmentPushModel, ExplicitVRLittleEndian, ImplicitVRLittleEndian
        )
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        for pause_s in _PAUSES_S:
            if self._stopping.wait(pause_s):
                break
            try:
                with associated(peer, [context], roles=[role]) as association:
                    answer, _ = association.send_n_event_report(
                        information,
                        event_type,
                        StorageCommitmentPushModel,
                        StorageCommitmentPushModelInstance,
                    )
            except (AppError, RuntimeError, ValueError) as exc:
                _LOGGER.warning("commitment report to %s failed: %s", peer, exc)
                continue
            if answer.get("Status") == SUCCESS:
                return SUCCESS
        return None


def read_request(information: Dataset) -> Request:
    """Read the Action Information of a request (PS3.4 table J.3-1).

    Raises
    ------
    InstanceRefusedError
        If it names no transaction or no instances, or a UID is none.
    """
    items: Sequence[Any] = information.get("ReferencedSOPSequence") or ()
    if not items:
        raise InstanceRefusedError("no ReferencedSOPSequence")
    return Request(
        _uid(information, "TransactionUID"),
        tuple(
            (_uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID"))
            for item in items
        ),
    )


def _uid(dataset: Dataset, keyword: str) -> str:
    return checked_uid(keyword, str(dataset.get(keyword, "")).encode())


def _event_report(event_type: int, information: Dataset, syntax: UID) -> N_EVENT_REPORT:
    request = N_EVENT_REPORT()
    request.MessageID = 1
    request.AffectedSOPClassUID = UID(StorageCommitmentPushModel)
    request.AffectedSOPInstanceUID = UID(StorageCommitmentPushModelInstance)
    request.EventTypeID = event_type
    encoded = encode(information, syntax.is_implicit_VR, syntax.is_little_endian)
    request.EventInformation = BytesIO(encoded or b"")
    return request
