"""Who may send to `viscera serve`: certificates over TLS, AE titles and addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.uid import SegmentationStorage

#: DCMTK gives up soon where the node does not answer.
PATIENCE = ("-to", "5", "-ta", "5", "-td", "5")


@pytest.fixture(scope="module")
def pacs(faulty_scp: Any, certificates: Any) -> Iterator[Any]:
    """Takes segmentations over TLS, from those with a certificate."""
    context = certificates.server_context()
    with faulty_scp(classes=[SegmentationStorage], tls=context) as started:
        yield started


@pytest.fixture(scope="module")
def node(serve: Any, pacs: Any, certificates: Any) -> Iterator[Any]:
    """TLS on both sides, and workflows for some senders only."""
    listener = {
        "tls": {
            "certificate_file": str(certificates.server),
            "key_file": str(certificates.server),
            "ca_file": str(certificates.ca),
        }
    }
    destination = {
        "kind": "dimse",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": pacs.port,
        "tls": {"ca_file": str(certificates.ca), "certificate_file": str(certificates.client)},
    }
    common = {"destinations": ["pacs"], "any_anatomy": True}
    workflows = {
        "VISCERA": common,
        "VISCERA_CT": {**common, "allow_calling": ["CT1", "CT2"]},
        "VISCERA_NEAR": {**common, "allow_addresses": ["127.0.0.0/8"]},
        "VISCERA_FAR": {**common, "allow_addresses": ["10.0.0.0/8", "2001:db8::/32"]},
    }
    with serve({"pacs": destination}, workflows=workflows, listener=listener) as started:
        yield started


@pytest.fixture(scope="module")
def shown(certificates: Any) -> Callable[[str], tuple[str, ...]]:
    """DCMTK's options to show a certificate, by who shows it."""
    own = {name: str(getattr(certificates, name)) for name in ("client", "rogue")}
    authority = ("+cf", str(certificates.ca))

    def options(who: str) -> tuple[str, ...]:
        if who in own:
            return ("+tls", own[who], own[who], *authority, *PATIENCE)
        return ("+tla", *authority, *PATIENCE) if who == "anonymous" else PATIENCE

    return options


def is_unknown(node: Any, study: Any, workflow: str = "VISCERA") -> bool:
    """Whether the node has kept nothing of a study."""
    received = node.state / "incoming" / study.key(workflow)
    return not received.exists() and not node.jobs(study, workflow)


def test_a_study_comes_and_its_result_goes_over_tls(
    node: Any, pacs: Any, make_ct: Any, send: Any, shown: Any
) -> None:
    study = make_ct("secure")
    before = len(pacs.received.uids)
    send(node.port, study.files, *shown("client"))
    job = node.ended(study)
    assert (job.status, job.outcome, job.reason) == ("delivered", "ok", "")
    (event,) = node.events(study, "sent")
    assert event["results"] == {pacs.received.uids[before]: "stored: stored (0x0000)"}
    assert len(pacs.received.uids) == before + 1


@pytest.mark.parametrize("who", ["rogue", "anonymous", "plain"])
def test_without_a_certificate_of_the_authority_nothing_is_accepted(
    node: Any, make_ct: Any, storescu: Any, shown: Any, who: str
) -> None:
    study = make_ct(f"from {who}")
    sender = storescu(node.port, study.files, *shown(who))
    assert sender.wait(30) != 0
    assert is_unknown(node, study)


def test_connections_that_say_nothing_block_nobody(
    node: Any, pacs: Any, make_ct: Any, send: Any, shown: Any
) -> None:
    study = make_ct("beside silent ones")
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(8)]
    silent[0].sendall(bytes.fromhex("160301020001"))  # the start of a ClientHello
    try:
        send(node.port, study.files, *shown("client"))
        assert node.ended(study).status == "delivered"
    finally:
        for wire in silent:
            wire.close()


def test_a_pacs_with_a_certificate_of_nobody_gets_nothing_until_it_has_a_good_one(
    node: Any, pacs: Any, certificates: Any, make_ct: Any, send: Any, shown: Any
) -> None:
    study = make_ct("to a rogue")
    before = len(pacs.received.uids)
    good = pacs.tls
    rogue = certificates.server_context()
    rogue.load_cert_chain(certificates.rogue)
    pacs.stop()
    pacs.tls = rogue
    pacs.start()
    send(node.port, study.files, *shown("client"))
    node.until(lambda: any(d.attempts > 1 for job in node.jobs(study) for d in job.deliveries))
    (said,) = node.events(study, "sent")[0]["results"].values()
    assert said.startswith("failed: not sent: ")
    assert "no connection or no TLS agreement" in said
    assert len(pacs.received.uids) == before
    pacs.stop()
    pacs.tls = good
    pacs.start()
    assert node.ended(study).status == "delivered"
    assert len(pacs.received.uids) == before + 1


def test_a_sender_whose_title_is_not_allowed_is_rejected(
    node: Any, make_ct: Any, send: Any, storescu: Any, shown: Any
) -> None:
    study = make_ct("by title")
    options = shown("client")
    sender = storescu(node.port, study.files, *options, "-aet", "CT3", called="VISCERA_CT")
    output = sender.communicate(timeout=30)[0].decode()
    assert sender.returncode != 0
    assert "Calling AE Title Not Recognized" in output
    assert is_unknown(node, study, "VISCERA_CT")
    send(node.port, study.files, *options, "-aet", "CT2", called="VISCERA_CT")
    assert node.ended(study, "VISCERA_CT").status == "delivered"


def test_a_sender_whose_address_is_not_allowed_is_rejected(
    node: Any, make_ct: Any, send: Any, storescu: Any, shown: Any
) -> None:
    study = make_ct("by address")
    options = shown("client")
    sender = storescu(node.port, study.files, *options, called="VISCERA_FAR")
    output = sender.communicate(timeout=30)[0].decode()
    assert sender.returncode != 0
    assert "Calling AE Title Not Recognized" in output
    assert is_unknown(node, study, "VISCERA_FAR")
    send(node.port, study.files, *options, called="VISCERA_NEAR")
    assert node.ended(study, "VISCERA_NEAR").status == "delivered"
    assert is_unknown(node, study, "VISCERA_FAR")


def test_a_title_that_no_workflow_has_is_rejected(
    node: Any, make_ct: Any, storescu: Any, shown: Any
) -> None:
    study = make_ct("to nobody")
    sender = storescu(node.port, study.files, *shown("client"), called="NOBODY")
    output = sender.communicate(timeout=30)[0].decode()
    assert sender.returncode != 0
    assert "Called AE Title Not Recognized" in output
    assert is_unknown(node, study, "NOBODY")
