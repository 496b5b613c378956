"""STOW-RS client (PS3.18 10.5).

The requests are built here and not by dicomweb-client: that one decodes and rewrites every data
set, sends larger ones in chunks, which older servers answer with 200 without storing anything, and
throws the answer of a 409 away, which says for each instance what became of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from app.errors import WebError
from app.node.delivery import (
    FileHead,
    FileResult,
    Verdict,
    failed,
    http_result,
    meaning_of_status,
    result_of,
)
from app.node.destinations import WebPeer
from app.node.web_client import WebClient, web_client

_BLOCK_BYTES = 2**18
#: Statuses whose body says what became of each instance (PS3.18 table 10.5.3-1).
_FOR_EACH_INSTANCE = (200, 202, 409)

_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"


def send_by_stow(heads: Sequence[FileHead], destination: WebPeer) -> Iterator[FileResult]:
    """Send files once, in requests of at most `request_bytes`, their bytes as they are stored.

    An instance counts as stored only where the answer names it so, and, where the destination is
    to confirm it, QIDO-RS finds it.

    Yields
    ------
    FileResult
        One for each file, as the requests are answered.

    Raises
    ------
    PeerSettingsError
        If certificates or secrets cannot be read.
    """
    with web_client(destination) as client:
        for batch in _batches(heads, destination.request_bytes):
            for result in _post(client, batch):
                yield _confirmed(client, result) if destination.confirm else result


class _Multipart:
    """A multipart/related body (RFC 2387) read from files as it is sent.

    It knows its length, so that it goes out with Content-Length instead of in chunks.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.boundary = secrets.token_hex(24)
        self._paths = paths
        self._head = f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._tail = f"--{self.boundary}--\r\n".encode()
        sizes = sum(path.stat().st_size for path in paths)
        self._length = sizes + len(paths) * (len(self._head) + 2) + len(self._tail)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        for path in self._paths:
            yield self._head
            with path.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    yield block
            yield b"\r\n"
        yield self._tail


def _batches(heads: Sequence[FileHead], most_bytes: int) -> Iterator[list[FileHead]]:
    batch: list[FileHead] = []
    filled = 0
    for head in heads:
        try:
            size = head.path.stat().st_size
        except OSError:
            size = 0  # its request says what is wrong
        if batch and filled + size > most_bytes:
            yield batch
            batch, filled = [], 0
        batch.append(head)
        filled += size
    if batch:
        yield batch


def _post(client: WebClient, heads: Sequence[FileHead]) -> Iterator[FileResult]:
    try:
        body = _Multipart([head.path for head in heads])
        form = f'multipart/related; type="application/dicom"; boundary={body.boundary}'
        headers = {"Content-Type": form, "Accept": "application/dicom+json"}
        response = client.post("studies", body, headers)
    except WebError as exc:
        yield from (failed(head, str(exc), retryable=exc.retryable) for head in heads)
        return
    except OSError as exc:
        text = f"a file of the request cannot be read: {exc.strerror or exc}"
        yield from (failed(head, text, retryable=False) for head in heads)
        return
    if len(heads) > 1 and _one_may_spoil_all(response):
        for head in heads:
            yield from _post(client, [head])
    elif response.status_code in _FOR_EACH_INSTANCE:
        yield from _read_answer(response, heads)
    elif 200 <= response.status_code < 300:
        text = f"expected HTTP 200, 202 or 409, found {response.status_code}"
        yield from (failed(head, text, retryable=True) for head in heads)
    else:
        yield from (http_result(head, response.status_code) for head in heads)


def _one_may_spoil_all(response: requests.Response) -> bool:
    """Whether a request was turned down as a whole for what a single file of it may be."""
    return response.status_code in (400, 413, 415, 422) or (
        response.status_code == 409 and _codes(response) == ({}, {})
    )


def _confirmed(client: WebClient, result: FileResult) -> FileResult:
    """The result, or a failure where the server does not find what it says it stored."""
    if not result.delivered:
        return result
    try:
        response = client.get(
            "instances", "application/dicom+json", {"SOPInstanceUID": result.SOPInstanceUID}
        )
        found = response.json() if response.status_code == 200 else []
        text = "" if found else "said to be stored, but QIDO-RS does not find it"
    except (WebError, ValueError):
        text = "said to be stored, but QIDO-RS could not be asked"
    if not text:
        return result
    return replace(result, verdict=Verdict.FAILED, retryable=True, text=text)


def _read_answer(response: requests.Response, heads: Sequence[FileHead]) -> Iterator[FileResult]:
    """Results from a Store Instances Response (PS3.18 I.2)."""
    stored, refused = _codes(response)
    for head in heads:
        uid = str(head.SOPInstanceUID)
        if uid in refused:
            code = refused[uid]
            if code is None:
                yield failed(head, "failed without a reason", retryable=False)
            elif meaning_of_status(code).verdict in (Verdict.STORED, Verdict.WARNING):
                yield failed(head, f"failed for the reason {code:#06x}", retryable=False)
            else:
                yield result_of(head, meaning_of_status(code), code)
        elif uid in stored:
            code = stored[uid]
            yield result_of(head, meaning_of_status(code), code)
        elif response.status_code == 409:
            yield http_result(head, 409)
        else:
            text = f"the answer (HTTP {response.status_code}) does not say that it was stored"
            yield failed(head, text, retryable=True)


def _codes(response: requests.Response) -> tuple[dict[str, int], dict[str, int | None]]:
    """By SOPInstanceUID: the warning or 0 of what was stored, the reason of what was not."""
    try:
        answer = response.json()
    except ValueError:
        return {}, {}
    answers = answer if isinstance(answer, list) else [answer]
    stored: dict[str, int] = {}
    refused: dict[str, int | None] = {}
    for part in answers:
        for item in _values(part, _REFERENCED_SOP_SEQUENCE):
            stored[_uid(item)] = _number(item, _WARNING_REASON) or 0
        for item in _values(part, _FAILED_SOP_SEQUENCE):
            refused[_uid(item)] = _number(item, _FAILURE_REASON)
    return stored, refused


def _values(item: Any, tag: str) -> list[Any]:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _uid(item: Any) -> str:
    return str(next(iter(_values(item, _REFERENCED_SOP_INSTANCE_UID)), ""))


def _number(item: Any, tag: str) -> int | None:
    value = next(iter(_values(item, tag)), None)
    return value if isinstance(value, int) else None
