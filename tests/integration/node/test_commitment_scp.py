"""Storage commitment, asked for by pynetdicom and by Orthanc."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from app.node.access import ListenerSettings
from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from app.node.store_disk import StoreSettings
from tests.integration.node.programs import program

WAIT_S = 30.0


class Reports:
    """Takes event reports, on whichever association they come."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.event_type = 0
        self.information = Dataset()
        self.by_requestor = False

    def take(self, event: Event) -> tuple[int, None]:
        self.event_type = event.event_type
        self.information = event.event_information
        self.by_requestor = event.assoc.is_requestor
        self.came.set()
        return 0, None

    def of(self, keyword: str) -> list[str]:
        return [item.ReferencedSOPInstanceUID for item in self.information.get(keyword, ())]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def report_port() -> int:
    return free_port()


@pytest.fixture
def listener(tmp_path: Path, report_port: int) -> Iterator[Listener]:
    store = InstanceStore(tmp_path / "state", StoreSettings(min_free_bytes=0, reserved_bytes=0))
    peers = [
        {"ae_title": title, "host": "127.0.0.1", "port": report_port}
        for title in ("SCANNER", "ORTHANC")
    ]
    settings = ListenerSettings.model_validate(
        {"bind_address": "127.0.0.1", "port": 0, "commitment_peers": peers}
    )
    listening = Listener(settings, store)
    listening.start()
    yield listening
    listening.stop(5)
    store.close()


def ct(number: int) -> Dataset:
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"1.2.3.1.{number}"
    image.PatientID = "X"
    image.StudyInstanceUID = "1.2.3"
    image.SeriesInstanceUID = "1.2.3.1"
    image.PixelData = bytes(100_000)
    image["PixelData"].VR = "OW"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def associate(listener: Listener, reports: Reports, calling: str = "SCANNER") -> Association:
    entity = AE(calling)
    contexts = [
        build_context(StorageCommitmentPushModel),
        build_context(CTImageStorage, ExplicitVRLittleEndian),
    ]
    return entity.associate(
        "127.0.0.1",
        listener.port,
        contexts=contexts,
        ae_title="VISCERA",
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.take)],
    )


def ask(association: Association, *references: tuple[str, str], action: int = 1) -> int:
    information = Dataset()
    information.TransactionUID = "2.25.1"
    information.ReferencedSOPSequence = []
    for SOPClassUID, SOPInstanceUID in references:
        item = Dataset()
        item.ReferencedSOPClassUID = SOPClassUID
        item.ReferencedSOPInstanceUID = SOPInstanceUID
        information.ReferencedSOPSequence.append(item)
    answer, _ = association.send_n_action(
        information, action, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    return int(answer.Status)


def numbers(*some: int) -> list[tuple[str, str]]:
    return [(CTImageStorage, f"1.2.3.1.{number}") for number in some]


def test_all_instances_are_reported_on_the_open_association(listener: Listener) -> None:
    reports = Reports()
    association = associate(listener, reports)
    for number in range(3):
        association.send_c_store(ct(number))
    assert ask(association, *numbers(0, 1, 2)) == 0
    assert reports.came.wait(WAIT_S)
    association.release()
    assert reports.by_requestor
    assert reports.event_type == 1
    assert reports.information.TransactionUID == "2.25.1"
    assert reports.of("ReferencedSOPSequence") == [uid for _, uid in numbers(0, 1, 2)]
    assert "FailedSOPSequence" not in reports.information


def test_missing_instances_are_listed_with_the_reason(listener: Listener) -> None:
    reports = Reports()
    association = associate(listener, reports)
    association.send_c_store(ct(0))
    association.send_c_store(ct(1))
    ask(association, *numbers(0, 7), (MRImageStorage, "1.2.3.1.1"))
    assert reports.came.wait(WAIT_S)
    association.release()
    assert reports.event_type == 2
    assert reports.of("ReferencedSOPSequence") == ["1.2.3.1.0"]
    failed = reports.information.FailedSOPSequence
    assert [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in failed] == [
        ("1.2.3.1.7", 0x0112),
        ("1.2.3.1.1", 0x0119),
    ]


def test_a_sender_that_closed_is_called_back(listener: Listener, report_port: int) -> None:
    reports = Reports()
    entity = AE("SCANNER")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", report_port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports.take)],
    )
    association = associate(listener, Reports())
    association.send_c_store(ct(0))
    ask(association, *numbers(0))
    association.release()
    assert reports.came.wait(WAIT_S)
    assert server is not None
    server.shutdown()
    assert not reports.by_requestor
    assert reports.of("ReferencedSOPSequence") == ["1.2.3.1.0"]


def test_a_sender_may_go_on_sending_while_it_waits(listener: Listener) -> None:
    reports = Reports()
    association = associate(listener, reports)
    association.send_c_store(ct(0))
    ask(association, *numbers(0))
    statuses = [association.send_c_store(ct(number)).Status for number in range(1, 40)]
    assert reports.came.wait(WAIT_S)
    assert association.send_c_store(ct(41)).Status == 0
    association.release()
    assert statuses == [0] * 39
    assert reports.of("ReferencedSOPSequence") == ["1.2.3.1.0"]


def test_each_transaction_gets_its_own_report(listener: Listener) -> None:
    reports = Reports()
    association = associate(listener, reports)
    association.send_c_store(ct(0))
    for expected, number in [(1, 0), (2, 5), (1, 0)]:
        reports.came.clear()
        ask(association, *numbers(number))
        assert reports.came.wait(WAIT_S)
        assert reports.event_type == expected
    association.release()


@pytest.mark.parametrize(
    ("references", "action", "status"),
    [([], 1, 0x0115), ([(CTImageStorage, "../x")], 1, 0x0115), (numbers(0), 2, 0x0123)],
)
def test_a_request_that_makes_no_sense_is_refused(
    listener: Listener, references: list[tuple[str, str]], action: int, status: int
) -> None:
    association = associate(listener, Reports())
    assert ask(association, *references, action=action) == status
    association.release()


def test_orthanc_gets_its_report(listener: Listener, report_port: int, tmp_path: Path) -> None:
    executable = program("Orthanc")
    association = associate(listener, Reports())
    for number in range(3):
        association.send_c_store(ct(number))
    association.release()
    http_port = free_port()
    (tmp_path / "orthanc.json").write_text(
        json.dumps(
            {
                "DicomPort": report_port,
                "DicomAet": "ORTHANC",
                "HttpPort": http_port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "StorageDirectory": str(tmp_path / "orthanc"),
                "DicomModalities": {"node": ["VISCERA", "127.0.0.1", listener.port]},
            }
        )
    )
    with (tmp_path / "orthanc.log").open("wb") as log:
        orthanc = subprocess.Popen([executable, tmp_path / "orthanc.json"], stdout=log, stderr=log)
    try:
        assert asked_by_orthanc(http_port, numbers(0, 1, 2)) == ("Success", [])
        assert asked_by_orthanc(http_port, numbers(0, 9)) == ("Failure", ["1.2.3.1.9"])
    finally:
        orthanc.terminate()
        orthanc.wait(20)


def asked_by_orthanc(port: int, references: list[tuple[str, str]]) -> tuple[str, list[str]]:
    instances = [
        {"SOPClassUID": SOPClassUID, "SOPInstanceUID": SOPInstanceUID}
        for SOPClassUID, SOPInstanceUID in references
    ]
    transaction = orthanc_says(
        port, "/modalities/node/storage-commitment", {"DicomInstances": instances}
    )["ID"]
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        report = orthanc_says(port, f"/storage-commitment/{transaction}")
        if report["Status"] != "Pending":
            return report["Status"], [one["SOPInstanceUID"] for one in report["Failures"]]
        time.sleep(0.1)
    raise AssertionError("Orthanc got no report")


def orthanc_says(port: int, path: str, content: object = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    until = time.monotonic() + WAIT_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, 10) as answer:
                return json.load(BytesIO(answer.read()))
        except ConnectionError:
            raise
        except urllib.error.URLError as exc:
            if time.monotonic() > until or not isinstance(exc.reason, ConnectionError):
                raise
            time.sleep(0.1)  # it is still starting
