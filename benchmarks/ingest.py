"""Instances per second into viscera and other receivers, in turn: ingest.py [ROUNDS] [SLICES]

Slices of a phantom are sent over 1, 4 and 8 associations at once, each to every receiver once a
round, so that a noisy machine is noisy for all. The sender has each message ready as bytes and only
writes them and waits for the answers; associations are open before the time is taken. TCP_NODELAY=1
is set for DCMTK and Orthanc: without it they wait 40 ms for each instance. viscera alone brings
every file to stable storage before it answers; `viscera without fsync` shows what that costs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import (
    AE,
    PYNETDICOM_IMPLEMENTATION_UID,
    AllStoragePresentationContexts,
    build_context,
    evt,
)
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.events import Event
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from models.phantom import make_phantom
from operators.ct_series import SeriesIdentity, write_ct_series

ROUNDS, SLICES = 5, 240
DIFFERENT = 12
ASSOCIATIONS = (1, 4, 8)
TITLE = "VISCERA"
CONTEXT = 1
PDU_BYTES = 131072
ACCEPTED = 0x02
#: The head of the user information item with the longest PDU (PS3.8 table D.1-1).
MAXIMUM_LENGTH = bytes.fromhex("51000004")
#: Status 0000 in a C-STORE response, and a release request.
STORED = bytes.fromhex("0000000902000000 0000")
RELEASE = bytes.fromhex("050000000004 00000000")
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}


# --- receivers, each in a process of its own


def receive_by_viscera(port: int, folder: Path) -> None:
    from app.node.access import ListenerSettings
    from app.node.instance_store import InstanceStore
    from app.node.listener import Listener
    from app.node.store_disk import StoreSettings

    store = InstanceStore(folder, StoreSettings(min_free_bytes=0, reserved_bytes=0))
    Listener(ListenerSettings(bind_address="127.0.0.1", port=port), store).start()


def receive_without_fsync(port: int, folder: Path) -> None:
    os.fsync = lambda fd: None
    receive_by_viscera(port, folder)


def receive_by_pynetdicom(port: int, folder: Path) -> None:
    """The recipe of its documentation: decode, and encode again."""

    def store(event: Event) -> int:
        image = event.dataset
        image.file_meta = event.file_meta
        image.save_as(folder / image.SOPInstanceUID, enforce_file_format=True)
        return 0

    entity = AE(TITLE)
    entity.supported_contexts = [*AllStoragePresentationContexts, build_context(Verification)]
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])


RECEIVERS = {
    "viscera": receive_by_viscera,
    "viscera without fsync": receive_without_fsync,
    "pynetdicom save_as": receive_by_pynetdicom,
}


def programs() -> dict[str, str]:
    """Receivers to compare with that are installed; pynetdicom brings a storescp of its own."""
    own = Path(sys.executable).parent
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if f and Path(f) != own]
    path = os.pathsep.join([*folders, "/usr/sbin"])
    found = {name: shutil.which(name, path=path) for name in ("storescp", "Orthanc")}
    return {name: place for name, place in found.items() if place is not None}


PROGRAMS = programs()


def command_of(receiver: str, port: int, folder: Path) -> list[str]:
    if receiver == "storescp":
        return [PROGRAMS["storescp"], "--fork", "-pdu", "131072", "-od", str(folder), str(port)]
    if receiver == "Orthanc":
        settings = {
            "DicomPort": port,
            "HttpServerEnabled": False,
            "StorageDirectory": str(folder),
            "OverwriteInstances": True,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        return [PROGRAMS["Orthanc"], str(folder / "orthanc.json")]
    return [sys.executable, __file__, "--receive", receiver, str(port), str(folder)]


@contextmanager
def running(receiver: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            command_of(receiver, port, Path(folder)),
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            yield port
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        echo = ["echoscu", "-aec", TITLE, "127.0.0.1", str(port)]
        done = subprocess.run(echo, env=ENVIRONMENT, capture_output=True)
        if not done.returncode:
            return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


# --- sending


def make_slices(count: int) -> list[tuple[str, bytes]]:
    """SOPInstanceUID and encoded data set of as many slices; their pixels recur."""
    phantom = make_phantom(0, spacing_mm=(5.0, 0.8, 0.8), shape=(DIFFERENT, 512, 512))
    with tempfile.TemporaryDirectory() as folder:
        write_ct_series(phantom.volume, Path(folder), SeriesIdentity(seed_text="ingest"))
        images = [dcmread(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    made = []
    for number in range(count):
        image = images[number % len(images)]
        image.SOPInstanceUID = f"{image.SeriesInstanceUID[:50]}.{number}"
        made.append((str(image.SOPInstanceUID), encode(image, False, True) or b""))
    return made


def messages(slices: list[tuple[str, bytes]], pdu_bytes: int) -> list[bytes]:
    """Each slice as the PDUs of a C-STORE request, none longer than the receiver takes."""
    made = []
    for SOPInstanceUID, data in slices:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID = CTImageStorage
        request.AffectedSOPInstanceUID = SOPInstanceUID
        request.Priority = 2
        request.DataSet = BytesIO(data)
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        message.context_id = CONTEXT
        parts = message.encode_msg(CONTEXT, pdu_bytes)
        made.append(b"".join(P_DATA_TF(part).encode() for part in parts))
    return made


def association_request() -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "BENCHMARK", TITLE
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    context.context_id = CONTEXT
    request.presentation_context_definition_list = [context]
    longest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    longest.maximum_length_received = PDU_BYTES
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    request.user_information = [longest, implementation]
    return bytes(A_ASSOCIATE_RQ(request).encode())


def exchange(wire: socket.socket, data: bytes) -> bytes:
    """Send PDUs and give the one that answers them."""
    wire.sendall(data)
    answer = b""
    while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
        part = wire.recv(2**16)
        if not part:
            raise ConnectionError("the receiver closed the connection")
        answer += part
    return answer


def associated(port: int) -> tuple[socket.socket, int]:
    """An open association, and the longest PDU that the receiver takes."""
    wire = socket.create_connection(("127.0.0.1", port), 60)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = exchange(wire, association_request())
    if answer[0] != ACCEPTED:
        raise ConnectionError("the receiver rejected the association")
    at = answer.rindex(MAXIMUM_LENGTH) + len(MAXIMUM_LENGTH)
    return wire, min(int.from_bytes(answer[at : at + 4], "big") or PDU_BYTES, PDU_BYTES)


def send(wire: socket.socket, share: list[bytes]) -> None:
    for message in share:
        if STORED not in exchange(wire, message):
            raise ConnectionError("the receiver refused an instance")


def rate(port: int, slices: list[tuple[str, bytes]], associations: int) -> float:
    """Instances per second over all associations."""
    opened = [associated(port) for _ in range(associations)]
    wires = [wire for wire, _ in opened]
    made = messages(slices, opened[0][1])
    shares = [made[part::associations] for part in range(associations)]
    with ThreadPoolExecutor(associations) as pool:
        began = time.perf_counter()
        list(pool.map(send, wires, shares))
        elapsed = time.perf_counter() - began
    for wire in wires:
        exchange(wire, RELEASE)
        wire.close()
    return len(slices) / elapsed


def main(rounds: int, slices: int) -> None:
    receivers = [*RECEIVERS, *PROGRAMS]
    rates: dict[tuple[str, int], list[float]] = {}
    made = make_slices(slices)
    for _ in range(rounds):
        for associations in ASSOCIATIONS:
            for receiver in receivers:
                with running(receiver) as port:
                    rates.setdefault((receiver, associations), []).append(
                        rate(port, made, associations)
                    )
    print(
        f"{rounds} rounds of {slices} slices; median of the instances per second, and of how many"
    )
    print("times as many viscera takes, with fsync and without, in the same round\n")
    print("| receiver |", " | ".join(f"{count} associations" for count in ASSOCIATIONS), "|")
    print("|---|" + "---|" * len(ASSOCIATIONS))
    for receiver in receivers:
        cells = [cell(rates, receiver, associations) for associations in ASSOCIATIONS]
        print(f"| {receiver} |", " | ".join(cells), "|")


def cell(rates: dict[tuple[str, int], list[float]], receiver: str, associations: int) -> str:
    theirs = rates[receiver, associations]
    ratios = [
        statistics.median(
            ours / other for ours, other in zip(rates[name, associations], theirs, strict=True)
        )
        for name in ("viscera", "viscera without fsync")
    ]
    return f"{statistics.median(theirs):.0f} ({ratios[0]:.2f}, {ratios[1]:.2f})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--receive"]:
        RECEIVERS[sys.argv[2]](int(sys.argv[3]), Path(sys.argv[4]))
        threading.Event().wait()
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(*(numbers + [ROUNDS, SLICES][len(numbers) :]))
