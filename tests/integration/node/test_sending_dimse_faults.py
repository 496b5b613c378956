"""C-STORE to peers that are away, slow, busy or end in the middle."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from app.node.circuit import Circuits, CircuitSettings
from app.node.delivery import Delivery
from app.node.destinations import DimseDestination
from app.node.dimse_client import associated, context_of
from app.node.sending import send
from tests.integration.node.sent import CLASSES, peer, verdicts


def write_large(original: Path, path: Path, side: int) -> Path:
    """The same instance with `side` rows and columns of zeros."""
    image = pydicom.dcmread(original)
    image.Rows = image.Columns = side
    image.PixelData = bytes(side * side * 2)
    image.save_as(path)
    return path


def test_a_pacs_that_is_down_for_a_while_opens_its_circuit_alone_and_gets_all_when_it_is_back(
    faulty_scp: Any, study: Any
) -> None:
    now = [0.0]
    circuits = Circuits(CircuitSettings(failures=2, open_s=30), clock=lambda: now[0])

    def attempt(name: str, destination: DimseDestination, done: frozenset[str]) -> Delivery | None:
        circuit = circuits.of(name)
        if circuit.wait_s() > 0:
            return None
        delivery = send(study.all, destination, done=done)
        circuit.record(delivery)
        return delivery

    nothing: frozenset[str] = frozenset()
    with faulty_scp() as down, faulty_scp() as other:
        down.answer = lambda number: 0xA700 if number > 4 else 0
        first = attempt("down", peer(down.port), nothing)
        assert first is not None
        assert verdicts(first.results) == ["stored"] * 4 + ["refused"] * 2
        down.stop()
        second = attempt("down", peer(down.port), first.done)
        assert second is not None
        assert verdicts(second.results) == ["stored"] * 4 + ["failed"] * 2
        assert "no connection" in second.results[4].text
        assert second.retryable
        assert circuits.of("down").state == "open"
        assert attempt("down", peer(down.port), first.done) is None
        there = attempt("other", peer(other.port), nothing)
        assert there is not None
        assert there.delivered

        now[0] += 30
        down.answer = lambda number: 0
        down.start()
        last = attempt("down", peer(down.port), first.done)
        assert last is not None
        assert last.delivered
        assert circuits.of("down").state == "closed"
    # two were turned down the first time
    assert len(down.received.uids) == 8
    assert len(set(down.received.uids)) == 6


def test_a_host_that_does_not_exist_is_tried_again(study: Any) -> None:
    destination = DimseDestination(ae_title="PACS", host="nowhere.invalid", port=104)
    delivery = send([study.seg], destination)
    assert delivery.retryable
    assert verdicts(delivery.results) == ["failed"]
    impossible = DimseDestination(ae_title="PACS", host="x" * 64 + ".invalid", port=104)
    delivery = send([study.seg], impossible)
    assert not delivery.retryable
    assert verdicts(delivery.results) == ["refused"]


def _abort(event: evt.Event) -> None:
    event.assoc.abort()


def _close(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("end", [_abort, _close], ids=["abort", "close"])
def test_an_association_that_ends_in_a_store_leaves_the_rest_for_the_next_try(
    scripted_scp: Any, received: Any, study: Any, end: Any
) -> None:
    def answer(event: evt.Event, number: int) -> int:
        if number == 3:
            end(event)
        return 0

    with scripted_scp(received.handlers(answer), CLASSES) as port:
        first = send(study.all, peer(port))
        assert verdicts(first.results) == ["stored"] * 2 + ["failed"] * 4
        assert all(result.retryable for result in first.failures)
        assert [r.text.startswith("not sent") for r in first.failures] == [False, True, True, True]
        second = send(study.all, peer(port), done=first.done)
    assert second.delivered
    # the file without an answer went out twice, all others once
    assert sorted(map(received.uids.count, set(received.uids))) == [1, 1, 1, 1, 1, 2]


def test_a_connection_closed_inside_an_instance_costs_that_instance_one_more_try(
    faulty_scp: Any, study: Any, tmp_path: Path
) -> None:
    files = [study.ct[0], write_large(study.ct[1], tmp_path / "large.dcm", 1024), study.ct[2]]
    with faulty_scp(close_after_bytes=1_000_000) as pacs:
        first = send(files, peer(pacs.port))
        assert verdicts(first.results) == ["stored", "failed", "failed"]
        assert first.retryable
        assert pacs.received.uids == [first.results[0].SOPInstanceUID]
        pacs.close_after_bytes = 0
        second = send(files, peer(pacs.port), done=first.done)
    assert second.delivered
    assert len(pacs.received.uids) == len(set(pacs.received.uids)) == 3


def test_a_peer_that_does_not_answer_in_time_is_given_up(
    scripted_scp: Any, received: Any, study: Any
) -> None:
    finished = threading.Event()

    def answer(event: evt.Event, number: int) -> int:
        if number == 2:
            finished.wait(20)
        return 0

    with scripted_scp(received.handlers(answer), CLASSES) as port:
        delivery = send(study.all, peer(port, response_timeout_s=0.5))
        finished.set()
    assert verdicts(delivery.results) == ["stored"] + ["failed"] * 5
    assert delivery.retryable


def test_a_slow_peer_within_its_time_delivers(scripted_scp: Any, received: Any, study: Any) -> None:
    slow = threading.Event()

    def answer(event: evt.Event, number: int) -> int:
        slow.wait(0.3)
        return 0

    with scripted_scp(received.handlers(answer), CLASSES) as port:
        assert send(study.ct[:2], peer(port, response_timeout_s=10)).delivered


def test_a_peer_that_stops_reading_in_the_middle_of_a_file_is_given_up(
    start_storescp: Any, study: Any, tmp_path: Path
) -> None:
    large = write_large(study.ct[1], tmp_path / "large.dcm", 4096)
    with start_storescp("--ignore") as scp:
        # 32 MiB are given 0.5 s and 268 s more, but not a peer that takes nothing for 0.5 s
        delivery = send(
            [study.ct[0], large, study.seg],
            peer(scp.port, response_timeout_s=0.5),
            on_result=lambda result: scp.process.send_signal(signal.SIGSTOP),
        )
        scp.process.send_signal(signal.SIGCONT)
    assert verdicts(delivery.results) == ["stored", "failed", "failed"]
    assert delivery.retryable


def test_a_peer_that_never_answers_the_request_is_given_up(study: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        delivery = send([study.seg], peer(port, associate_timeout_s=0.5))
    assert verdicts(delivery.results) == ["failed"]
    assert delivery.retryable
    assert "not answered" in delivery.results[0].text


def test_a_peer_that_is_busy_is_tried_again(scripted_scp: Any, received: Any, study: Any) -> None:
    def configure(ae: AE) -> None:
        ae.maximum_associations = 1

    with scripted_scp(received.handlers(), CLASSES, configure=configure) as port:
        with associated(peer(port), [context_of(CTImageStorage, ExplicitVRLittleEndian)]):
            delivery = send([study.seg], peer(port))
        assert verdicts(delivery.results) == ["failed"]
        assert delivery.retryable
        assert "rejected for now" in delivery.results[0].text
