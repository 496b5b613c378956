"""C-STORE requests and their answers as bytes (PS3.7 sections 6.3.1 and 9.3.1, PS3.8 9.3.5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ELEMENT = struct.Struct("<HHL")
_NUMBER = struct.Struct("<H")
#: PDU type, reserved, PDU length; item length, context, message control header (PS3.8 annex E.2).
_FRAGMENT = struct.Struct(">BBLLBB")

P_DATA_TF = 0x04
_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_NO_DATA_SET = 0x0101
_COMMAND, _LAST = 0x01, 0x02

# element numbers of group 0000 (PS3.7 annex E)
_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_PRIORITY = 0x0700
_COMMAND_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000


@dataclass(frozen=True)
class StoreRequest:
    """A request to store an instance.

    Parameters
    ----------
    context_id
        Of the presentation context it came by.
    message_id
        To be given in the answer.
    SOPClassUID, SOPInstanceUID
        What it announces, without padding; not checked.
    """

    context_id: int
    message_id: int
    SOPClassUID: str
    SOPInstanceUID: str


@dataclass(frozen=True)
class StoreAnswer:
    """What the sender is told: a status of PS3.4 table B.2-1, and why (64 characters)."""

    status: int
    comment: str = ""


def read_store_request(context_id: int, command: bytes) -> StoreRequest | None:
    """Read a command set, which is always implicit VR little endian.

    Returns
    -------
    StoreRequest or None
        None for any other message, and for a request that is not as the standard has it.
    """
    found = _elements(command)
    if _number(found, _COMMAND_FIELD) != _C_STORE_RQ:
        return None
    if _number(found, _COMMAND_DATA_SET_TYPE) in (None, _NO_DATA_SET):
        return None
    message_id = _number(found, _MESSAGE_ID)
    SOPClassUID = _text(found, _AFFECTED_SOP_CLASS_UID)
    SOPInstanceUID = _text(found, _AFFECTED_SOP_INSTANCE_UID)
    if message_id is None or _number(found, _PRIORITY) is None:
        return None
    if not SOPClassUID or not SOPInstanceUID:
        return None
    return StoreRequest(context_id, message_id, SOPClassUID, SOPInstanceUID)


def store_response(request: StoreRequest, answer: StoreAnswer, max_pdu_bytes: int) -> bytes:
    """Make the PDUs of the answer to a request.

    Parameters
    ----------
    request, answer
        What is answered, and how.
    max_pdu_bytes
        The longest that the peer takes; 0 for any length (PS3.8 annex D.1).
    """
    elements = [
        _element(_AFFECTED_SOP_CLASS_UID, _padded(request.SOPClassUID, b"\0")),
        _element(_COMMAND_FIELD, _NUMBER.pack(_C_STORE_RSP)),
        _element(_MESSAGE_ID_RESPONDED_TO, _NUMBER.pack(request.message_id)),
        _element(_COMMAND_DATA_SET_TYPE, _NUMBER.pack(_NO_DATA_SET)),
        _element(_STATUS, _NUMBER.pack(answer.status)),
    ]
    if answer.comment:
        elements.append(_element(_ERROR_COMMENT, _padded(answer.comment, b" ")))
    elements.append(_element(_AFFECTED_SOP_INSTANCE_UID, _padded(request.SOPInstanceUID, b"\0")))
    rest = b"".join(elements)
    command = _element(_GROUP_LENGTH, struct.pack("<L", len(rest))) + rest
    room = max(max_pdu_bytes - 6, 1) if max_pdu_bytes else len(command)
    return b"".join(
        _fragment(request.context_id, command[at : at + room], at + room >= len(command))
        for at in range(0, len(command), room)
    )


def _fragment(context_id: int, part: bytes, is_last: bool) -> bytes:
    control = _COMMAND | (_LAST if is_last else 0)
    length = len(part) + 2
    return _FRAGMENT.pack(P_DATA_TF, 0, length + 4, length, context_id, control) + part


def _elements(command: bytes) -> dict[int, bytes]:
    """The values of a command set by element number; none where it makes no sense."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(command):
        if at + 8 > len(command):
            return {}
        group, element, length = _ELEMENT.unpack_from(command, at)
        at += 8
        if group != 0 or at + length > len(command):
            return {}
        found[element] = command[at : at + length]
        at += length
    return found


def _number(found: dict[int, bytes], element: int) -> int | None:
    value = found.get(element, b"")
    return int(_NUMBER.unpack(value)[0]) if len(value) == _NUMBER.size else None


def _text(found: dict[int, bytes], element: int) -> str | None:
    value = found.get(element, b"")
    return value.decode("ascii").rstrip("\0 ") if value.isascii() else None


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)
