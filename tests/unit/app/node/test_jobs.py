from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from app.errors import AppError, InputGoneError, JobError, WorkerStoppedError
from app.node.job_desk import JobDesk
from app.node.job_listing import JobRecord
from app.node.job_settings import JobSettings
from app.node.job_statuses import END_STATUSES
from app.node.job_steps import BackOff, FileOutcome, FileState, JobRef, SegmentOutcome, Stop
from app.node.jobs import JobService

T = TypeVar("T")
OK = SegmentOutcome(status="ok", exit_code=0, files=("a/seg.dcm", "b/seg.dcm"))


@dataclass
class Script:
    """What happens to one study; errors and outcomes are used up one by one, the last one stays."""

    segment: list[SegmentOutcome | Exception] = field(default_factory=lambda: [OK])
    assemble: list[Exception | None] = field(default_factory=lambda: [None])
    destinations: tuple[str, ...] = ("pacs",)
    #: Per destination the states to answer with, in the order of the attempts.
    answers: dict[str, list[list[FileOutcome] | Exception]] = field(default_factory=dict)
    hold: threading.Event | None = None
    seen: list[tuple[str, ...]] = field(default_factory=list)


class Steps:
    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.order: list[str] = []

    def assemble(self, job: JobRef, folder: Path) -> None:
        assert folder.is_dir()
        error = use(self.scripts[job.study_key].assemble)
        if error is not None:
            raise error

    def segment(self, job: JobRef, source: Path, output: Path, stop: Stop) -> SegmentOutcome:
        script = self.scripts[job.study_key]
        self.order.append(job.study_key)
        while script.hold is not None and not script.hold.wait(0.02):
            if stop():
                raise WorkerStoppedError("given up")
        outcome = use(script.segment)
        if isinstance(outcome, Exception):
            raise outcome
        for file in outcome.files:
            (output / file).parent.mkdir()
            (output / file).write_text(file)
        return outcome

    def destinations(self, job: JobRef) -> Sequence[str]:
        return self.scripts[job.study_key].destinations

    def send(
        self,
        job: JobRef,
        output: Path,
        files: Sequence[str],
        destination: str,
        already: Mapping[str, FileState],
        stop: Stop,
    ) -> Iterable[FileOutcome]:
        script = self.scripts[job.study_key]
        script.seen.append((destination, *files))
        assert all((output / file).read_text() == file for file in files)
        if destination not in script.answers:
            return [FileOutcome(file, "delivered") for file in files]
        answer = use(script.answers[destination])
        if isinstance(answer, Exception):
            raise answer
        return answer


def use(items: list[T]) -> T:
    return items.pop(0) if len(items) > 1 else items[0]


@dataclass
class Bench:
    desk: JobDesk
    steps: Steps
    count: int = 0

    def submit(self, script: Script, priority: int = 100) -> JobRef:
        self.count += 1
        job = JobRef(f"{self.count:032x}", 1, "abdomen")
        self.steps.scripts[job.study_key] = script
        assert self.desk.submit(job, priority)
        return job

    def end(self, job: JobRef) -> JobRecord:
        return self.wait(job, lambda record: record.status in END_STATUSES)

    def wait(self, job: JobRef, reached: Callable[[JobRecord], bool]) -> JobRecord:
        give_up_at = time.monotonic() + 30
        while not reached(record := self.desk.job(job.job_id)):
            assert time.monotonic() < give_up_at, record
            time.sleep(0.02)
        return record


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    state = tmp_path_factory.mktemp("state")
    soon = BackOff(attempts=3, first_delay_s=0.0)
    settings = JobSettings(
        node="one",
        polling_interval_s=0.02,
        assembling=0,
        segment_retries=soon,
        send_retries=soon,
    )
    steps = Steps()
    service = JobService(settings, state, steps, workers=1)
    desk = service.start()
    yield Bench(desk, steps)
    assert service.stop(5.0, lambda: None)


def test_a_job_ends_delivered_and_tells_how(bench: Bench) -> None:
    job = bench.submit(Script(destinations=("pacs", "archive")))
    record = bench.end(job)
    assert (record.status, record.step, record.outcome, record.attempts) == (
        "delivered",
        "send",
        "ok",
        1,
    )
    assert [d.destination for d in record.deliveries] == ["archive", "pacs"]
    files = {"a/seg.dcm": "delivered", "b/seg.dcm": "delivered"}
    assert [(d.status, d.files) for d in record.deliveries] == [("delivered", files)] * 2
    assert record.created_at <= (record.started_at or 0) <= (record.ended_at or 0)
    plain = record.to_json()
    assert (plain["job_id"], plain["study_key"], plain["version"]) == (
        job.job_id,
        job.study_key,
        1,
    )


def test_the_same_job_twice_is_one(bench: Bench) -> None:
    job = bench.submit(Script())
    assert not bench.desk.submit(job)
    assert bench.end(job).status == "delivered"
    assert not bench.desk.submit(job)
    assert bench.steps.order.count(job.study_key) == 1


@pytest.mark.parametrize(
    ("status", "end", "attempts"),
    [
        ("nothing_selected", "rejected", 1),
        ("not_a_volume", "rejected", 1),
        ("not_this_anatomy", "rejected", 1),
        ("bad_model", "failed", 1),
        ("out_of_memory", "failed", 3),
        ("internal_error", "failed", 3),
        ("partial", "delivered", 1),
    ],
)
def test_the_outcome_of_a_run_decides_how_a_job_goes_on(
    bench: Bench, status: str, end: str, attempts: int
) -> None:
    files = OK.files if status == "partial" else ()
    outcome = SegmentOutcome(status=status, exit_code=9, message=f"it is {status}", files=files)
    record = bench.end(bench.submit(Script(segment=[outcome])))
    assert (record.status, record.attempts) == (end, attempts)
    assert (record.outcome, record.reason) == (status, f"it is {status}")


def test_a_fault_that_passes_costs_one_attempt(bench: Bench) -> None:
    record = bench.end(bench.submit(Script(assemble=[AppError("away"), None])))
    assert (record.status, record.attempts, record.reason) == ("delivered", 2, "")


def test_a_defect_is_told_by_its_kind_alone(bench: Bench) -> None:
    record = bench.end(bench.submit(Script(segment=[ValueError("Doe^John")])))
    assert (record.status, record.outcome) == ("failed", "internal_error")
    assert record.reason == "a defect of the program: ValueError"


def test_a_study_whose_instances_are_gone_is_rejected(bench: Bench) -> None:
    record = bench.end(bench.submit(Script(assemble=[InputGoneError("3 instances are gone")])))
    assert (record.status, record.outcome) == ("rejected", "input_gone")
    assert record.attempts == 1


def test_what_was_delivered_is_not_sent_again(bench: Bench) -> None:
    half = [FileOutcome("a/seg.dcm", "delivered"), FileOutcome("b/seg.dcm", "failed", "0xA700")]
    script = Script(answers={"pacs": [half, [FileOutcome("b/seg.dcm", "delivered")]]})
    record = bench.end(bench.submit(script))
    assert record.status == "delivered"
    assert record.deliveries[0].attempts == 2
    assert script.seen == [("pacs", "a/seg.dcm", "b/seg.dcm"), ("pacs", "b/seg.dcm")]


def test_a_destination_that_is_away_holds_up_no_other_and_can_be_retried(bench: Bench) -> None:
    script = Script(destinations=("dead", "pacs"), answers={"dead": [AppError("no answer")]})
    job = bench.submit(script)
    record = bench.end(job)
    dead, pacs = record.deliveries
    assert (record.status, record.reason) == ("failed", "dead: no answer")
    assert (dead.status, dead.attempts, pacs.status, pacs.attempts) == (
        "failed",
        3,
        "delivered",
        1,
    )
    del script.answers["dead"]
    bench.desk.retry(job.job_id)
    assert bench.end(job).status == "delivered"
    assert bench.steps.order.count(job.study_key) == 1
    assert [seen[0] for seen in script.seen].count("pacs") == 1


def test_a_refusal_is_final_and_not_tried_again(bench: Bench) -> None:
    answer = [FileOutcome("a/seg.dcm", "delivered"), FileOutcome("b/seg.dcm", "refused", "0xA900")]
    record = bench.end(bench.submit(Script(answers={"pacs": [answer]})))
    assert (record.status, record.reason) == ("failed", "pacs: 0xA900")
    assert record.deliveries[0].attempts == 1


def test_a_commitment_that_is_open_is_asked_for_again(bench: Bench) -> None:
    stored = [FileOutcome(file, "stored", "not committed") for file in OK.files]
    done = [FileOutcome(file, "delivered") for file in OK.files]
    record = bench.end(bench.submit(Script(answers={"pacs": [stored, done]})))
    assert (record.status, record.deliveries[0].attempts) == ("delivered", 2)


def test_a_rejected_job_can_be_retried(bench: Bench) -> None:
    rejected = SegmentOutcome(status="nothing_selected", exit_code=11)
    job = bench.submit(Script(segment=[rejected, OK]))
    assert bench.end(job).status == "rejected"
    bench.desk.retry(job.job_id)
    record = bench.end(job)
    assert (record.status, record.attempts) == ("delivered", 2)


def test_results_are_sent_anew_only_where_that_is_asked_for(bench: Bench) -> None:
    script = Script(answers={"pacs": [[FileOutcome("a/seg.dcm", "refused", "0xA900")]]})
    job = bench.submit(script)
    assert bench.end(job).status == "failed"
    del script.answers["pacs"]
    bench.desk.retry(job.job_id, again=True)
    assert bench.end(job).status == "delivered"
    assert bench.steps.order.count(job.study_key) == 2
    assert script.seen[-1] == ("pacs", "a/seg.dcm", "b/seg.dcm")


def test_results_that_are_gone_are_told(bench: Bench) -> None:
    script = Script(answers={"pacs": [AppError("no answer")]})
    job = bench.submit(script)
    record = bench.end(job)
    database = Path(str(bench.desk.engine.url.database))
    (database.parent / "work" / str(record.folder) / "a/seg.dcm").unlink()
    del script.answers["pacs"]
    bench.desk.retry(job.job_id)
    record = bench.end(job)
    assert (record.status, record.reason) == ("failed", "pacs: the result is no longer kept")
    assert record.deliveries[0].files == {"a/seg.dcm": "refused", "b/seg.dcm": "delivered"}


def test_a_job_is_cancelled_in_the_middle_of_its_segmentation(bench: Bench) -> None:
    hold = threading.Event()
    job = bench.submit(Script(hold=hold))
    bench.wait(job, lambda record: record.step == "segment")
    assert bench.desk.needs(job_id=job.job_id, study_key=job.study_key)
    bench.desk.cancel(job.job_id)
    assert bench.end(job).status == "cancelled"
    after = bench.end(bench.submit(Script()))  # the only worker is free again
    assert after.status == "delivered"
    record = bench.desk.job(job.job_id)
    assert (record.status, record.deliveries) == ("cancelled", ())
    assert not bench.desk.needs(job_id=job.job_id)
    hold.set()
    bench.desk.retry(job.job_id)
    assert bench.end(job).status == "delivered"


def test_a_newer_version_replaces_one_that_goes_on(bench: Bench) -> None:
    job = bench.submit(Script(hold=(hold := threading.Event())))
    bench.wait(job, lambda record: record.step == "segment")
    newer = JobRef(job.study_key, 3, job.workflow)
    late = JobRef(job.study_key, 2, job.workflow)
    assert bench.desk.submit(newer)
    assert bench.desk.submit(late)
    hold.set()
    assert bench.end(newer).status == "delivered"
    for old in (job, late):
        record = bench.desk.job(old.job_id)
        assert (record.status, record.reason) == ("replaced", "version 3 of the study is there")
    versions = [r.job.version for r in bench.desk.jobs(study_key=job.study_key)]
    assert sorted(versions) == [1, 2, 3]


def test_the_lower_priority_number_comes_first(bench: Bench) -> None:
    first = bench.submit(Script(hold=(hold := threading.Event())))
    bench.wait(first, lambda record: record.step == "segment")
    later, sooner = bench.submit(Script(), 200), bench.submit(Script(), 5)
    hold.set()
    bench.end(later)
    order = bench.steps.order
    assert order.index(sooner.study_key) < order.index(later.study_key)


def test_requests_that_make_no_sense_are_refused(bench: Bench) -> None:
    job = bench.submit(Script(destinations=()))
    assert bench.end(job).status == "delivered"
    with pytest.raises(JobError, match="expected a job that goes on"):
        bench.desk.cancel(job.job_id)
    with pytest.raises(JobError, match="rejected, failed, cancelled"):
        bench.desk.retry(job.job_id)
    with pytest.raises(JobError, match="expected the id of a job, found 'nobody'"):
        bench.desk.retry("nobody")


def test_jobs_are_counted_by_status(bench: Bench) -> None:
    bench.end(bench.submit(Script()))
    counts = bench.desk.counts()
    assert counts["delivered"] >= 1
    assert sum(counts.values()) == len(bench.desk.jobs())
    assert len(bench.desk.jobs(limit=1)) == 1


def test_a_job_that_the_engine_gives_up_fails_with_that_reason(bench: Bench) -> None:
    job = bench.submit(Script(hold=(hold := threading.Event())))
    bench.wait(job, lambda record: record.step == "segment")
    bench.desk.client.cancel_workflow(job.job_id)
    record = bench.end(job)
    assert (record.status, record.reason) == (
        "failed",
        f"the job engine gave up: {job.job_id} CANCELLED",
    )
    hold.set()
