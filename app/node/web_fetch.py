"""Query and retrieve by QIDO-RS and WADO-RS (PS3.18 10.4 and 10.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from app.errors import FetchError, StudyNotFoundError, WebError
from app.node.destinations import WebPeer
from app.node.fetching import FetchedSeries, Intake, ListedSeries, StudyQuery, kept
from app.node.web_client import WebClient, web_client

_PAGE = 1000
_STUDY_INSTANCE_UID = "0020000D"
_SERIES_INSTANCE_UID = "0020000E"
_SOP_INSTANCE_UID = "00080018"
_SOP_CLASS_UID = "00080016"
_IDENTITY = (_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID, _SOP_INSTANCE_UID)
_ACCESSION_NUMBER = "00080050"
_MODALITY = "00080060"

#: As the archive holds it: servers otherwise decompress to Explicit VR Little Endian.
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PREFIX = slice(128, 132)


def fetch_by_web(query: StudyQuery, source: WebPeer, into: Path) -> list[FetchedSeries]:
    """As `app.node.fetching.fetch`: list by QIDO-RS, then one request for each instance."""
    with web_client(source) as client:
        listed = [
            series
            for study in _studies(client, query, source)
            for series in _series(client, study, source)
        ]
        if not listed:
            raise StudyNotFoundError(f"{source}: no such study, or nothing in it")
        intake = Intake(into, listed)
        return [_retrieve(client, series, source, intake) for series in listed]


def _studies(client: WebClient, query: StudyQuery, source: WebPeer) -> list[str]:
    keyword = "StudyInstanceUID" if query.StudyInstanceUID else "AccessionNumber"
    value = query.StudyInstanceUID or query.AccessionNumber
    tag = _STUDY_INSTANCE_UID if query.StudyInstanceUID else _ACCESSION_NUMBER
    found = _query(client, source, "studies", {keyword: value})
    # some servers ignore a key that they do not know, and answer with all studies
    return sorted(
        {_text(study, _STUDY_INSTANCE_UID) for study in found if _text(study, tag) == value}
    )


def _series(client: WebClient, StudyInstanceUID: str, source: WebPeer) -> Iterator[ListedSeries]:
    path = f"studies/{StudyInstanceUID}/series"
    found = {_text(item, _SERIES_INSTANCE_UID): item for item in _query(client, source, path, {})}
    for uid in sorted(found):
        images = _query(client, source, f"{path}/{uid}/instances", {})
        yield ListedSeries(
            StudyInstanceUID=StudyInstanceUID,
            SeriesInstanceUID=uid,
            Modality=_text(found[uid], _MODALITY),
            instances={
                _text(image, _SOP_INSTANCE_UID): UID(_text(image, _SOP_CLASS_UID))
                for image in images
            },
        )


def _query(
    client: WebClient, source: WebPeer, path: str, keys: dict[str, str]
) -> list[dict[str, Any]]:
    """All answers, page by page; servers limit what one answer holds."""
    answers: dict[tuple[str, ...], dict[str, Any]] = {}
    while True:
        page = _page(client, source, path, {**keys, "offset": str(len(answers))})
        known = len(answers)
        answers.update({tuple(_text(item, tag) for tag in _IDENTITY): item for item in page})
        if len(answers) == known:  # no more, or a server that begins anew every time
            return list(answers.values())


def _page(
    client: WebClient, source: WebPeer, path: str, keys: dict[str, str]
) -> list[dict[str, Any]]:
    response = client.get(path, "application/dicom+json", {**keys, "limit": str(_PAGE)})
    if response.status_code == 204:
        return []
    if response.status_code != 200:
        code = response.status_code
        raise FetchError(f"{source}: QIDO-RS answered HTTP {code}", retryable=code >= 500)
    try:
        items = response.json()
    except ValueError as exc:
        raise FetchError(f"{source}: QIDO-RS answered no JSON", retryable=False) from exc
    if not isinstance(items, list):
        raise FetchError(f"{source}: QIDO-RS answered no list", retryable=False)
    return [item for item in items if isinstance(item, dict)]


def _text(item: dict[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or [""]
    return str(values[0]).strip()


def _retrieve(
    client: WebClient, series: ListedSeries, source: WebPeer, intake: Intake
) -> FetchedSeries:
    failures: list[str] = []
    for uid in series.instances:
        path = (
            f"studies/{series.StudyInstanceUID}/series/{series.SeriesInstanceUID}/instances/{uid}"
        )
        try:
            text = kept(intake, uid, _instance(client, path, source))
        except (FetchError, WebError) as exc:
            text = str(exc)
        if text:
            failures.append(text)
    said = f"{len(failures)} instances failed, the first: {failures[0]}" if failures else ""
    return intake.result(series, said)


def _instance(client: WebClient, path: str, source: WebPeer) -> bytes:
    """The bytes of one DICOM file, as the server holds it."""
    response = client.get(path, _ACCEPT)
    if response.status_code != 200:
        code = response.status_code
        raise FetchError(f"{source}: WADO-RS answered HTTP {code}", retryable=code >= 500)
    data = _only_part(response.content, response.headers.get("Content-Type", ""))
    if data[_PREFIX] != b"DICM":
        raise FetchError(f"{source}: WADO-RS answered no DICOM file", retryable=False)
    return data


def _only_part(body: bytes, content_type: str) -> bytes:
    """The first part of a multipart body (RFC 2046 5.1), or a body that is none."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str):
        return body
    delimiter = re.escape(b"--" + boundary.encode("latin-1"))
    opening = re.search(rb"(?:\A|\r\n)" + delimiter + rb"[ \t]*\r\n", body)
    if opening is None:
        return b""
    # a part without headers begins with the empty line itself
    start = body.find(b"\r\n\r\n", opening.end() - 2) + 4
    end = body.rfind(b"\r\n--" + boundary.encode("latin-1"))
    return body[start:end] if 4 <= start <= end else b""
