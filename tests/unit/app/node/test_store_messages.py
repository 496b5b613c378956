"""C-STORE messages as bytes, against pynetdicom's own."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF

from app.node.store_messages import (
    StoreAnswer,
    StoreRequest,
    read_store_request,
    store_response,
)

REQUEST = StoreRequest(5, 513, CTImageStorage, "1.2.3.45")


def command(**changes: object) -> bytes:
    request = C_STORE()
    request.MessageID = 513
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = "1.2.3.45"
    request.Priority = 2
    request.DataSet = BytesIO(b"\0\0")
    for keyword, value in changes.items():
        setattr(request, keyword, value)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    part = next(iter(message.encode_msg(5, 16384)))
    return bytes(part.presentation_data_value_list[0][1][1:])


def test_a_request_of_pynetdicom_is_read() -> None:
    moved = command(MoveOriginatorApplicationEntityTitle="ELSEWHERE", MoveOriginatorMessageID=7)
    assert read_store_request(5, command()) == REQUEST
    assert read_store_request(5, moved) == REQUEST


def test_other_messages_and_parts_of_requests_are_left_to_others() -> None:
    echo = C_ECHO()
    echo.MessageID = 1
    echo.AffectedSOPClassUID = "1.2.840.10008.1.1"
    message = C_ECHO_RQ()
    message.primitive_to_message(echo)
    part = next(iter(message.encode_msg(5, 16384)))
    assert read_store_request(5, part.presentation_data_value_list[0][1][1:]) is None
    whole = command()
    assert all(read_store_request(5, whole[:end]) is None for end in range(len(whole)))
    assert read_store_request(5, command(DataSet=None)) is None
    assert read_store_request(5, whole.replace(b"1.2.3.45", b"1.2.3.4\xff")) is None


@pytest.mark.parametrize("longest", [0, 16384, 64, 7])
def test_pynetdicom_reads_the_answer_however_short_its_pdus_are(longest: int) -> None:
    wire = store_response(REQUEST, StoreAnswer(0xA900, "not the instance announced"), longest)
    message = DIMSEMessage()
    done = False
    while wire:
        length = 6 + int.from_bytes(wire[2:6], "big")
        assert not longest or length - 6 <= longest
        pdu = P_DATA_TF()
        pdu.decode(wire[:length])
        done = message.decode_msg(pdu.to_primitive())
        wire = wire[length:]
    assert done
    assert message.context_id == 5
    told = message.message_to_primitive()
    assert (told.Status, told.MessageIDBeingRespondedTo) == (0xA900, 513)
    assert (told.AffectedSOPClassUID, told.AffectedSOPInstanceUID) == (CTImageStorage, "1.2.3.45")
    assert told.ErrorComment == "not the instance announced"
    assert message.command_set.CommandGroupLength == len(command_of(message))


def command_of(message: DIMSEMessage) -> bytes:
    """The command set behind its group length."""
    return message.encoded_command_set.getvalue()[12:]
