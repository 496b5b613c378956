"""From DCMTK's C-STORE through `viscera serve` to a PACS that fails in a stated way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, SegmentationStorage

#: A workflow with the PACS alone, beside `VISCERA` with PACS and archive.
ONE = "VISCERA_ONE"


@pytest.fixture(scope="module")
def archive(faulty_scp: Any) -> Iterator[Any]:
    """One that never fails."""
    with faulty_scp() as started:
        yield started


@pytest.fixture(scope="module")
def pacs_port(new_port: Callable[[], int]) -> int:
    """Where each test runs a PACS of its own."""
    return new_port()


@pytest.fixture(scope="module")
def node(serve: Any, archive: Any, pacs_port: int) -> Iterator[Any]:
    """Sends to both, or to the PACS alone."""

    def peer(port: int) -> dict[str, Any]:
        return {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": port}

    workflows = {
        "VISCERA": {"destinations": ["pacs", "archive"], "any_anatomy": True},
        ONE: {"destinations": ["pacs"], "any_anatomy": True},
    }
    destinations = {"pacs": peer(pacs_port), "archive": peer(archive.port)}
    with serve(destinations, workflows=workflows) as started:
        yield started


def deliveries(node: Any, study: Any, workflow: str = "VISCERA") -> dict[str, Any]:
    """How far the only job of a study is, by destination; empty before its results are there."""
    return {d.destination: d for job in node.jobs(study, workflow) for d in job.deliveries}


def arrives_at_the_archive_alone(node: Any, study: Any) -> bool:
    """Whether a study is at the archive, while the PACS was tried in vain."""
    found = deliveries(node, study)
    return bool(found) and found["archive"].status == "delivered" and found["pacs"].attempts > 1


def results_sent(node: Any, study: Any) -> list[str]:
    """What became of the segmentation in each try that came to sending."""
    return [said for event in node.events(study, "sent") for said in event["results"].values()]


def test_a_pacs_that_is_down_for_a_while_gets_each_result_once_and_holds_up_no_other(
    node: Any, archive: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    before = len(archive.received.uids)
    studies = [make_ct("down 1"), make_ct("down 2")]
    with faulty_scp(is_up=False, port=pacs_port) as pacs:
        for study in studies:
            send(node.port, study.files)
            node.until(lambda study=study: arrives_at_the_archive_alone(node, study))
        for study in studies:
            (job,) = node.jobs(study)
            assert (job.status, job.outcome) == ("delivering", "ok")
            waiting = deliveries(node, study)["pacs"]
            assert waiting.status in ("waiting", "sending")
            assert f"PACS@127.0.0.1:{pacs_port}" in waiting.reason
            assert "no connection" in waiting.reason or "failed before" in waiting.reason
        pacs.start()
        for study in studies:
            job = node.ended(study)
            assert (job.status, job.reason) == ("delivered", "")
            assert [d.status for d in job.deliveries] == ["delivered", "delivered"]
    assert len(pacs.received.uids) == 2
    assert set(pacs.received.uids) == set(archive.received.uids[before:])
    assert len(archive.received.uids) == before + 2


def test_a_pacs_that_never_answers_holds_up_no_other(
    node: Any, archive: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    before = len(archive.received.uids)
    studies = [make_ct("silent 1"), make_ct("silent 2")]
    with socket.create_server(("127.0.0.1", pacs_port)):  # connects, and says nothing
        for study in studies:
            send(node.port, study.files)
            node.until(
                lambda study=study: (
                    (found := deliveries(node, study)) and found["archive"].status == "delivered"
                )
            )
        open_ones = [deliveries(node, study)["pacs"].status for study in studies]
        assert set(open_ones) <= {"waiting", "sending"}
    with faulty_scp(port=pacs_port) as pacs:
        assert [node.ended(study).status for study in studies] == ["delivered"] * 2
    assert sorted(pacs.received.uids) == sorted(archive.received.uids[before:])
    assert len(set(pacs.received.uids)) == 2


def test_a_pacs_that_does_not_take_segmentations_fails_the_job_until_it_does(
    node: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    study = make_ct("refused")
    with faulty_scp(port=pacs_port, classes=[CTImageStorage]) as pacs:
        send(node.port, study.files, called=ONE)
        job = node.ended(study, ONE)
        assert (job.status, job.outcome) == ("failed", "ok")
        assert job.reason.startswith("pacs: ")
        assert f"{SegmentationStorage} (SOP class not supported)" in job.reason
        assert deliveries(node, study, ONE)["pacs"].attempts == 1
        assert pacs.received.uids == []

        pacs.stop()
        pacs.classes = [CTImageStorage, SegmentationStorage]
        pacs.start()
        retried = node.run("retry", job.job.job_id)
        assert retried.returncode == 0, retried.stderr
        job = node.ended(study, ONE)
    assert (job.status, job.reason) == ("delivered", "")
    assert len(pacs.received.uids) == 1
    assert len(node.events(study, "segmented")) == 1


def test_a_pacs_without_room_for_a_while_gets_the_result_once_it_has_some(
    node: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    study = make_ct("no room")
    with faulty_scp(port=pacs_port, answer=lambda number: 0xA700 if number <= 4 else 0) as pacs:
        send(node.port, study.files, called=ONE)
        job = node.ended(study, ONE)
    assert (job.status, job.reason) == ("delivered", "")
    assert (len(pacs.received.uids), len(set(pacs.received.uids))) == (5, 1)
    # the circuit opened after three, and attempts that it held back sent nothing
    assert job.deliveries[0].attempts >= 5
    *refused, stored = results_sent(node, study)
    assert refused == ["refused: out of resources (0xa700)"] * 4
    assert stored == "stored: stored (0x0000)"


def test_a_connection_that_closes_inside_the_result_costs_another_try(
    node: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    study = make_ct("closed inside")
    with faulty_scp(port=pacs_port, close_after_bytes=6_000) as pacs:
        send(node.port, study.files, called=ONE)

        def tried() -> bool:
            delivery = deliveries(node, study, ONE).get("pacs")
            return delivery is not None and delivery.attempts > 1

        node.until(tried)
        assert pacs.received.uids == []
        pacs.close_after_bytes = 0
        job = node.ended(study, ONE)
    assert (job.status, job.reason) == ("delivered", "")
    assert len(pacs.received.uids) == 1
    assert len(pacs.received.associations) >= 2
    *failed, stored = results_sent(node, study)
    assert failed
    assert all(said.startswith(f"failed: PACS@127.0.0.1:{pacs_port}: ") for said in failed)
    assert "answer" in failed[0]
    assert stored == "stored: stored (0x0000)"


def test_a_result_that_was_taken_without_an_answer_is_sent_again_under_the_same_uid(
    node: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    study = make_ct("closed instead")
    with faulty_scp(port=pacs_port, close_instead=[1]) as pacs:
        send(node.port, study.files, called=ONE)
        job = node.ended(study, ONE)
    assert (job.status, job.reason) == ("delivered", "")
    assert (len(pacs.received.uids), len(set(pacs.received.uids))) == (2, 1)
    assert len({bytes(data) for data in pacs.received.data}) == 1
    first, last = results_sent(node, study)
    assert first.startswith(f"failed: PACS@127.0.0.1:{pacs_port}: ")
    assert "answer" in first
    assert last == "stored: stored (0x0000)"


def test_a_slow_pacs_gets_the_result_once(
    node: Any, faulty_scp: Any, pacs_port: int, make_ct: Any, send: Any
) -> None:
    study = make_ct("slow")
    with faulty_scp(port=pacs_port, delay_s=3.0) as pacs:
        send(node.port, study.files, called=ONE)
        job = node.ended(study, ONE)
        assert (job.status, job.reason) == ("delivered", "")
        assert job.deliveries[0].attempts == 1
        assert (len(pacs.received.uids), len(pacs.received.associations)) == (1, 1)
    assert results_sent(node, study) == ["stored: stored (0x0000)"]
