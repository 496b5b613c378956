"""A node with work that takes no time, to be killed: `node_of_jobs.py URL STATE PACS NODE JOBS`.

A job's number decides its fate: every seventh is no volume, every fifth fails in its first attempt.
Destination `b` is away during the first attempt of each job. Files are written where a C-STORE
would go to, and each store is a line in `stores.log`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from app.errors import AppError
from app.node.job_settings import JobSettings
from app.node.job_statuses import OPEN_STATUSES
from app.node.job_steps import BackOff, FileOutcome, FileState, JobRef, SegmentOutcome, Stop
from app.node.jobs import JobService

DESTINATIONS = ("a", "b")
SOON = BackOff(attempts=5, first_delay_s=0.1, factor=1.0, jitter=0.0)


class Steps:
    """Two files per study, of a content that follows from the study."""

    def __init__(self, pacs: Path, node: str, seconds: float):
        self.pacs = pacs
        self.node = node
        self.seconds = seconds

    def assemble(self, job: JobRef, folder: Path) -> None:
        assert not list(folder.iterdir())
        (folder / "image.dcm").write_text(job.study_key)

    def segment(self, job: JobRef, source: Path, output: Path, stop: Stop) -> SegmentOutcome:
        number = int(job.study_key, 16)
        time.sleep(self.seconds)
        if number % 7 == 0:
            return SegmentOutcome(status="not_a_volume", exit_code=12, message="no volume")
        once = self.pacs / f"failed-{job.job_id}"
        if number % 5 == 0 and not once.exists():
            once.touch()
            raise AppError("a fault that passes")
        text = (source / "image.dcm").read_text()
        for name in ("one.dcm", "two.dcm"):
            (output / name).write_text(hashlib.sha256(f"{text}{name}".encode()).hexdigest())
        return SegmentOutcome(status="ok", exit_code=0, files=("one.dcm", "two.dcm"))

    def destinations(self, job: JobRef) -> Sequence[str]:
        return DESTINATIONS

    def send(
        self,
        job: JobRef,
        output: Path,
        files: Sequence[str],
        destination: str,
        already: Mapping[str, FileState],
        stop: Stop,
    ) -> Iterable[FileOutcome]:
        once = self.pacs / f"away-{job.job_id}"
        if destination == "b" and not once.exists():
            once.touch()
            raise AppError("no answer")
        for file in files:
            target = self.pacs / destination / f"{job.study_key}-{file}"
            partial = target.with_suffix(f".{self.node}-{os.getpid()}")
            partial.write_bytes((output / file).read_bytes())
            partial.replace(target)
            with (self.pacs / "stores.log").open("a") as log:
                log.write(f"{destination}/{target.name} {self.node}\n")
            yield FileOutcome(file, "delivered")


def main(url: str, state: Path, pacs: Path, node: str, jobs: int, seconds: float) -> None:
    settings = JobSettings(
        database_url=url,
        node=node,
        polling_interval_s=0.05,
        heartbeat_s=0.3,
        dead_after_s=1.5,
        segment_retries=SOON,
        send_retries=SOON,
    )
    for destination in DESTINATIONS:
        (pacs / destination).mkdir(parents=True, exist_ok=True)
    service = JobService(settings, state, Steps(pacs, node, seconds), workers=2)
    desk = service.start()
    print("started", flush=True)
    for number in range(1, jobs + 1):
        desk.submit(JobRef(f"{number:032x}", 1, "abdomen"))
    while len(desk.jobs()) < jobs or desk.jobs(statuses=OPEN_STATUSES):
        time.sleep(0.1)
    service.stop(5.0, lambda: None)
    print("ended", flush=True)


if __name__ == "__main__":
    url, state, pacs, node, jobs, seconds = sys.argv[1:]
    main(url, Path(state), Path(pacs), node, int(jobs), float(seconds))
