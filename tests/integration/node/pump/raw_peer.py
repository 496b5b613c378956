"""A peer that writes its PDUs itself."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable
from io import BytesIO

from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, build_context
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.sop_class import Verification

from app.node.instance_store import InstanceStore
from app.node.listener import Listener

ECHO, CT, REFUSED = 1, 3, 5
ACCEPT, P_DATA, RELEASED, ABORT = 2, 4, 6, 7
RELEASE_PDU = bytes.fromhex("05000000000400000000")
ABORT_PDU = bytes.fromhex("07000000000400000000")
PROVIDER = 2  # source of an A-ABORT for what makes no sense (PS3.8 9.2, AA-8)
MAX_PDU = 16384
Pdu = tuple[int, bytes]
Start = Callable[..., Listener]


class Peer:
    """A sender with an open association."""

    def __init__(self, listener: Listener, longest: int = 0) -> None:
        self.wire = socket.create_connection(("127.0.0.1", listener.port), 20)
        self.wire.sendall(association_request(longest))
        assert self.read()[0] == ACCEPT

    def read(self) -> Pdu:
        """The next PDU; type 0 for the end of the connection."""
        with contextlib.suppress(ConnectionError):
            head = self._read(6)
            if len(head) == 6:
                return head[0], self._read(int.from_bytes(head[2:], "big"))
        return 0, b""

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (part := self.wire.recv(count - len(data))):
            data += part
        return data

    def status(self) -> int:
        """Status of the next message."""
        message = DIMSEMessage()
        done = False
        while not done:
            kind, content = self.read()
            assert kind == P_DATA
            pdu = P_DATA_TF()
            pdu.decode(struct.pack(">BxL", kind, len(content)) + content)
            done = message.decode_msg(pdu.to_primitive())
        return int(message.command_set.Status)

    def send(self, *data: bytes) -> None:
        self.wire.sendall(b"".join(data))

    def release(self) -> None:
        self.send(RELEASE_PDU)
        assert self.read()[0] == RELEASED
        self.wire.close()


def association_request(longest: int) -> bytes:
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "PEER", "VISCERA"
    contexts = [
        build_context(Verification, ImplicitVRLittleEndian),
        build_context(CTImageStorage, ExplicitVRLittleEndian),
        build_context("1.2.3.4", ExplicitVRLittleEndian),
    ]
    for context, number in zip(contexts, (ECHO, CT, REFUSED), strict=True):
        context.context_id = number
    request.presentation_context_definition_list = contexts
    maximum, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = longest
    implementation.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    request.user_information = [maximum, implementation]
    return bytes(A_ASSOCIATE_RQ(request).encode())


def parts_of(number: int, size: int = 40_000) -> tuple[bytes, bytes]:
    """Command set and data set of a C-STORE request."""
    image = Dataset()
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"1.2.3.1.{number}"
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    image.PixelData = random.Random(number).randbytes(size)
    image["PixelData"].VR = "OW"
    request = C_STORE()
    request.MessageID = number
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = image.SOPInstanceUID
    request.Priority = 2
    request.DataSet = BytesIO(encode(image, False, True) or b"")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    first = next(iter(message.encode_msg(CT, 2**20)))
    return bytes(first.presentation_data_value_list[0][1][1:]), request.DataSet.getvalue()


def item(control: int, data: bytes, context: int = CT) -> bytes:
    return struct.pack(">LBB", len(data) + 2, context, control) + data


def pdu(*items: bytes) -> bytes:
    content = b"".join(items)
    return struct.pack(">BxL", P_DATA, len(content)) + content


def message(number: int, size: int = 40_000, step: int = 10_000) -> bytes:
    command, data = parts_of(number, size)
    fragments = [data[at : at + step] for at in range(0, len(data), step)]
    return pdu(item(3, command)) + b"".join(
        pdu(item(2 if fragment is fragments[-1] else 0, fragment)) for fragment in fragments
    )


def echo() -> bytes:
    request = C_ECHO()
    request.MessageID = 77
    request.AffectedSOPClassUID = Verification
    made = C_ECHO_RQ()
    made.primitive_to_message(request)
    return b"".join(P_DATA_TF(part).encode() for part in made.encode_msg(ECHO, MAX_PDU))


def stored(store: InstanceStore, *numbers: int) -> bool:
    """Whether these are there, byte for byte, and nothing else is."""
    found = [store.find(f"1.2.3.1.{number}", "VISCERA") for number in numbers]
    return all(
        one and one[0].path.read_bytes().endswith(parts_of(number)[1])
        for one, number in zip(found, numbers, strict=True)
    ) and len(numbers) == sum(study.instances for study in store.studies())


def wait_closed(listener: Listener) -> None:
    until = time.monotonic() + 20
    while listener.counts()["open"] and time.monotonic() < until:
        time.sleep(0.02)
    assert listener.counts()["open"] == 0
