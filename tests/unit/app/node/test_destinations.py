from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.errors import PeerSettingsError
from app.node.destinations import (
    Destination,
    DimseDestination,
    DimseSource,
    FolderDestination,
    TlsClient,
    WebPeer,
    is_sender,
    parse_destination,
    parse_source,
)

PACS = DimseDestination(name="pacs", ae_title="PACS", host="pacs.ward", port=104)


def test_each_kind_is_told_by_its_key() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Destination)
    settings = [
        {"kind": "dimse", "ae_title": "PACS", "host": "pacs.ward", "port": 104},
        {"kind": "dicomweb", "url": "https://pacs.ward/rs/"},
        {"kind": "folder", "folder": "/share"},
    ]
    kinds = [type(adapter.validate_python(entry)) for entry in settings]
    assert kinds == [DimseDestination, WebPeer, FolderDestination]


@pytest.mark.parametrize(
    ("text", "ae_title", "host", "port"),
    [
        ("PACS@pacs.ward:104", "PACS", "pacs.ward", 104),
        ("WARD 7@10.0.0.3:11112", "WARD 7", "10.0.0.3", 11112),
        ("A@[fe80::1]:4242", "A", "fe80::1", 4242),
    ],
)
def test_addresses_of_peers_are_read(text: str, ae_title: str, host: str, port: int) -> None:
    for peer in (parse_destination(text, "ME"), parse_source(text, "ME")):
        assert isinstance(peer, DimseDestination | DimseSource)
        assert (peer.ae_title, peer.host, peer.port) == (ae_title, host, port)
        assert (peer.name, peer.calling_ae_title) == (text, "ME")


def test_a_port_for_moves_makes_a_source_move() -> None:
    source = parse_source("PACS@h:1", move_port=11115)
    assert isinstance(source, DimseSource)
    assert (source.retrieve, source.listen_port) == ("move", 11115)


def test_urls_folders_and_names_are_told_apart(tmp_path: Path) -> None:
    web = parse_destination("https://pacs.ward/rs/")
    assert isinstance(web, WebPeer)
    assert web.url == "https://pacs.ward/rs"
    assert parse_destination(str(tmp_path)) == FolderDestination(
        folder=tmp_path, name=str(tmp_path)
    )
    assert parse_destination("pacs", configured={"pacs": PACS}) is PACS


@pytest.mark.parametrize(
    "text",
    [
        "PACS@host",
        "PACS@host:70000",
        "PACS@host:0",
        "A TITLE OF 17 CHA@host:1",
        "BACK\\SLASH@host:1",
        "  @host:1",
        "nowhere",
        "http://",
        "https://user:secret@pacs.ward/rs",
        "https://pacs.ward/rs?token=secret",
    ],
)
def test_what_is_no_address_is_refused_without_secrets(text: str) -> None:
    with pytest.raises(PeerSettingsError, match=r"expected|should|at most|valid|match") as caught:
        parse_destination(text)
    assert "found them in the URL" in str(caught.value) or "user:" not in text


def test_unknown_and_changed_settings_are_errors() -> None:
    with pytest.raises(ValidationError, match="commitmnt"):
        DimseDestination(ae_title="A", host="h", port=1, commitmnt=True)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="frozen"):
        PACS.port = 105  # type: ignore[misc]


def test_every_kind_of_destination_can_be_the_sender_of_a_study(tmp_path: Path) -> None:
    scanner = DimseDestination(
        ae_title="CT1", host="ct.ward", port=104, sends_as=("CT1_OUT", " CT1_ALT ")
    )
    titles = ("CT1", "CT1_OUT", "CT1_ALT", "CT2")
    assert [is_sender(scanner, title) for title in titles] == [True, True, True, False]
    web = WebPeer(url="https://pacs.ward/rs", sends_as=("PACS",))
    assert is_sender(web, "PACS")
    assert not is_sender(FolderDestination(folder=tmp_path), "PACS")
    with pytest.raises(ValidationError, match="sends_as"):
        FolderDestination(folder=tmp_path, sends_as=("A TITLE OF 17 CHA",))


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_timeouts_are_positive_and_finite(seconds: float) -> None:
    with pytest.raises(ValidationError):
        DimseDestination(ae_title="A", host="h", port=1, response_timeout_s=seconds)


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for tls in (
        TlsClient(ca_file=tmp_path / "absent.pem"),
        TlsClient(ca_file=broken),
        TlsClient(certificate_file=broken),
    ):
        with pytest.raises(PeerSettingsError, match=r"(absent|broken)\.pem"):
            tls.context()


def test_tls_verifies_the_peer_and_is_new_enough() -> None:
    context = TlsClient().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    loose = TlsClient(verify_hostname=False).context()
    assert loose.verify_mode is ssl.CERT_REQUIRED
    assert not loose.check_hostname
