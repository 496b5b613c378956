"""Storage commitment with Orthanc, which reports on a new association, and with scripted peers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from app.errors import AssociationError
from app.node.commitment_scu import CommitmentInbox, commitment_listener, request_commitment
from app.node.delivery import FileResult, Verdict
from app.node.destinations import DimseDestination
from app.node.sending import send

NO_SUCH_INSTANCE = 0x0112


def peer(port: int, ae_title: str = "PACS", **settings: Any) -> DimseDestination:
    return DimseDestination(
        ae_title=ae_title, host="127.0.0.1", port=port, commitment=True, **settings
    )


def stored(*uids: str) -> list[FileResult]:
    return [
        FileResult(
            path=Path(f"{uid}.dcm"),
            SOPInstanceUID=uid,
            SOPClassUID=CTImageStorage,
            verdict=Verdict.STORED,
            retryable=False,
            text="stored",
        )
        for uid in uids
    ]


def test_orthanc_commits_to_what_it_has_and_names_what_it_has_not(orthanc: Any, study: Any) -> None:
    destination = peer(orthanc.port, "ORTHANC")
    inbox = CommitmentInbox()
    delivery = send(study.all, destination)
    with commitment_listener(inbox, "VISCERA", orthanc.viscera_port, "127.0.0.1"):
        commitment = request_commitment(delivery.results, destination, inbox)
        assert commitment.complete
        assert commitment.committed == delivery.done
        assert len(commitment.committed) == 6

        results = [*delivery.results, *stored("2.25.404")]
        mixed = request_commitment(results, destination, inbox)
    assert not mixed.complete
    assert mixed.committed == delivery.done
    assert mixed.failed == {"2.25.404": NO_SUCH_INSTANCE}
    assert mixed.unanswered == frozenset()
    assert "0x0112" in mixed.reasons()["2.25.404"]


def test_without_a_listener_nothing_counts_as_committed(orthanc: Any, study: Any) -> None:
    destination = peer(orthanc.port, "ORTHANC", commitment_timeout_s=1, commitment_linger_s=0.1)
    delivery = send(study.ct, destination)
    commitment = request_commitment(delivery.results, destination, CommitmentInbox())
    assert not commitment.complete
    assert commitment.unanswered == delivery.done
    assert commitment.text == "no report within 1 s"


def _information(transaction: str, good: list[str], bad: dict[str, int]) -> Dataset:
    def item(uid: str) -> Dataset:
        reference = Dataset()
        reference.ReferencedSOPClassUID = SegmentationStorage
        reference.ReferencedSOPInstanceUID = uid
        return reference

    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = [item(uid) for uid in good]
    failures = []
    for uid, reason in bad.items():
        failures.append(item(uid))
        failures[-1].FailureReason = reason
    if failures:
        information.FailedSOPSequence = failures
    return information


class Archive:
    """Answers an N-ACTION as told, and reports on the association that asked."""

    def __init__(self, status: int = 0, bad: dict[str, int] | None = None) -> None:
        self.status, self.bad = status, bad or {}
        self.asked: list[Dataset] = []
        self.report_status: list[int | None] = []
        self.reported = threading.Event()

    def handlers(self, reporting: bool = True) -> list[Any]:
        def act(event: evt.Event) -> tuple[int, None]:
            self.asked.append(event.action_information)
            if reporting and self.status == 0:
                threading.Thread(target=self.report, args=[event.assoc]).start()
            return self.status, None

        return [(evt.EVT_N_ACTION, act)]

    def report(self, association: Any, transaction: str = "") -> None:
        asked = self.asked[-1]
        uids = [item.ReferencedSOPInstanceUID for item in asked.ReferencedSOPSequence]
        information = _information(
            transaction or asked.TransactionUID,
            [uid for uid in uids if uid not in self.bad],
            self.bad,
        )
        status, _ = association.send_n_event_report(
            information,
            2 if self.bad else 1,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        self.report_status.append(status.get("Status"))
        self.reported.set()


def both_roles(ae: AE) -> None:
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)


def test_a_report_on_the_same_association_is_taken(scripted_scp: Any) -> None:
    archive = Archive(bad={"2.25.2": 0x0213})
    with scripted_scp(archive.handlers(), configure=both_roles) as port:
        results = stored("2.25.1", "2.25.2", "2.25.3")
        commitment = request_commitment(
            results, peer(port, commitment_linger_s=10), CommitmentInbox()
        )
        assert archive.reported.wait(10)
    assert commitment.committed == {"2.25.1", "2.25.3"}
    assert commitment.failed == {"2.25.2": 0x0213}
    assert archive.report_status == [0]
    (asked,) = archive.asked
    assert asked.ReferencedSOPSequence[0].ReferencedSOPClassUID == CTImageStorage


class _SlowInbox(CommitmentInbox):
    """Takes its time between telling who waits and answering the peer."""

    def receive(self, event: evt.Event) -> tuple[int, None]:
        answer = super().receive(event)
        time.sleep(0.3)
        return answer


def test_a_report_is_answered_before_its_association_is_released(scripted_scp: Any) -> None:
    archive = Archive()
    with scripted_scp(archive.handlers(), configure=both_roles) as port:
        destination = peer(port, commitment_linger_s=10)
        assert request_commitment(stored("2.25.1"), destination, _SlowInbox()).complete
        assert archive.reported.wait(10)
    assert archive.report_status == [0]


@pytest.mark.parametrize("with_role", [True, False])
def test_a_report_on_a_new_association_is_taken_and_a_stray_one_refused(
    scripted_scp: Any, with_role: bool
) -> None:
    archive = Archive()
    inbox = CommitmentInbox()
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if with_role else []

    def report_later(port: int, transaction: str = "") -> None:
        ae = AE("PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate("127.0.0.1", port, ae_title="VISCERA", ext_neg=roles or None)
        assert association.is_established
        if not with_role:  # as peers do that never negotiate roles
            for context in association.accepted_contexts:
                context._as_scp = True
        archive.report(association, transaction)
        association.release()

    with (
        scripted_scp(archive.handlers(reporting=False), configure=both_roles) as port,
        commitment_listener(inbox, "VISCERA", 0, "127.0.0.1") as listening,
    ):
        timer = threading.Timer(0.5, report_later, [listening])
        timer.start()
        commitment = request_commitment(stored("2.25.1"), peer(port, commitment_linger_s=0), inbox)
        timer.join()
        report_later(listening, "2.25.999")
    assert commitment.complete
    assert commitment.committed == {"2.25.1"}
    assert archive.report_status == [0, 0x0115]


@pytest.mark.parametrize("status", [0x0110, 0x0122])
def test_a_request_that_is_refused_commits_nothing(scripted_scp: Any, status: int) -> None:
    archive = Archive(status)
    with scripted_scp(archive.handlers(), configure=both_roles) as port:
        commitment = request_commitment(stored("2.25.1"), peer(port), CommitmentInbox())
    assert not commitment.complete
    assert f"{status:#06x}" in commitment.text


def test_a_peer_that_knows_no_commitment_is_told_from_one_that_commits(
    scripted_scp: Any, received: Any
) -> None:
    with scripted_scp(received.handlers(), [CTImageStorage]) as port:
        commitment = request_commitment(stored("2.25.1"), peer(port), CommitmentInbox())
    assert commitment.unanswered == {"2.25.1"}
    assert "no presentation context accepted" in commitment.text


def test_what_was_not_delivered_is_not_asked_for(new_port: Callable[[], int]) -> None:
    commitment = request_commitment([], peer(new_port()), CommitmentInbox())
    assert commitment.complete
    assert commitment.committed == frozenset()


def test_a_port_that_is_taken_is_named(scripted_scp: Any) -> None:
    with (
        scripted_scp((), [CTImageStorage]) as port,
        pytest.raises(AssociationError, match=f"port {port} cannot be listened on"),
        commitment_listener(CommitmentInbox(), "VISCERA", port, "127.0.0.1"),
    ):
        pass
