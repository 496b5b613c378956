from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from app.errors import WorkersClosedError
from app.node.job_settings import JobSettings
from app.node.job_steps import FileOutcome, FileState, JobRef, SegmentOutcome, Stop
from app.node.jobs import JobService

JOB = JobRef("0123456789abcdef", 1, "abdomen")


class Steps:
    """The first segmentation lasts until the node ends."""

    def __init__(self) -> None:
        self.assembled = 0
        self.begun, self.closed = threading.Event(), threading.Event()

    def assemble(self, job: JobRef, folder: Path) -> None:
        self.assembled += 1

    def segment(self, job: JobRef, source: Path, output: Path, stop: Stop) -> SegmentOutcome:
        if not self.begun.is_set():
            self.begun.set()
            assert self.closed.wait(30)
            raise WorkersClosedError("the node ends")
        (output / "seg.dcm").touch()
        return SegmentOutcome(status="ok", exit_code=0, files=("seg.dcm",))

    def destinations(self, job: JobRef) -> Sequence[str]:
        return ["pacs"]

    def send(
        self,
        job: JobRef,
        output: Path,
        files: Sequence[str],
        destination: str,
        already: Mapping[str, FileState],
        stop: Stop,
    ) -> Iterable[FileOutcome]:
        return [FileOutcome(file, "delivered") for file in files]


def test_a_job_that_is_parked_goes_on_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps()
    settings = JobSettings(polling_interval_s=0.02)
    with caplog.at_level(logging.INFO):
        service = JobService(settings, tmp_path, steps, workers=1)
        service.start().submit(JOB)
        assert steps.begun.wait(30)
        assert service.stop(0.0, steps.closed.set)
        service = JobService(settings, tmp_path, steps, workers=1)
        desk = service.start()
        give_up_at = time.monotonic() + 30
        while (record := desk.job(JOB.job_id)).status != "delivered":
            assert time.monotonic() < give_up_at, record
            time.sleep(0.02)
        assert service.stop(5.0, lambda: None)
    assert (record.attempts, steps.assembled) == (1, 1)  # what was done is not done again
    assert [r.getMessage() for r in caplog.records if r.name == "dbos"] == []
