"""STOW-RS to Orthanc, and to servers that misbehave in a stated way."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest

from app.node.delivery import FileResult
from app.node.destinations import TlsClient, WebPeer
from app.node.sending import send


def verdicts(results: tuple[FileResult, ...]) -> list[str]:
    return [result.verdict.value for result in results]


def to(orthanc: Any, **settings: Any) -> WebPeer:
    return WebPeer(
        url=orthanc.url, user=orthanc.user, password_file=orthanc.password_file, **settings
    )


def test_a_study_arrives_in_orthanc_and_is_found(orthanc: Any, study: Any) -> None:
    delivery = send(study.all, to(orthanc))
    assert delivery.delivered
    assert [result.code for result in delivery.results] == [0] * 6
    assert set(orthanc.instances(study.StudyInstanceUID)) == delivery.done
    found = orthanc.get(f"studies/{study.StudyInstanceUID}/series?Modality=SEG")
    assert len(found) == 1
    assert send(study.all, to(orthanc)).delivered
    assert len(orthanc.instances(study.StudyInstanceUID)) == 6


def test_what_orthanc_says_it_stored_and_did_not_fails_alone_where_that_is_confirmed(
    orthanc: Any, study_maker: Any
) -> None:
    wanted, unwanted = study_maker("wanted"), study_maker("refused", description="unwanted")
    files = [wanted.ct[0], unwanted.ct[0], wanted.ct[1]]
    trusting = send(files, to(orthanc))
    assert trusting.delivered  # what its filter throws away counts as stored for Orthanc
    delivery = send(files, to(orthanc, confirm=True))
    assert verdicts(delivery.results) == ["stored", "failed", "stored"]
    assert "QIDO-RS does not find it" in delivery.results[1].text
    assert len(orthanc.instances(wanted.StudyInstanceUID)) == 2
    assert orthanc.instances(unwanted.StudyInstanceUID) == []


def test_a_damaged_file_fails_alone_though_its_request_fails_as_a_whole(
    orthanc: Any, study_maker: Any, tmp_path: Path
) -> None:
    study = study_maker("damaged")
    whole = study.ct[0].read_bytes()
    (tmp_path / "damaged.dcm").write_bytes(whole[:600])
    delivery = send([tmp_path / "damaged.dcm", study.seg], to(orthanc))
    assert [result.delivered for result in delivery.results] == [False, True]


def test_a_wrong_password_is_refused_for_good(orthanc: Any, study: Any, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("guess")
    peer = WebPeer(url=orthanc.url, user="lab", password_file=tmp_path / "password")
    delivery = send([study.seg], peer)
    assert verdicts(delivery.results) == ["refused"]
    assert delivery.results[0].code == 401
    assert not delivery.retryable


@dataclass
class Server:
    """What a scripted server was sent, and where it is."""

    url: str
    requests: list[dict[str, str]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)


Answer = Callable[[list[str]], tuple[int, Any]]
StartServer = Callable[..., Any]


@pytest.fixture
def server() -> StartServer:
    """A STOW-RS server that answers `answer(UIDs of the request)`: a status, and JSON or bytes."""

    @contextmanager
    def start(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                state.requests.append(dict(self.headers.items()))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                message = BytesParser().parsebytes(head + body)
                parts = [part.get_payload(decode=True) for part in message.get_payload()]
                state.parts.extend(parts)
                boundary = message.get_boundary().encode()
                raw = [p.split(b"\r\n\r\n", 1)[1][:-2] for p in body.split(b"--" + boundary)[1:-1]]
                state.parts[-len(parts) :] = raw
                uids = [
                    str(pydicom.dcmread(pydicom.filebase.DicomBytesIO(part)).SOPInstanceUID)
                    for part in raw
                ]
                status, content = answer(uids)
                if status == 0:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(data)))
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            running.socket = tls.wrap_socket(running.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        state = Server(f"{scheme}://127.0.0.1:{running.server_address[1]}/rs")
        thread = threading.Thread(target=running.serve_forever, args=[0.05])
        thread.start()
        try:
            yield state
        finally:
            running.shutdown()
            thread.join()
            running.server_close()

    return start


def _items(codes: dict[str, int | None], tag: str) -> dict[str, Any]:
    return {
        "vr": "SQ",
        "Value": [
            {
                "00081155": {"vr": "UI", "Value": [uid]},
                **({} if code is None else {tag: {"vr": "US", "Value": [code]}}),
            }
            for uid, code in codes.items()
        ],
    }


def answer_of(stored: dict[str, int | None], refused: dict[str, int | None]) -> dict[str, Any]:
    return {"00081199": _items(stored, "00081196"), "00081198": _items(refused, "00081197")}


def test_each_instance_has_its_own_result_in_a_mixed_answer(server: Any, study: Any) -> None:
    def answer(uids: list[str]) -> tuple[int, Any]:
        stored = {uids[0]: None, uids[1]: 0xB000}
        refused = {uids[2]: 0xA700, uids[3]: 0xA900, uids[4]: None}
        return 202, [answer_of(stored, refused)]

    with server(answer) as running:
        delivery = send(study.all, WebPeer(url=running.url))
    assert verdicts(delivery.results) == [
        "stored",
        "warning",
        "refused",
        "failed",
        "failed",
        "failed",
    ]
    assert [r.retryable for r in delivery.results] == [False, False, True, False, False, True]
    assert "does not say that it was stored" in delivery.results[5].text


def test_a_success_that_names_nothing_is_none(server: Any, study: Any) -> None:
    for content in (b"", b"<html>fine</html>", {}, answer_of({}, {})):
        with server(lambda uids, content=content: (200, content)) as running:
            delivery = send(study.ct, WebPeer(url=running.url))
        assert verdicts(delivery.results) == ["failed"] * 5
        assert delivery.retryable


def test_a_conflict_is_read_for_each_instance(server: Any, study: Any) -> None:
    with server(lambda uids: (409, answer_of({}, {uids[0]: 0xA700}))) as running:
        delivery = send(study.ct[:2], WebPeer(url=running.url))
    assert [result.code for result in delivery.results] == [0xA700, 409]
    assert [result.retryable for result in delivery.results] == [True, False]


@pytest.mark.parametrize(
    ("status", "verdict", "retryable"),
    [
        (503, "failed", True),
        (429, "refused", True),
        (400, "failed", False),
        (413, "refused", False),
        (302, "failed", False),
        (201, "failed", True),
        (0, "failed", True),
    ],
)
def test_each_http_status_is_taken_for_what_it_says(
    server: Any, study: Any, status: int, verdict: str, retryable: bool
) -> None:
    with server(lambda uids: (status, b"")) as running:
        delivery = send(study.ct[:2], WebPeer(url=running.url))
    assert verdicts(delivery.results) == [verdict] * 2
    assert delivery.retryable is retryable
    # a request that one file of it may have spoilt is repeated for each file
    assert len(running.requests) == (3 if status in (400, 413) else 1)


def test_the_bytes_go_out_as_stored_with_their_length_and_not_in_chunks(
    server: Any, study: Any
) -> None:
    with server(lambda uids: (200, answer_of(dict.fromkeys(uids), {}))) as running:
        delivery = send(study.all, WebPeer(url=running.url))
    assert delivery.delivered
    assert running.parts == [path.read_bytes() for path in study.all]
    (headers,) = running.requests
    assert "Transfer-Encoding" not in headers
    assert int(headers["Content-Length"]) > sum(len(part) for part in running.parts)
    assert headers["Accept"] == "application/dicom+json"


def test_large_deliveries_go_in_several_requests(server: Any, study: Any) -> None:
    size = max(path.stat().st_size for path in study.ct)
    with server(lambda uids: (200, answer_of(dict.fromkeys(uids), {}))) as running:
        peer = WebPeer(url=running.url, request_bytes=2 * size + 10)
        assert send(study.ct, peer).delivered
    assert len(running.requests) == 3


def test_a_token_is_sent_and_read_anew_for_every_try(
    server: Any, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a .netrc must not replace it
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    token = tmp_path / "token"
    with server(lambda uids: (200, answer_of(dict.fromkeys(uids), {}))) as running:
        for text in ("first\n", "second"):
            token.write_text(text)
            assert send(study.ct[:1], WebPeer(url=running.url, token_file=token)).delivered
    sent = [headers["Authorization"] for headers in running.requests]
    assert sent == ["Bearer first", "Bearer second"]


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_server_certificate_is_verified_and_ours_is_shown(
    server: Any, certificates: Any, study: Any
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    ours = {"certificate_file": certificates.client}
    with server(lambda uids: (200, answer_of(dict.fromkeys(uids), {})), context) as running:
        good = WebPeer(url=running.url, tls=TlsClient(ca_file=certificates.ca, **ours))
        assert send(study.ct[:2], good).delivered
        for peer in (
            WebPeer(url=running.url, tls=TlsClient(**ours)),
            WebPeer(url=running.url, tls=TlsClient(ca_file=certificates.ca)),
        ):
            delivery = send(study.ct[:2], peer)
            assert verdicts(delivery.results) == ["failed"] * 2
            assert delivery.retryable
        trial = WebPeer(url=running.url, tls=TlsClient(**ours), verify_certificate=False)
        assert send(study.ct[:2], trial).delivered


def test_a_server_that_is_down_is_tried_again(new_port: Any, study: Any) -> None:
    delivery = send(study.all, WebPeer(url=f"http://127.0.0.1:{new_port()}/rs"))
    assert verdicts(delivery.results) == ["failed"] * 6
    assert delivery.retryable


def test_a_server_that_does_not_answer_in_time_is_tried_again(server: Any, study: Any) -> None:
    finished = threading.Event()

    def answer(uids: list[str]) -> tuple[int, Any]:
        finished.wait(20)
        return 200, answer_of(dict.fromkeys(uids), {})

    with server(answer) as running:
        delivery = send([study.seg], WebPeer(url=running.url, response_timeout_s=0.3))
        finished.set()
    assert verdicts(delivery.results) == ["failed"]
    assert "no answer in time" in delivery.results[0].text
    assert delivery.retryable
