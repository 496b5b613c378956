"""C-STORE over TLS."""

from __future__ import annotations

import ssl
from typing import Any

from app.node.destinations import TlsClient
from app.node.sending import send
from tests.integration.node.sent import CLASSES, peer, verdicts


def test_both_sides_show_certificates_over_tls(
    scripted_scp: Any, received: Any, certificates: Any, study: Any
) -> None:
    tls = TlsClient(ca_file=certificates.ca, certificate_file=certificates.client)
    context = certificates.server_context()
    with scripted_scp(received.handlers(), CLASSES, tls=context) as port:
        assert send(study.all, peer(port, tls=tls)).delivered
        for other in (
            TlsClient(ca_file=certificates.ca),
            TlsClient(ca_file=certificates.ca, certificate_file=certificates.rogue),
            TlsClient(ca_file=certificates.rogue, certificate_file=certificates.client),
            None,
        ):
            refused = send(study.all, peer(port, tls=other, associate_timeout_s=3))
            assert verdicts(refused.results) == ["failed"] * 6
    assert len(received.uids) == 6


def test_a_certificate_of_another_host_is_refused_unless_settings_allow_it(
    scripted_scp: Any, received: Any, certificates: Any, study: Any
) -> None:
    files = {"ca_file": certificates.ca, "certificate_file": certificates.client}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.client)  # it names 127.0.0.1
    with scripted_scp(received.handlers(), CLASSES, tls=context) as port:
        assert send([study.seg], peer(port, tls=TlsClient(**files))).delivered
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.rogue)  # it names nobody
    rogue = {**files, "ca_file": certificates.rogue}
    with scripted_scp(received.handlers(), CLASSES, tls=context) as port:
        strict = peer(port, tls=TlsClient(**rogue))
        loose = peer(port, tls=TlsClient(**rogue, verify_hostname=False))
        assert verdicts(send([study.ct[0]], strict).results) == ["failed"]
        assert send([study.ct[0]], loose).delivered


def test_storescp_receives_over_tls(start_storescp: Any, certificates: Any, study: Any) -> None:
    secure = ("+tls", certificates.server, certificates.server, "+cf", certificates.ca)
    tls = TlsClient(ca_file=certificates.ca, certificate_file=certificates.client)
    with start_storescp(*secure) as scp:
        assert send(study.all, peer(scp.port, tls=tls)).delivered
        assert len(scp.files) == 6
