"""The steps of the durable workflows: each does the work, and tells how it ended in plain values.

No ordinary exception leaves a step: the job engine would take it for the workflow's end. What
ends the whole node leaves as `ParkedError`, which the engine does not note; then the workflow
counts as interrupted and goes on at the next start, or at another node.
"""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dbos import DBOS

from app.errors import WorkersClosedError
from app.node.job_records import DeliveryTask, JobRecords
from app.node.job_steps import FileOutcome, JobRef, JobSteps, SegmentOutcome, Verdict, verdict_of
from app.outcomes import outcome_of, sentence_of

log = logging.getLogger(__name__)


class ParkedError(BaseException):
    """The node ends: leave the workflow as it is."""


class JobRuns:
    """Runs one attempt on a study, or one on a delivery.

    Parameters
    ----------
    steps
        The work itself.
    records
        Where its progress is noted.
    work
        Folder with one folder per job; shared where nodes share a database.
    """

    def __init__(self, steps: JobSteps, records: JobRecords, work: Path):
        self._steps = steps
        self._records = records
        self._work = work
        self._stopping = threading.Event()
        self._idle = threading.Condition()
        self._active = 0

    def stop(self) -> None:
        """Begin no further step."""
        self._stopping.set()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until no step is running; False where some still are at the end of the time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._active == 0, timeout_s)

    def study(self, job_id: str, attempt: int) -> None:
        """The workflow of one attempt on a study."""
        folder: str | None = self._step("assemble", self._assemble, job_id, attempt)
        if folder is None:
            return
        outcome: dict[str, Any] | None = self._step(
            "segment", self._segment, job_id, attempt, folder
        )
        if outcome is not None:
            self._step("conclude", self._conclude, job_id, attempt, folder, outcome)

    def deliver(self, job_id: str, run: int, destination: str, attempt: int) -> None:
        """The workflow of one attempt on one destination of the results of one run."""
        reason: str | None = self._step("send", self._send, job_id, run, destination, attempt)
        if reason is not None:
            settle = self._records.settle
            self._step("settle", settle, job_id, run, destination, attempt, reason)

    def _step(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        return DBOS.run_step({"name": name}, self._counted, work, *arguments)

    def _counted(self, work: Callable[..., Any], *arguments: Any) -> Any:
        with self._count():
            try:
                return work(*arguments)
            except WorkersClosedError as exc:
                raise ParkedError from exc

    @contextmanager
    def _count(self) -> Iterator[None]:
        with self._idle:
            if self._stopping.is_set():
                raise ParkedError
            self._active += 1
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def _assemble(self, job_id: str, attempt: int) -> str | None:
        """Fill a new folder, whose name it returns; None where there is nothing to do."""
        job = self._records.begin(job_id, attempt, "assemble")
        if job is None:
            return None
        # no other execution of this step has the same folder, whoever is taken for dead
        name = f"{job_id}/{uuid.uuid4().hex[:12]}"
        source = self._work / name / "in"
        try:
            source.mkdir(parents=True)
            self._steps.assemble(job, source)
        except WorkersClosedError:
            raise
        except Exception as exc:
            self._conclude(job_id, attempt, name, _failure(job, "assemble", exc))
            return None
        return name

    def _segment(self, job_id: str, attempt: int, name: str) -> dict[str, Any] | None:
        job = self._records.begin(job_id, attempt, "segment")
        if job is None:
            return None
        folder = self._work / name
        output = folder / f"out-{uuid.uuid4().hex[:12]}"
        try:
            output.mkdir(parents=True)
            outcome = self._steps.segment(
                job, folder / "in", output, self._stop_of(job_id, attempt)
            )
            asked = verdict_of(outcome.status) is Verdict.DONE
            destinations = list(self._steps.destinations(job)) if asked else []
        except WorkersClosedError:
            raise
        except Exception as exc:
            return _failure(job, "segment", exc)
        return {**asdict(outcome), "output": output.name, "destinations": destinations}

    def _conclude(self, job_id: str, attempt: int, name: str, outcome: dict[str, Any]) -> None:
        ended = SegmentOutcome(
            status=outcome["status"],
            exit_code=outcome["exit_code"],
            message=outcome["message"],
            report=outcome["report"],
            files=tuple(outcome["files"]),
        )
        folder = f"{name}/{outcome['output']}" if outcome["output"] else name
        self._records.conclude(job_id, attempt, ended, folder, outcome["destinations"])
        shutil.rmtree(self._work / name / "in", ignore_errors=True)

    def _send(self, job_id: str, run: int, destination: str, attempt: int) -> str | None:
        """Send what is open; the reason of what still is, None where there is nothing to do."""
        task = self._records.begin_delivery(job_id, run, destination, attempt)
        if task is None:
            return None
        output = self._work / task.folder
        for file in task.files:
            if task.states.get(file) != "delivered" and not (output / file).is_file():
                gone = FileOutcome(file, "refused", "the result is no longer kept")
                self._records.note_file(job_id, destination, gone)
        try:
            return self._send_files(task, output, destination, self._stop_of(job_id, run))
        except Exception as exc:
            return str(_failure(task.job, "send", exc)["message"])

    def _send_files(
        self, task: DeliveryTask, output: Path, destination: str, stop: Callable[[], bool]
    ) -> str:
        job_id = task.job.job_id
        left = [file for file in task.files if task.states.get(file) != "delivered"]
        here = [file for file in left if (output / file).is_file()]
        reasons = {file: "the result is no longer kept" for file in left if file not in here}
        if not here:
            return "; ".join(sorted(set(reasons.values())))
        for outcome in self._steps.send(task.job, output, here, destination, task.states, stop):
            self._records.note_file(job_id, destination, outcome)
            reasons[outcome.file] = outcome.reason if outcome.state != "delivered" else ""
            if self._stopping.is_set():
                raise ParkedError
            if stop():
                break
        said = sorted({reason for reason in reasons.values() if reason})
        return "; ".join(said) or f"{sum(f not in reasons for f in left)} files without an answer"

    def _stop_of(self, job_id: str, run: int) -> Callable[[], bool]:
        return lambda: not self._records.goes_on(job_id, run)


def _failure(job: JobRef, step: str, error: Exception) -> dict[str, Any]:
    """The outcome of a step that raised; messages of unexpected errors may quote a header."""
    log.warning("job %s, %s: %s", job.job_id, step, sentence_of(error))
    outcome = outcome_of(error)
    return {
        "status": outcome.status,
        "exit_code": outcome.exit_code,
        "message": sentence_of(error),
        "report": "",
        "files": [],
        "output": "",
        "destinations": [],
    }
