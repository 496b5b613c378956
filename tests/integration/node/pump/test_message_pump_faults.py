"""The listener with peers that write PDUs as none should."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from app.node.instance_store import InstanceStore
from tests.integration.node.pump.raw_peer import (
    ABORT,
    ABORT_PDU,
    CT,
    ECHO,
    MAX_PDU,
    PROVIDER,
    REFUSED,
    RELEASE_PDU,
    RELEASED,
    Peer,
    Start,
    association_request,
    echo,
    item,
    message,
    parts_of,
    pdu,
    stored,
    wait_closed,
)

COMMAND, DATA = parts_of(2)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pdu(item(3, COMMAND, REFUSED)), id="context refused"),
        pytest.param(pdu(item(3, COMMAND, 99)), id="context never proposed"),
        pytest.param(pdu(item(3, COMMAND), item(0, DATA[:99], ECHO)), id="context changes"),
        pytest.param(pdu(item(3, COMMAND), item(3, COMMAND)), id="command inside a data set"),
        pytest.param(pdu(item(2, DATA[:99])), id="data set without command"),
        pytest.param(pdu(item(3, COMMAND), b"\0\0\0\1"), id="item cut off"),
        pytest.param(pdu(item(3, COMMAND), struct.pack(">LBB", 1, CT, 0)), id="item too short"),
        pytest.param(pdu(item(3, COMMAND), struct.pack(">LBB", 99, CT, 0)), id="item too long"),
        pytest.param(pdu(item(0, bytes(MAX_PDU))), id="longer than negotiated"),
        pytest.param(pdu(item(3, COMMAND[:30])), id="command cut off"),
        pytest.param(pdu(item(3, b"")), id="command without anything"),
        pytest.param(pdu(b"\0\0\0\1"), id="item without content"),
        pytest.param(b"\x04\0\xff\xff\xff\xff", id="four gigabytes"),
        pytest.param(b"\x09\0\0\0\0\4" + bytes(4), id="no PDU type"),
        pytest.param(association_request(0), id="association request"),
    ],
)
def test_what_makes_no_sense_is_aborted_by_the_provider(
    start: Start, store: InstanceStore, data: bytes
) -> None:
    listener = start()
    peer = Peer(listener)
    peer.send(message(1))
    assert peer.status() == 0
    peer.send(data)
    kind, content = peer.read()
    assert (kind, content[2]) == (ABORT, PROVIDER)
    peer.wire.close()
    wait_closed(listener)
    assert stored(store, 1)


def test_a_data_set_beyond_the_limit_is_aborted_before_it_ends(
    start: Start, store: InstanceStore
) -> None:
    listener = start(max_instance_bytes=30_000)
    peer = Peer(listener)
    with contextlib.suppress(ConnectionError):
        peer.send(message(1, size=2_000_000))
    assert peer.read()[0] in (ABORT, 0)  # the end, where what is still under way drops the answer
    wait_closed(listener)
    assert store.studies() == []


@pytest.mark.parametrize(
    ("ending", "answer", "released"),
    [(ABORT_PDU, 0, False), (RELEASE_PDU, RELEASED, True), (b"", 0, False)],
)
def test_what_ends_inside_an_instance_keeps_those_before(
    start: Start, store: InstanceStore, ending: bytes, answer: int, released: bool
) -> None:
    listener = start()
    peer = Peer(listener)
    peer.send(message(1))
    assert peer.status() == 0
    peer.send(pdu(item(3, COMMAND)), pdu(item(0, DATA[:10_000])), ending)
    if not ending:
        peer.wire.shutdown(socket.SHUT_WR)
    assert peer.read()[0] == answer
    peer.wire.close()
    wait_closed(listener)
    assert stored(store, 1)
    (event,) = store.audit.read(store.studies()[0].study_key)
    assert (event.details["instances"], event.details["released"]) == (1, released)


def test_a_peer_that_falls_silent_inside_an_instance_is_ended(
    start: Start, store: InstanceStore
) -> None:
    listener = start(idle_timeout_s=1)
    peer = Peer(listener)
    peer.send(message(1))
    assert peer.status() == 0
    peer.send(pdu(item(3, COMMAND)), pdu(item(0, DATA[:10_000])))
    assert peer.read()[0] == ABORT
    peer.wire.close()
    wait_closed(listener)
    assert stored(store, 1)


def test_random_bytes_neither_hang_nor_harm_the_listener(
    start: Start, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Valid messages with some of their bytes changed, doubled or gone, cut at random places."""
    died: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    listener = start(idle_timeout_s=2)
    for seed in range(120):
        chance = random.Random(seed)
        peer = Peer(listener)
        with contextlib.suppress(OSError):
            data = spoilt(message(seed, size=3000, step=1000) + echo() + RELEASE_PDU, chance)
            while data:
                at = chance.randint(1, 1500)
                peer.send(data[:at])
                data = data[at:]
            peer.wire.shutdown(socket.SHUT_WR)
            while peer.read()[0]:
                pass
        peer.wire.close()
    wait_closed(listener)
    assert [repr(thread.exc_value) for thread in died] == []
    entity = AE("AFTER")
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", listener.port, ae_title="VISCERA")
    assert association.send_c_echo().Status == 0
    association.release()
    assert listener.counts()["associations"] == 121
    for study in store.studies():
        assert all(one.path.is_file() for one in store.instances(study.study_key))


def spoilt(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        # most often in a header: those of the first PDUs, or of the last
        at = chance.choice([chance.randrange(260), len(made) - 1 - chance.randrange(160)])
        way = chance.randrange(4)
        if way == 0:
            made[at] = chance.randrange(256)
        elif way == 1:
            made[at] ^= 1 << chance.randrange(8)
        elif way == 2:
            del made[at : at + chance.randint(1, 8)]
        else:
            made[at:at] = chance.randbytes(chance.randint(1, 8))
    return bytes(made)
