"""Two `viscera serve` with state folders of their own, one PostgreSQL and one folder of jobs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pydicom
import pytest

from app.node.audit import AuditTrail

#: A node that is silent for so long is dead.
DEAD_AFTER_S = 2.0


@pytest.fixture
def pacs(faulty_scp: Any) -> Iterator[Any]:
    """One that never fails, and counts."""
    with faulty_scp() as started:
        yield started


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where both nodes have the folders of the jobs."""
    return tmp_path / "work"


@pytest.fixture
def nodes(serve: Any, postgres: str, pacs: Any, work: Path) -> Iterator[tuple[Any, Any]]:
    """Nodes `a` and `b`, not started."""
    peer = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(
                serve(
                    {"pacs": peer},
                    start=False,
                    database_url=postgres,
                    work=str(work),
                    jobs={"node": name, "heartbeat_s": 0.3, "dead_after_s": DEAD_AFTER_S},
                )
            )
            for name in ("a", "b")
        )


def made_by(work: Path, job: Any) -> Any:
    """The segmentation of a job."""
    (path,) = (work / job.folder).rglob("segmentation.dcm")
    return pydicom.dcmread(path)


def segmented_by(node: Any, study: Any) -> int:
    """How often a node has segmented a study."""
    audit = AuditTrail(node.state / "node.sqlite")
    events = audit.read(study.key(), "segmented")
    audit.close()
    return len(events)


def soon(look: Callable[[], Any]) -> Any:
    """As `NodeProcess.until`, with no time between two looks to speak of."""
    give_up_at = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < give_up_at
        time.sleep(0.002)
    return found


def test_what_a_node_died_over_the_other_finishes_and_delivers_once(
    nodes: tuple[Any, Any], pacs: Any, work: Path, make_ct: Any, send: Any
) -> None:
    a, b = nodes
    a.start()
    before = make_ct("before the death")
    send(a.port, before.files)
    assert a.ended(before).node == "a"  # so its worker is ready for the next
    (worker,) = a.workers
    study = make_ct("taken over")
    send(a.port, study.files)
    soon(lambda: len(list(work.glob("*/*/out-*"))) == 2)
    os.kill(worker, signal.SIGSTOP)
    b.start()
    time.sleep(2 * DEAD_AFTER_S)  # that its worker is slow does not make a node dead
    (job,) = a.jobs(study)
    assert (job.status, job.step, job.node) == ("running", "segment", "a")
    a.stop(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    done = b.ended(study)
    assert (done.status, done.node, done.attempts) == ("delivered", "b", 1), b.log
    sent = [made_by(work, job).SOPInstanceUID for job in (*b.jobs(before), done)]
    assert pacs.received.uids == sent
    assert (segmented_by(a, study), segmented_by(b, study)) == (0, 1)
    a.start()  # finds nothing left to do
    after = make_ct("after the death")
    send(a.port, after.files)
    sent.append(made_by(work, a.ended(after)).SOPInstanceUID)
    assert pacs.received.uids == sent
    assert [len(a.jobs(s)) for s in (before, study, after)] == [1, 1, 1]


def test_a_node_that_was_frozen_and_taken_for_dead_changes_nothing_when_it_goes_on(
    nodes: tuple[Any, Any], pacs: Any, work: Path, make_ct: Any, send: Any
) -> None:
    a, b = nodes
    a.start()
    before = make_ct("before the frost")
    send(a.port, before.files)
    a.ended(before)
    study = make_ct("frozen")
    send(a.port, study.files)
    soon(lambda: len(list(work.glob("*/*/out-*"))) == 2)
    frozen = [a.process.pid, *a.workers]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    b.start()
    done = b.ended(study)
    assert (done.status, done.node) == ("delivered", "b"), b.log
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    after = make_ct("after the frost")
    send(a.port, after.files)
    assert a.ended(after).status == "delivered"
    time.sleep(DEAD_AFTER_S)  # for what should not come
    jobs = [a.jobs(s) for s in (before, study, after)]
    sent = [made_by(work, job).SOPInstanceUID for (job,) in jobs]
    assert sorted(pacs.received.uids) == sorted(sent)
    assert jobs[1] == [done]


def test_what_one_node_receives_both_work_on(
    nodes: tuple[Any, Any], pacs: Any, work: Path, make_ct: Any, send: Any
) -> None:
    a, b = nodes
    a.start()
    b.start()
    studies = [make_ct(f"shared {number}") for number in range(6)]
    for study in studies:
        send(a.port, study.files)
    jobs = [a.ended(study) for study in studies]
    assert {job.status for job in jobs} == {"delivered"}, a.log + b.log
    assert {job.node for job in jobs} <= {"a", "b"}
    by_a, by_b = ([segmented_by(node, study) for study in studies] for node in nodes)
    assert [x + y for x, y in zip(by_a, by_b, strict=True)] == [1] * 6
    assert 0 < sum(by_b) < 6
    made = [made_by(work, job).SOPInstanceUID for job in jobs]
    assert sorted(pacs.received.uids) == sorted(made)


def test_parts_of_a_study_that_come_to_both_nodes_make_one_result_of_all_slices(
    nodes: tuple[Any, Any], pacs: Any, work: Path, make_ct: Any, send: Any
) -> None:
    study = make_ct("in parts")
    for node in nodes:
        node.start()
        for worker in node.until(lambda node=node: node.workers):
            os.kill(worker, signal.SIGSTOP)  # until both parts are there
    a, b = nodes
    send(a.port, study.files[:12])
    send(b.port, study.files[12:])
    a.until(lambda: len(a.jobs(study)) == 2)
    for node in nodes:
        for worker in node.workers:
            os.kill(worker, signal.SIGCONT)
    done = a.ended(study, version=2)
    assert [job.status for job in a.jobs(study)] == ["replaced", "delivered"], a.log + b.log
    found = made_by(work, done)
    assert pacs.received.uids == [found.SOPInstanceUID]
    (series,) = found.ReferencedSeriesSequence
    referenced = {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence}
    slices = {str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID) for f in study.files}
    assert referenced == slices
