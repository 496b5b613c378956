"""What the listener refuses, and peers that say nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest
from pydicom import config
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import build_context

from tests.integration.node.listening import (
    Start,
    associate,
    ct,
    dcmtk,
    raw_association,
)


def test_what_cannot_be_decoded_or_is_no_storage_class_is_refused_in_negotiation(
    start: Start,
) -> None:
    node = start()
    association = associate(
        node,
        build_context(CTImageStorage, MPEG2MPML),
        build_context(MRImageStorage, [MPEG2MPML, ImplicitVRLittleEndian]),
        build_context("1.2.840.10008.5.1.4.1.2.2.1", ImplicitVRLittleEndian),
    )
    accepted = {
        (str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts
    }
    assert accepted == {(MRImageStorage, ImplicitVRLittleEndian)}
    assert {c.result for c in association.rejected_contexts} == {3, 4}
    association.release()


@pytest.mark.parametrize(
    ("called", "calling", "reason"),
    [("OTHER", "SCANNER", "called_ae"), ("VISCERA", "STRANGER", "calling_ae")],
)
def test_unknown_titles_are_rejected(start: Start, called: str, calling: str, reason: str) -> None:
    node = start(calling_ae_titles=("SCANNER",))
    association = associate(node, called=called, calling=calling)
    assert association.is_rejected
    assert association.acceptor.primitive.result == 1
    assert node.listener.counts()[f"rejected {reason}"] == 1
    assert associate(node).is_established


def test_addresses_outside_the_networks_get_no_answer(start: Start) -> None:
    node = start(networks=("10.0.0.0/8",))
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as wire:
        assert wire.recv(1) == b""
    assert not associate(node).is_established


def test_addresses_inside_the_networks_are_taken(start: Start) -> None:
    assert associate(start(networks=("10.0.0.0/8", "127.0.0.0/8"))).is_established


def test_too_many_associations_are_rejected_for_now(start: Start) -> None:
    node = start(max_associations=2)
    first, second = associate(node), associate(node)
    third = associate(node)
    assert third.is_rejected
    rejection = third.acceptor.primitive
    assert (rejection.result, rejection.result_source, rejection.diagnostic) == (2, 3, 2)
    first.release()
    second.release()
    until = time.monotonic() + 10
    while node.listener.counts()["open"] and time.monotonic() < until:
        time.sleep(0.02)
    assert associate(node).is_established


def test_above_the_watermark_associations_are_rejected_for_now(start: Start) -> None:
    association = associate(start(store={"min_free_bytes": 2**62}))
    assert association.is_rejected
    rejection = association.acceptor.primitive
    assert (rejection.result, rejection.result_source, rejection.diagnostic) == (2, 3, 1)


def test_without_room_an_instance_is_refused_as_out_of_resources(start: Start) -> None:
    node = start(store={"reserved_bytes": 2**62})
    association = associate(node)
    assert association.send_c_store(ct()).Status == 0xA700
    association.release()
    assert node.store.studies() == []
    assert node.listener.counts()["refused"] == 1


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "a.b.c"])
def test_a_hostile_instance_uid_is_refused_and_touches_no_file(
    start: Start, tmp_path: Path, uid: str
) -> None:
    node = start()
    association = associate(node)
    assert raw_association(association, ct(), uid) == 0xC000
    assert association.send_c_store(ct()).Status == 0
    association.release()
    assert list(tmp_path.rglob("*.dcm")) == [node.stored[0].path]


@pytest.mark.parametrize("uid", ["1." + "9" * 70, ""])
def test_an_instance_uid_of_an_impossible_length_is_never_acknowledged(
    start: Start, uid: str
) -> None:
    node = start()
    entity_association = associate(node)
    entity_association.dimse_timeout = 3
    with pytest.raises(AttributeError):  # no answer at all
        raw_association(entity_association, ct(), uid)
    entity_association.abort()
    assert node.store.studies() == []
    assert associate(node).is_established


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"StudyInstanceUID": ""}, 0xC000),
        ({"StudyInstanceUID": "../../x"}, 0xC000),
        ({"SeriesInstanceUID": "1" * 65}, 0xC000),
    ],
)
def test_an_instance_without_a_study_is_refused_with_the_reason(
    start: Start, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], status: int
) -> None:
    node = start()
    association = associate(node)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    answer = association.send_c_store(ct(**changes))
    association.release()
    assert answer.Status == status
    assert answer.ErrorComment == f"{next(iter(changes))} is not a UID"
    assert node.store.studies() == []


def test_an_instance_other_than_announced_is_refused(start: Start) -> None:
    node = start()
    association = associate(node)
    assert raw_association(association, ct(), "1.2.3.1.99") == 0xA900
    association.release()


def test_a_data_set_beyond_the_limit_ends_the_association(start: Start) -> None:
    node = start(max_instance_bytes=20_000)
    association = associate(node)
    assert association.send_c_store(ct(1)).Status == 0
    answer = association.send_c_store(ct(2, PixelData=bytes(600_000)))
    assert "Status" not in answer
    node.wait_closed()
    assert node.store.studies()[0].instances == 1


def test_a_pdu_that_claims_four_gigabytes_is_not_awaited(start: Start) -> None:
    node = start(handshake_timeout_s=60)
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as wire:
        wire.sendall(bytes.fromhex("0100fffffff0") + b"\0" * 100)
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(1) == b""


# --- connections that say nothing


def test_silent_connections_block_nobody_and_are_closed(start: Start) -> None:
    node = start(handshake_timeout_s=1, max_associations=2)
    silent = [socket.create_connection(("127.0.0.1", node.port), timeout=20) for _ in range(5)]
    assert dcmtk("echoscu", node).startswith("0\n")
    for wire in silent:
        assert wire.recv(1) == b""
        wire.close()


def test_a_connection_that_trickles_is_closed_too(start: Start) -> None:
    node = start(handshake_timeout_s=1)
    ended = threading.Event()
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as wire:
        wire.sendall(bytes.fromhex("010000000400"))
        for _ in range(100):
            try:
                wire.sendall(b"\0")
                wire.settimeout(0.1)
                if wire.recv(1) == b"":
                    ended.set()
                    break
            except TimeoutError:
                continue
            except OSError:
                ended.set()
                break
    assert ended.is_set()


def test_an_association_that_falls_silent_is_ended(start: Start) -> None:
    node = start(idle_timeout_s=1)
    association = associate(node)
    association.send_c_store(ct())
    node.wait_closed()
    assert node.store.studies()[0].instances == 1
