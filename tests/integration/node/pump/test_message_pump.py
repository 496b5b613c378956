"""The listener with peers that write their PDUs themselves: as they please, and as none should."""

from __future__ import annotations

import random
import time

import pytest

from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from tests.integration.node.pump.raw_peer import (
    P_DATA,
    Peer,
    Start,
    echo,
    item,
    message,
    parts_of,
    pdu,
    stored,
)


def test_requests_are_taken_on_the_short_way(
    start: Start, store: InstanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "_receive_slowly", None)  # pynetdicom would answer 0xC002
    listener = start()
    peer = Peer(listener)
    for number in (1, 2, 3):
        peer.send(message(number))
        assert peer.status() == 0
    peer.release()
    assert stored(store, 1, 2, 3)


@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_matter_where_the_bytes_are_cut(
    start: Start, store: InstanceStore, seed: int
) -> None:
    cuts = random.Random(seed)
    peer = Peer(start())
    for number in (1, 2):
        data = message(number)
        while data:
            at = cuts.choice([1, 3, 5, 7, 100, 9_000])
            peer.send(data[:at])
            time.sleep(0.001)
            data = data[at:]
        assert peer.status() == 0
    peer.release()
    assert stored(store, 1, 2)


def test_many_items_of_a_message_may_share_a_pdu(start: Start, store: InstanceStore) -> None:
    peer = Peer(start())
    command, data = parts_of(1)
    peer.send(pdu(item(3, command), item(0, data[:900]), item(0, b""), item(0, data[900:5000])))
    peer.send(pdu(item(0, data[5000:20_000])), pdu(item(0, data[20_000:36_000])))
    peer.send(pdu(item(0, data[36_000:]), item(2, b"")))
    assert peer.status() == 0
    peer.release()
    assert stored(store, 1)


def test_a_message_that_begins_in_the_pdu_where_another_ends_is_taken(
    start: Start, store: InstanceStore
) -> None:
    peer = Peer(start())
    (command, data), (next_command, next_data) = parts_of(1, 5000), parts_of(2, 5000)
    peer.send(pdu(item(3, command), item(2, data), item(3, next_command)), pdu(item(2, next_data)))
    assert [peer.status(), peer.status()] == [0, 0]
    peer.send(pdu(item(3, command), item(2, data)) + echo())
    assert [peer.status(), peer.status()] == [0, 0]
    peer.release()
    assert {n for n in (1, 2) if store.find(f"1.2.3.1.{n}", "VISCERA")} == {1, 2}


def test_a_command_in_fragments_is_left_to_pynetdicom_and_stored(
    start: Start, store: InstanceStore
) -> None:
    peer = Peer(start())
    command, data = parts_of(1)
    peer.send(pdu(item(1, command[:50])), pdu(item(3, command[50:]), item(0, data[:10_000])))
    peer.send(pdu(item(0, data[10_000:25_000])), pdu(item(2, data[25_000:])))
    assert peer.status() == 0
    peer.send(message(2))
    assert peer.status() == 0
    peer.release()
    assert stored(store, 1, 2)


def test_other_messages_may_come_between(start: Start, store: InstanceStore) -> None:
    peer = Peer(start())
    for number in (1, 2, 3):
        peer.send(echo())
        assert peer.status() == 0
        peer.send(message(number))
        assert peer.status() == 0
    peer.release()
    assert stored(store, 1, 2, 3)


@pytest.mark.parametrize("longest", [0, 64, 128])
def test_the_answer_keeps_to_the_longest_pdu_of_the_peer(start: Start, longest: int) -> None:
    peer = Peer(start(), longest)
    peer.send(message(1))
    kind, content = peer.read()
    assert kind == P_DATA
    assert not longest or len(content) <= longest


def test_an_empty_data_set_is_refused(start: Start, store: InstanceStore) -> None:
    peer = Peer(start())
    peer.send(pdu(item(3, parts_of(1)[0]), item(2, b"")))
    assert peer.status() == 0xC000
    peer.send(message(2))
    assert peer.status() == 0
    peer.release()
    assert stored(store, 2)
