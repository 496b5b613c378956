"""C-STORE to Orthanc and DCMTK, and what each answer of a peer means."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from app.errors import AssociationError
from app.node.delivery import FileHead, Verdict, read_head
from app.node.dimse_client import associated, context_of, echo
from app.node.sending import send, send_each
from tests.integration.node.sent import CLASSES, peer, verdicts

VERIFICATION = "1.2.840.10008.1.1"
LABELMAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"


def heads_of(paths: list[Path]) -> list[FileHead]:
    heads = [read_head(path) for path in paths]
    assert all(isinstance(head, FileHead) for head in heads)
    return heads


def test_series_and_segmentation_arrive_in_orthanc_as_one_study(orthanc: Any, study: Any) -> None:
    delivery = send(study.all, peer(orthanc.port, "ORTHANC"))
    assert delivery.delivered
    assert [result.code for result in delivery.results] == [0] * 6
    found = orthanc.get(f"studies/{study.StudyInstanceUID}/series?Modality=SEG")
    seg = pydicom.dcmread(study.seg)
    assert [item["0020000E"]["Value"] for item in found] == [[seg.SeriesInstanceUID]]
    (references,) = seg.ReferencedSeriesSequence
    instances = orthanc.instances(study.StudyInstanceUID)
    assert len(instances) == 6
    for item in references.ReferencedInstanceSequence:
        assert item.ReferencedSOPInstanceUID in instances


def test_sending_twice_leaves_one(orthanc: Any, study_maker: Any) -> None:
    study = study_maker("twice")
    first = send(study.all, peer(orthanc.port, "ORTHANC"))
    again = send(study.all, peer(orthanc.port, "ORTHANC"))
    assert first.delivered
    assert again.delivered
    assert len(orthanc.instances(study.StudyInstanceUID)) == 6


def test_what_was_acknowledged_before_is_not_sent_again(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    with scripted_scp(received.handlers(), CLASSES) as port:
        first = send(study.ct[:3], peer(port))
        second = send(study.all, peer(port), done=first.done)
        third = send(study.all, peer(port), done=first.done | second.done)
    assert second.delivered
    assert third.delivered
    assert len(received.uids) == len(set(received.uids)) == 6
    assert len(received.associations) == 2  # the third had nothing to send


def test_a_batch_is_one_association_and_each_result_is_told_at_once(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    told: list[tuple[str, int]] = []
    with scripted_scp(received.handlers(), CLASSES) as port:
        send(
            study.all,
            peer(port),
            on_result=lambda r: told.append((r.SOPInstanceUID, len(received.uids))),
        )
    assert received.associations == [1]
    assert told == [(uid, n) for n, uid in enumerate(received.uids, start=1)]


def test_the_bytes_go_out_as_they_are_stored(scripted_scp: Any, received: Any, study: Any) -> None:
    with scripted_scp(received.handlers(), CLASSES) as port:
        send(study.all, peer(port))
    for path, data in zip(study.all, received.data, strict=True):
        assert path.read_bytes().endswith(data)
        assert len(data) > 500


def test_a_peer_that_knows_implicit_vr_alone_gets_it(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    with scripted_scp(received.handlers(), CLASSES, [ImplicitVRLittleEndian]) as port:
        delivery = send([study.seg], peer(port))
    assert delivery.delivered
    original = pydicom.dcmread(study.seg)
    arrived = pydicom.dcmread(pydicom.filebase.DicomBytesIO(received.data[0]), force=True)
    assert arrived.PixelData == original.PixelData
    assert arrived.SegmentSequence[0].SegmentLabel == "Liver"
    assert len(arrived.PerFrameFunctionalGroupsSequence) == 3


def test_a_compressed_file_is_refused_where_its_syntax_is_not_taken(
    scripted_scp: Any, received: Any, study: Any, tmp_path: Path
) -> None:
    compressed = pydicom.dcmread(study.ct[0])
    compressed.file_meta.TransferSyntaxUID = JPEG2000Lossless
    compressed.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    compressed["PixelData"].is_undefined_length = True
    path = tmp_path / "j2k.dcm"
    compressed.save_as(path)
    plain = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    with scripted_scp(received.handlers(), CLASSES, plain) as port:
        delivery = send([path, study.ct[1]], peer(port))
    assert verdicts(delivery.results) == ["refused", "stored"]
    assert "transfer syntax not supported" in delivery.results[0].text
    assert not delivery.retryable


@pytest.mark.parametrize(
    ("status", "verdict", "retryable"),
    [
        (0xA700, "refused", True),
        (0xA7FF, "refused", True),
        (0xB000, "warning", False),
        (0xB007, "warning", False),
        (0xA900, "failed", False),
        (0xC123, "failed", False),
        (0x0122, "refused", False),
        (0x0110, "failed", True),
    ],
)
def test_each_status_is_taken_for_what_it_says(
    scripted_scp: Any, received: Any, study: Any, status: int, verdict: str, retryable: bool
) -> None:
    answers = received.handlers(lambda event, n: status if n == 2 else 0)
    with scripted_scp(answers, CLASSES) as port:
        delivery = send(study.ct[:3], peer(port))
    assert verdicts(delivery.results) == ["stored", verdict, "stored"]
    assert delivery.results[1].code == status
    assert delivery.retryable is retryable
    assert delivery.delivered is (verdict == "warning")
    assert f"{status:#06x}" in delivery.results[1].text


def test_storescp_refuses_a_class_that_it_does_not_know_and_takes_the_rest(
    start_storescp: Any, study: Any, tmp_path: Path
) -> None:
    odd = pydicom.dcmread(study.seg)
    odd.SOPClassUID = odd.file_meta.MediaStorageSOPClassUID = LABELMAP_CLASS
    odd.SOPInstanceUID = odd.file_meta.MediaStorageSOPInstanceUID = "2.25.777"
    odd.save_as(tmp_path / "odd.dcm")
    with start_storescp() as scp:
        delivery = send([*study.ct, tmp_path / "odd.dcm", study.seg], peer(scp.port))
        assert len(scp.files) == 6
    assert verdicts(delivery.results) == ["stored"] * 5 + ["refused", "stored"]
    assert "SOP class not supported" in delivery.results[5].text
    assert not delivery.retryable


def test_a_peer_that_accepts_no_context_refuses_for_good(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    with scripted_scp(received.handlers(), [VERIFICATION]) as port:
        delivery = send(study.all, peer(port))
    assert verdicts(delivery.results) == ["refused"] * 6
    assert not delivery.retryable
    assert "no presentation context accepted" in delivery.results[0].text


def test_nothing_is_sent_that_nobody_asks_to_be_told_of(faulty_scp: Any, study: Any) -> None:
    with faulty_scp() as pacs:
        results = send_each(heads_of(study.ct), peer(pacs.port))
        told = [next(results), next(results)]
        assert pacs.received.uids == [result.SOPInstanceUID for result in told]
        results.close()
        until = time.monotonic() + 10
        while pacs.open_associations and time.monotonic() < until:
            time.sleep(0.02)
        assert pacs.open_associations == 0
    assert len(pacs.received.uids) == 2
    assert list(send_each([], peer(pacs.port))) == []


class _NeverPauses(threading.Event):
    """Lets pynetdicom's thread go on at the moment in which it seems to have stopped."""

    def wait(self, timeout: float | None = None) -> bool:
        time.sleep(0.002)
        return True


def test_no_answer_is_lost_to_the_thread_of_the_upper_layer(scripted_scp: Any) -> None:
    model = StudyRootQueryRetrieveInformationModelFind

    def find(event: evt.Event) -> Any:
        for number in range(100):
            answer = Dataset()
            answer.QueryRetrieveLevel = "STUDY"
            answer.StudyInstanceUID = f"2.25.{number}"
            yield 0xFF00, answer

    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = ""
    with (
        scripted_scp([(evt.EVT_C_FIND, find)], [model]) as port,
        associated(peer(port), [context_of(model, ImplicitVRLittleEndian)]) as association,
    ):
        always = association._reactor_checkpoint
        association._reactor_checkpoint = _NeverPauses()
        statuses = [status.Status for status, _ in association.send_c_find(query, model)]
        association._reactor_checkpoint = always
    assert statuses == [0xFF00] * 100 + [0]


def test_a_caller_who_is_not_known_is_rejected_for_good(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    def configure(ae: AE) -> None:
        ae.require_calling_aet = ["FRIEND"]

    with scripted_scp(received.handlers(), CLASSES, configure=configure) as port:
        stranger = send([study.seg], peer(port))
        friend = send([study.seg], peer(port, calling_ae_title="FRIEND"))
    assert verdicts(stranger.results) == ["refused"]
    assert "rejected for good: Calling AE title not" in stranger.results[0].text
    assert not stranger.retryable
    assert friend.delivered


def test_small_packets_go_out_at_once(scripted_scp: Any) -> None:
    with (
        scripted_scp((), [VERIFICATION]) as port,
        associated(peer(port), [context_of(VERIFICATION, ImplicitVRLittleEndian)]) as association,
    ):
        connected = association.dul.socket.socket
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_echo_tells_who_is_there(scripted_scp: Any, new_port: Any) -> None:
    with scripted_scp((), [VERIFICATION]) as port:
        echo(peer(port))
    with pytest.raises(AssociationError, match="no connection") as caught:
        echo(peer(new_port()))
    assert caught.value.retryable


def test_what_is_no_dicom_file_fails_alone(
    scripted_scp: Any, received: Any, study: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    with scripted_scp(received.handlers(), CLASSES) as port:
        delivery = send([tmp_path / "notes.txt", tmp_path / "absent", study.seg], peer(port))
    assert verdicts(delivery.results) == ["failed", "failed", "stored"]
    assert not delivery.retryable
    assert delivery.results[2].verdict is Verdict.STORED
