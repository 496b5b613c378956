"""Processes that run the real graph, and die in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from app.errors import (
    AppError,
    WorkerDiedError,
    WorkersClosedError,
    WorkerStoppedError,
    WorkerTimeoutError,
)
from app.node.job_desk import JobDesk
from app.node.job_listing import JobRecord
from app.node.job_settings import JobSettings
from app.node.job_statuses import OPEN_STATUSES
from app.node.job_steps import BackOff, FileOutcome, FileState, JobRef, SegmentOutcome, Stop
from app.node.jobs import JobService
from app.node.workers import WorkerPool, WorkerSettings
from app.run_settings import RunSettings
from models.bundle import Bundle

ONE = WorkerSettings(count=1, threads=1)


@pytest.fixture(scope="module")
def run_settings(tent_bundle: Bundle) -> RunSettings:
    return RunSettings(models=tent_bundle.folder, device="cpu", any_anatomy=True)


@pytest.fixture(scope="module")
def pool(
    run_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerPool]:
    pool = WorkerPool(ONE, tmp_path_factory.mktemp("turns"), {"abdomen": run_settings})
    assert pool.wait_ready(120)
    yield pool
    pool.close()


def test_the_results_of_a_process_are_those_of_the_graph(
    pool: WorkerPool, patient_folder: Path, tmp_path: Path
) -> None:
    stages: list[str] = []
    outcome = pool.run(
        "abdomen", patient_folder, tmp_path, progress=lambda stage, _: stages.append(stage)
    )
    assert (outcome.status, outcome.exit_code, outcome.report) == ("ok", 0, "report.json")
    (file,) = outcome.files
    seg = pydicom.dcmread(tmp_path / file)
    assert seg.Modality == "SEG"
    assert len(seg.SegmentSequence) == 5
    assert "segment" in stages


def test_what_is_wrong_with_the_input_is_an_outcome(pool: WorkerPool, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    outcome = pool.run("abdomen", tmp_path / "in", tmp_path / "out")
    assert (outcome.status, outcome.exit_code, outcome.files) == ("unreadable_input", 10, ())


def test_a_workflow_that_nobody_knows_is_refused(pool: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="one of the workflows abdomen, found 'thorax'"):
        pool.run("thorax", tmp_path, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_the_death_of_a_process_names_its_signal_and_the_next_run_has_another(
    pool: WorkerPool, patient_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    assert pool.wait_ready(120)
    (dead,) = pool.pids

    def kill(stage: str, _share: float) -> None:
        if stage == "segment":
            os.kill(dead, number)

    with pytest.raises(WorkerDiedError, match=number.name):
        pool.run("abdomen", patient_folder, tmp_path / "out", progress=kill)
    outcome = pool.run("abdomen", patient_folder, tmp_path / "out")
    assert outcome.status == "ok"
    assert dead not in pool.pids


def test_a_process_that_dies_while_idle_is_replaced(
    pool: WorkerPool, patient_folder: Path, tmp_path: Path
) -> None:
    assert pool.wait_ready(120)
    (dead,) = pool.pids
    os.kill(dead, signal.SIGKILL)
    assert pool.run("abdomen", patient_folder, tmp_path).status == "ok"
    assert dead not in pool.pids


def test_a_run_that_is_given_up_kills_its_process(
    pool: WorkerPool, patient_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(WorkerStoppedError):
        pool.run("abdomen", patient_folder, tmp_path, stop=lambda: True)
    assert pool.run("abdomen", patient_folder, tmp_path).status == "ok"


def test_a_run_that_takes_too_long_is_killed(
    run_settings: RunSettings, patient_folder: Path, tmp_path: Path
) -> None:
    settings = WorkerSettings(count=1, threads=1, timeout_s=0.001)
    pool = WorkerPool(settings, tmp_path / "turns", {"abdomen": run_settings})
    try:
        assert pool.wait_ready(120)
        with pytest.raises(WorkerTimeoutError, match=r"within 0\.001 s"):
            pool.run("abdomen", patient_folder, tmp_path)
    finally:
        pool.close()
    with pytest.raises(WorkersClosedError):
        pool.run("abdomen", patient_folder, tmp_path)


def test_a_process_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from app.node.workers import WorkerPool, WorkerSettings\n"
        "pool = WorkerPool(WorkerSettings(count=1, threads=1), Path(sys.argv[1]), {})\n"
        "assert pool.wait_ready(120)\n"
        "print(*pool.pids, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    give_up_at = time.monotonic() + 30
    while Path(f"/proc/{child}/stat").exists():
        if Path(f"/proc/{child}/stat").read_text().split(")")[1].split()[0] == "Z":
            break  # nobody reaps orphans in some containers
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


class GraphSteps:
    """The real graph on one patient; its process is killed in the first attempt."""

    def __init__(self, pool: WorkerPool, source: Path, sent: Path):
        self.pool, self.source, self.sent = pool, source, sent
        self.killed = 0

    def assemble(self, job: JobRef, folder: Path) -> None:
        for path in self.source.iterdir():
            os.link(path, folder / path.name)

    def segment(self, job: JobRef, source: Path, output: Path, stop: Stop) -> SegmentOutcome:
        def kill(stage: str, _share: float) -> None:
            if stage == "segment" and not self.killed:
                (self.killed,) = self.pool.pids
                os.kill(self.killed, signal.SIGKILL)

        return self.pool.run(job.workflow, source, output, stop, kill)

    def destinations(self, job: JobRef) -> Sequence[str]:
        return ["folder"]

    def send(
        self,
        job: JobRef,
        output: Path,
        files: Sequence[str],
        destination: str,
        already: Mapping[str, FileState],
        stop: Stop,
    ) -> Iterable[FileOutcome]:
        for file in files:
            (self.sent / Path(file).name).write_bytes((output / file).read_bytes())
            yield FileOutcome(file, "delivered")


def test_two_processes_work_side_by_side_and_take_turns_at_the_device(
    run_settings: RunSettings, patient_folder: Path, tmp_path: Path
) -> None:
    settings = WorkerSettings(count=2, threads=1, devices=("cpu",))
    assert settings.threads_each == 1
    pool = WorkerPool(settings, tmp_path / "turns", {"abdomen": run_settings})
    try:
        with ThreadPoolExecutor(4) as threads:
            outputs = [tmp_path / str(number) for number in range(4)]
            ended = list(
                threads.map(lambda folder: pool.run("abdomen", patient_folder, folder), outputs)
            )
        assert [outcome.status for outcome in ended] == ["ok"] * 4
        assert len(pool.pids) == 2
        assert [path.name for path in (tmp_path / "turns").iterdir()] == ["cpu-0.lock"]
    finally:
        pool.close()


def test_a_job_whose_process_dies_is_segmented_by_the_next(
    run_settings: RunSettings, patient_folder: Path, tmp_path: Path
) -> None:
    settings = replace(run_settings)
    pool = WorkerPool(ONE, tmp_path / "turns", {"abdomen": settings})
    steps = GraphSteps(pool, patient_folder, tmp_path)
    soon = BackOff(attempts=3, first_delay_s=0.0)
    service = JobService(JobSettings(segment_retries=soon), tmp_path / "state", steps, workers=1)
    desk = service.start()
    try:
        job = JobRef("0" * 31 + "1", 1, "abdomen")
        assert desk.submit(job)
        record = wait_for_end(desk, job)
        assert (record.status, record.attempts, record.outcome) == ("delivered", 2, "ok")
        assert steps.killed not in (0, *pool.pids)
        assert pydicom.dcmread(tmp_path / "segmentation.dcm").Modality == "SEG"
    finally:
        assert service.stop(10.0, pool.close)


def wait_for_end(desk: JobDesk, job: JobRef) -> JobRecord:
    give_up_at = time.monotonic() + 120
    while (record := desk.job(job.job_id)).status in OPEN_STATUSES:
        assert time.monotonic() < give_up_at, record
        time.sleep(0.05)
    return record
