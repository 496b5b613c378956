"""Storage commitment, push model, as service class user (PS3.4 annex J).

The peer promises to keep instances: we ask by N-ACTION, it reports by N-EVENT-REPORT, on the same
association or, hours later if it likes, on one that it opens to our listener. Reports come to a
`CommitmentInbox`; `commitment_listener` is a listener for nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ssl import SSLContext

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from app.errors import AssociationError
from app.node.delivery import FileResult, meaning_of_status
from app.node.destinations import DimseDestination
from app.node.dimse_client import Handler, associated, context_of, listening

_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
_REQUEST_COMMITMENT = 1
_SUCCESS, _INVALID_ARGUMENT = 0x0000, 0x0115
_LISTENER_TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """What a peer answered to one request.

    Parameters
    ----------
    TransactionUID
        Of the request.
    committed
        SOPInstanceUIDs that the peer promises to keep.
    failed
        Reason of failure (PS3.3 C.14.1.1) by SOPInstanceUID.
    unanswered
        SOPInstanceUIDs that no report named.
    text
        Why there was no report; empty where there was one.
    """

    TransactionUID: str
    committed: frozenset[str] = frozenset()
    failed: dict[str, int] = field(default_factory=dict)
    unanswered: frozenset[str] = frozenset()
    text: str = ""

    @property
    def complete(self) -> bool:
        """Whether the peer promised all that it was asked for."""
        return not self.failed and not self.unanswered

    def reasons(self) -> dict[str, str]:
        """Why each instance is not committed, in words, by SOPInstanceUID."""
        words = {
            uid: f"not committed: {meaning_of_status(code).text} ({code:#06x})"
            for uid, code in self.failed.items()
        }
        missing = f"not committed: {self.text or 'the report does not name it'}"
        return {**words, **dict.fromkeys(self.unanswered, missing)}


@dataclass(frozen=True)
class _Report:
    committed: frozenset[str]
    failed: dict[str, int]


class CommitmentInbox:
    """Where reports of commitment arrive, and are waited for; threads may share it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reports: dict[str, _Report | None] = {}

    def handlers(self) -> list[Handler]:
        """For an association, or a listener, that reports may come over."""
        return [(evt.EVT_N_EVENT_REPORT, self.receive)]

    @contextmanager
    def expecting(self, TransactionUID: str) -> Iterator[None]:
        """Take the report of a request, from before it goes out until nobody waits any more."""
        with self._changed:
            self._reports[TransactionUID] = None
        try:
            yield
        finally:
            with self._changed:
                del self._reports[TransactionUID]

    def receive(self, event: Event) -> tuple[int, None]:
        """Handle an N-EVENT-REPORT; one that answers no request is refused."""
        report = event.event_information
        transaction = str(report.get("TransactionUID", ""))
        committed = frozenset(
            str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence") or ()
        )
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0x0110)
            for item in report.get("FailedSOPSequence") or ()
        }
        with self._changed:
            if transaction not in self._reports:
                return _INVALID_ARGUMENT, None
            self._reports[transaction] = _Report(committed - failed.keys(), failed)
            self._changed.notify_all()
        return _SUCCESS, None

    def wait(
        self, TransactionUID: str, timeout_s: float, while_: Callable[[], bool] = lambda: True
    ) -> bool:
        """Wait until the report is there, the time is up, or `while_` is no longer true."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while self._reports.get(TransactionUID) is None:
                left = until - time.monotonic()
                if left <= 0 or not while_():
                    return False
                self._changed.wait(min(left, 0.2))  # `while_` changes without notice
            return True

    def report(self, TransactionUID: str) -> _Report | None:
        """The report of an expected request, where it has come."""
        with self._changed:
            return self._reports.get(TransactionUID)


def request_commitment(
    results: Sequence[FileResult],
    destination: DimseDestination,
    inbox: CommitmentInbox,
    TransactionUID: str | None = None,
) -> Commitment:
    """Ask for commitment of what was delivered, and await the report.

    Parameters
    ----------
    results
        Of the delivery; what was not delivered is left out. The caller checks
        `destination.commitment`.
    destination
        Its `commitment_timeout_s` limits the wait.
    inbox
        That of our listener, for peers that report on an association of their own.
    TransactionUID
        A new one where None. It must never be used twice with one peer.

    Returns
    -------
    Commitment
        For each instance; never an error because of the peer.

    Raises
    ------
    PeerSettingsError
        If the TLS files cannot be used.
    """
    wanted = {r.SOPInstanceUID: r.SOPClassUID for r in results if r.delivered}
    transaction = TransactionUID or generate_uid(prefix=None)
    if not wanted:
        return Commitment(TransactionUID=transaction)
    text = ""
    with inbox.expecting(transaction):
        until = time.monotonic() + destination.commitment_timeout_s
        try:
            _ask(wanted, destination, inbox, transaction)
            if not inbox.wait(transaction, max(0.0, until - time.monotonic())):
                text = f"no report within {destination.commitment_timeout_s:g} s"
        except AssociationError as exc:
            text = str(exc)
        report = inbox.report(transaction) or _Report(frozenset(), {})
    failed = {uid: code for uid, code in report.failed.items() if uid in wanted}
    committed = report.committed & wanted.keys()
    return Commitment(
        TransactionUID=transaction,
        committed=committed,
        failed=failed,
        unanswered=frozenset(wanted) - committed - failed.keys(),
        text=text,
    )


def _ask(
    wanted: dict[str, str], destination: DimseDestination, inbox: CommitmentInbox, transaction: str
) -> None:
    """Send the request, and leave its association open for the report for a while."""
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = [
        _reference(sop_class, uid) for uid, sop_class in wanted.items()
    ]
    context = context_of(StorageCommitmentPushModel, *_SYNTAXES)
    with associated(destination, [context], handlers=inbox.handlers()) as association:
        status, _ = association.send_n_action(
            request,
            _REQUEST_COMMITMENT,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        code = status.get("Status")
        if code is None:
            raise AssociationError(f"{destination}: N-ACTION not answered", retryable=True)
        if code != _SUCCESS:
            meaning = meaning_of_status(code)
            raise AssociationError(
                f"{destination}: N-ACTION refused: {meaning.text} ({code:#06x})",
                retryable=meaning.retryable,
            )
        linger_s = min(destination.commitment_linger_s, destination.commitment_timeout_s)
        inbox.wait(transaction, linger_s, lambda: association.is_established)


def _reference(SOPClassUID: str, SOPInstanceUID: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = SOPClassUID
    item.ReferencedSOPInstanceUID = SOPInstanceUID
    return item


def support_commitment_reports(ae: ApplicationEntity) -> None:
    """Let a listener accept associations on which peers report: they are the SCP there."""
    ae.add_supported_context(
        StorageCommitmentPushModel, list(_SYNTAXES), scu_role=True, scp_role=True
    )


@contextmanager
def commitment_listener(
    inbox: CommitmentInbox,
    ae_title: str,
    port: int,
    address: str = "",
    tls: SSLContext | None = None,
) -> Iterator[int]:
    """A listener for reports alone, for a program that has no other.

    Parameters
    ----------
    ae_title
        What we are called; associations for another are rejected.
    port
        0 takes any free one.
    address
        To listen on; all where empty.
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
    ae = ApplicationEntity(ae_title)
    ae.require_called_aet = True
    ae.maximum_associations = 10
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _LISTENER_TIMEOUT_S
    support_commitment_reports(ae)
    ae.add_supported_context(Verification)
    with listening(ae, address, port, inbox.handlers(), tls) as listened:
        yield listened
