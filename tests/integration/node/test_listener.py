"""The listener with real senders: DCMTK's programs and pynetdicom."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import _config, build_context

from app.errors import ListenerError
from app.node.access import ListenerSettings
from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from app.node.presentation import decodable_syntaxes
from app.node.stored import study_key
from tests.integration.node.listening import (
    Start,
    associate,
    ct,
    data_set,
    dcmtk,
)


def test_dcmtk_sends_a_real_series_and_every_byte_is_stored(
    start: Start, shared_data: Path
) -> None:
    node = start()
    series = shared_data / "ct" / "c3l-00189"
    assert dcmtk("storescu", node, "-R", "+sd", series).startswith("0\n")
    node.wait_closed()
    sent = {dcmread(path).SOPInstanceUID: path for path in series.iterdir() if path.is_file()}
    (study,) = node.store.studies()
    assert study.instances == len(sent) == 35
    for stored in node.store.instances(study.study_key):
        original = dcmread(sent[stored.SOPInstanceUID])
        assert dcmread(stored.path) == original
    assert node.closed == [(study.study_key,)]
    (event,) = node.store.audit.read(study.study_key)
    assert (event.details["instances"], event.details["calling_ae"]) == (35, "STORESCU")


def test_every_decodable_syntax_is_taken_and_its_bytes_kept(
    start: Start, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # sent as the files have it
    node = start()
    folder = shared_data / "dicom_stress" / "transfer_syntaxes"
    sent = 0
    for path in sorted(folder.glob("CTImage*")):
        original = dcmread(path)
        syntax = original.file_meta.TransferSyntaxUID
        if syntax not in decodable_syntaxes():
            continue
        association = associate(node, build_context(original.SOPClassUID, syntax))
        status = association.send_c_store(path)
        association.release()
        assert status.Status == 0, syntax
        sent += 1
        kept = node.stored[-1]
        assert kept.TransferSyntaxUID == syntax
        assert data_set(kept.path) == data_set(path)
    assert sent >= 14


def test_four_senders_at_once_lose_nothing(start: Start) -> None:
    node = start()

    def send(sender: int) -> list[int]:
        association = associate(node, calling=f"SCANNER{sender}")
        statuses = [
            association.send_c_store(ct(100 * sender + number)).Status for number in range(15)
        ]
        association.release()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        statuses = [status for result in pool.map(send, range(4)) for status in result]
    node.wait_closed(4)
    assert statuses == [0] * 60
    study = node.store.study(study_key("VISCERA", "1.2.3"))
    assert study is not None
    assert study.instances == 60
    assert {origin.calling_ae for origin in study.origins} == {f"SCANNER{n}" for n in range(4)}


def test_interleaved_studies_on_one_association_are_kept_apart(start: Start) -> None:
    node = start()
    association = associate(node)
    for number in range(6):
        assert association.send_c_store(ct(number, study=f"1.2.{number % 2}")).Status == 0
    assert {study.open_associations for study in node.store.studies()} == {1}
    association.release()
    node.wait_closed()
    assert {study.StudyInstanceUID: study.instances for study in node.store.studies()} == {
        "1.2.0": 3,
        "1.2.1": 3,
    }
    assert {study.open_associations for study in node.store.studies()} == {0}
    assert set(node.closed[0]) == {study.study_key for study in node.store.studies()}


def test_an_aborted_association_keeps_what_was_acknowledged(start: Start) -> None:
    node = start()
    association = associate(node)
    for number in range(3):
        association.send_c_store(ct(number))
    association.abort()
    node.wait_closed()
    study = node.store.studies()[0]
    assert study.instances == 3
    (event,) = node.store.audit.read(study.study_key)
    assert event.details["released"] is False


def test_a_connection_that_breaks_inside_an_instance_keeps_those_before(start: Start) -> None:
    node = start()
    association = associate(node)
    association.send_c_store(ct(1))
    wire = association.dul.socket.socket
    wire.sendall(bytes.fromhex("040000010000") + b"\0" * 1000)  # a part of a PDU of 64 KiB
    wire.shutdown(socket.SHUT_RDWR)
    node.wait_closed()
    assert node.store.studies()[0].instances == 1


def test_the_called_title_names_the_workflow(start: Start) -> None:
    node = start(ae_titles=("VISCERA", "SPLEEN"))
    for called in ("VISCERA", "SPLEEN"):
        association = associate(node, called=called)
        association.send_c_store(ct())
        association.release()
    node.wait_closed(2)
    assert [study.workflow for study in node.store.studies()] == ["VISCERA", "SPLEEN"]


def test_the_same_instance_again_is_acknowledged_and_told_as_repeated(start: Start) -> None:
    node = start()
    association = associate(node)
    for _ in range(2):
        assert association.send_c_store(ct()).Status == 0
    association.release()
    assert [stored.is_new for stored in node.stored] == [True, False]
    assert node.listener.counts()["repeated"] == 1


def test_stopping_finishes_the_instance_at_hand_and_nothing_acknowledged_is_lost(
    start: Start,
) -> None:
    node = start()
    acknowledged: list[str] = []
    started = threading.Event()

    def send() -> None:
        association = associate(node)
        for number in range(2000):
            answer = association.send_c_store(ct(number)) if association.is_established else None
            if answer is None or answer.get("Status") != 0:
                break
            acknowledged.append(f"1.2.3.1.{number}")
            if number == 5:
                started.set()
        association.abort()

    sender = threading.Thread(target=send)
    sender.start()
    assert started.wait(20)
    idle = associate(node)
    node.listener.stop(10)
    sender.join(20)
    assert not sender.is_alive()
    assert not idle.is_established or idle.is_aborted or not idle.send_c_echo()
    assert node.listener.counts()["open"] == 0
    assert len(node.closed) >= 1
    assert len(acknowledged) < 2000
    assert all(node.store.find(uid, "VISCERA") for uid in acknowledged)
    assert associate(node).is_established is False


def test_stopping_cuts_off_a_peer_that_never_ends_its_instance(start: Start) -> None:
    node = start(idle_timeout_s=60)
    association = associate(node)
    association.send_c_store(ct(1))
    wire = association.dul.socket.socket
    wire.sendall(bytes.fromhex("040000010000") + b"\0" * 1000)
    began = time.monotonic()
    node.listener.stop(1)
    assert time.monotonic() - began < 20
    assert node.listener.counts()["open"] == 0
    assert node.store.studies()[0].instances == 1


def test_a_port_that_is_taken_is_told(start: Start, tmp_path: Path) -> None:
    node = start()
    store = InstanceStore(tmp_path / "other")
    with pytest.raises(ListenerError, match=str(node.port)):
        Listener(ListenerSettings(bind_address="127.0.0.1", port=node.port), store).start()
    store.close()
