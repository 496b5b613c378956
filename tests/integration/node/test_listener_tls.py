"""The listener over TLS, with DCMTK as the sender."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from app.errors import ListenerError
from app.node.access import ListenerSettings, TlsServerSettings
from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from app.node.store_disk import StoreSettings
from app.node.tls_server import server_context
from tests.integration.node.programs import program

Start = Callable[..., Listener]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, `ca` and `rogue-ca`, and what they signed: `node`, `sender`, `rogue`."""
    program("openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "rogue-ca"):
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *(
                "-subj",
                f"/CN={authority}",
                "-keyout",
                f"{authority}.key",
                "-out",
                f"{authority}.pem",
            ),
        )
    for name, authority in [("node", "ca"), ("sender", "ca"), ("rogue", "rogue-ca")]:
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem"),
            *("-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.pem"),
        )
    return folder


@pytest.fixture
def start(tmp_path: Path, certificates: Path) -> Iterator[Start]:
    store = InstanceStore(tmp_path / "state", StoreSettings(min_free_bytes=0, reserved_bytes=0))
    started: list[Listener] = []

    def start(**settings: object) -> Listener:
        options = {"bind_address": "127.0.0.1", "port": 0, "tls": tls_of(certificates), **settings}
        listener = Listener(ListenerSettings.model_validate(options), store)
        listener.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.stop(5)
    store.close()


def tls_of(certificates: Path) -> TlsServerSettings:
    return TlsServerSettings(
        certificate_file=certificates / "node.pem",
        key_file=certificates / "node.key",
        ca_file=certificates / "ca.pem",
    )


def dcmtk(
    name: str,
    port: int,
    certificates: Path,
    *more: object,
    who: str = "sender",
    timeout_s: float = 60,
) -> int:
    shown = {
        "sender": ["+tls", "sender.key", "sender.pem", "+cf", "ca.pem"],
        "rogue": ["+tls", "rogue.key", "rogue.pem", "+cf", "ca.pem"],
        "anonymous": ["+tla", "+cf", "ca.pem"],
        "plain": [],
    }[who]
    command = [program(name), "-to", "5", "-ta", "5", "-td", "5", *shown, "-aec", "VISCERA"]
    command += ["127.0.0.1", str(port), *map(str, more)]
    done = subprocess.run(
        command,
        cwd=certificates,
        capture_output=True,
        timeout=timeout_s,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
    return done.returncode


def test_dcmtk_sends_a_series_over_tls(start: Start, certificates: Path, shared_data: Path) -> None:
    listener = start()
    series = sorted((shared_data / "dicom_stress" / "tilted_head_ct").glob("I*"))
    assert dcmtk("echoscu", listener.port, certificates) == 0
    assert dcmtk("storescu", listener.port, certificates, *series) == 0
    assert listener.counts()["stored"] == len(series)


@pytest.mark.parametrize("who", ["rogue", "anonymous", "plain"])
def test_a_sender_without_a_certificate_of_our_authority_is_refused(
    start: Start, certificates: Path, who: str
) -> None:
    listener = start(handshake_timeout_s=2)
    assert dcmtk("echoscu", listener.port, certificates, who=who) != 0
    assert "associations" not in listener.counts()
    assert dcmtk("echoscu", listener.port, certificates) == 0


def test_pynetdicom_alone_is_blocked_by_one_silent_connection(certificates: Path) -> None:
    """The flaw that our server is for; once this fails, pynetdicom's own may do."""
    entity = AE("VISCERA")
    entity.add_supported_context(Verification)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=server_context(tls_of(certificates))
    )
    assert server is not None
    port = server.server_address[1]
    with (
        socket.create_connection(("127.0.0.1", port)),
        pytest.raises(subprocess.TimeoutExpired),
    ):
        dcmtk("echoscu", port, certificates, timeout_s=5)
    assert dcmtk("echoscu", port, certificates) == 0
    server.shutdown()


def test_silent_connections_block_nobody(start: Start, certificates: Path) -> None:
    listener = start(handshake_timeout_s=30)
    silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(10)]
    assert dcmtk("echoscu", listener.port, certificates) == 0
    for wire in silent:
        wire.close()


def test_an_unfinished_handshake_is_ended(start: Start, certificates: Path) -> None:
    listener = start(handshake_timeout_s=1)
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as wire:
        wire.sendall(bytes.fromhex("160301020001"))  # the start of a ClientHello
        assert wire.recv(1) == b""
    assert dcmtk("echoscu", listener.port, certificates) == 0


def test_a_peer_silent_after_its_handshake_is_ended(start: Start, certificates: Path) -> None:
    listener = start(handshake_timeout_s=1)
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.check_hostname = False
    context.load_cert_chain(certificates / "sender.pem", certificates / "sender.key")
    with (
        socket.create_connection(("127.0.0.1", listener.port), timeout=20) as wire,
        context.wrap_socket(wire) as secured,
    ):
        assert secured.recv(1) == b""


def test_four_senders_at_once_over_tls(start: Start, certificates: Path, shared_data: Path) -> None:
    listener = start()
    series = sorted((shared_data / "dicom_stress" / "tilted_head_ct").glob("I*"))
    codes: list[int] = []

    def send() -> None:
        codes.append(dcmtk("storescu", listener.port, certificates, *series))

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    counts = listener.counts()
    assert codes == [0] * 4
    assert counts["stored"] == len(series)
    assert counts["repeated"] == 3 * counts["stored"]


def test_certificates_that_cannot_be_used_are_named(certificates: Path) -> None:
    settings = tls_of(certificates).model_copy(update={"key_file": certificates / "rogue.key"})
    with pytest.raises(ListenerError, match=r"rogue\.key"):
        server_context(settings)
