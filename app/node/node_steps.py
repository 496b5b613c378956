"""The work of a job: instances to a folder, that through the graph, results to their places."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.errors import InputGoneError
from app.node.audit import AuditTrail
from app.node.circuit import Circuits
from app.node.commitment_scu import CommitmentInbox, request_commitment
from app.node.delivery import (
    Delivery,
    FileHead,
    FileResult,
    meaning_of_status,
    read_head,
    result_of,
)
from app.node.destinations import Destination, DimseDestination, FolderDestination
from app.node.job_inputs import JobInput
from app.node.job_steps import FileOutcome, FileState, JobRef, SegmentOutcome, Stop
from app.node.metrics import NodeMetrics
from app.node.sending import send_each
from app.node.settings import NodeSettings
from app.node.workers import WorkerPool
from operators.rejection import write_rejection

_SUCCESS = 0x0000
#: File of the note that rejects older results.
REJECTION = "rejection.dcm"


class NodeSteps:
    """What the job engine calls; see `app.node.job_steps.JobSteps`.

    Parameters
    ----------
    settings
        Workflows and destinations.
    inputs
        What a job works on; raises InputGoneError.
    earlier
        Results of older versions of its study.
    workers
        Segment.
    audit
        Where what happens to a study is noted.
    inbox
        Takes the reports of storage commitment.
    metrics
        Counts what is sent, and times the stages.
    """

    def __init__(
        self,
        settings: NodeSettings,
        *,
        inputs: Callable[[JobRef], JobInput],
        earlier: Callable[[JobRef], Sequence[Path]],
        workers: WorkerPool,
        audit: AuditTrail,
        inbox: CommitmentInbox,
        metrics: NodeMetrics,
    ) -> None:
        self._settings = settings
        self._inputs = inputs
        self._earlier = earlier
        self._workers = workers
        self._audit = audit
        self._inbox = inbox
        self._metrics = metrics
        self._circuits = Circuits(settings.circuit)

    def assemble(self, job: JobRef, folder: Path) -> None:
        """Link the study's instances into a folder; the bytes exist once."""
        begun = time.monotonic()
        found = self._inputs(job)
        for number, (uid, path) in enumerate(sorted(found.files.items())):
            target = folder / f"{number:06d}.dcm"
            try:
                _link(path, target)
            except FileNotFoundError as exc:
                raise InputGoneError(f"instance {uid} is no longer kept") from exc
        self._metrics.stage_took("assemble", time.monotonic() - begun)

    def segment(self, job: JobRef, source: Path, output: Path, stop: Stop) -> SegmentOutcome:
        """Run the graph in a worker process."""
        begun = time.monotonic()
        outcome = self._workers.run(job.workflow, source, output, stop)
        self._metrics.stage_took("run", time.monotonic() - begun)
        report = _report(output / outcome.report) if outcome.report else {}
        for stage, seconds in _stages_s(report).items():
            self._metrics.stage_took(stage, seconds)
        self._audit.append(
            "segmented",
            job.study_key,
            version=job.version,
            status=outcome.status,
            message=outcome.message,
            files=len(outcome.files),
            **_chosen(report),
        )
        if not outcome.files or not self._rejects(job):
            return outcome
        return replace(outcome, files=(*outcome.files, *self._rejection(job, output)))

    def _rejects(self, job: JobRef) -> bool:
        names = self.destinations(job)
        return any(_takes_notes(self._settings.destinations[name]) for name in names)

    def _rejection(self, job: JobRef, output: Path) -> Sequence[str]:
        """A note that rejects the results of older versions, except older notes."""
        earlier = [path for path in self._earlier(job) if path.name != REJECTION]
        if not earlier:
            return ()
        write_rejection(earlier, output / REJECTION)
        return (REJECTION,)

    def destinations(self, job: JobRef) -> Sequence[str]:
        """Names of the workflow's destinations, for all who sent the study."""
        found: dict[str, Destination] = {}
        for calling_ae in self._inputs(job).callers:
            for peer in self._settings.destinations_of(job.workflow, calling_ae):
                found[peer.name] = peer
        return list(found)

    def send(
        self,
        job: JobRef,
        output: Path,
        files: Sequence[str],
        destination: str,
        already: Mapping[str, FileState],
        stop: Stop,
    ) -> Iterator[FileOutcome]:
        """Send what is open in one try, and ask for commitment where the destination gives it."""
        peer = self._settings.destinations.get(destination)
        if peer is None:
            gone = "there is no such destination in the settings any more"
            yield from (FileOutcome(file, "failed", gone) for file in files)
            return
        circuit = self._circuits.of(destination)
        if (wait_s := circuit.wait_s()) > 0:
            told = f"{peer} failed before, next try in {wait_s:.0f} s"
            yield from (FileOutcome(file, "failed", told) for file in files)
            return
        begun = time.monotonic()
        by_uid: dict[str, str] = {}
        heads: list[FileHead] = []
        results: list[FileResult] = []
        for file in files:
            if file == REJECTION and not _takes_notes(peer):
                yield FileOutcome(file, "delivered", "this destination is sent no such notes")
                continue
            head = read_head(output / file)
            if isinstance(head, FileResult):
                yield FileOutcome(file, "refused", head.text)
                continue
            by_uid[head.SOPInstanceUID] = file
            if already.get(file) == "stored":
                results.append(result_of(head, meaning_of_status(_SUCCESS), _SUCCESS))
            else:
                heads.append(head)
        committing = isinstance(peer, DimseDestination) and peer.commitment
        for result in send_each(heads, peer):
            results.append(result)
            self._metrics.instances_sent(destination, result.verdict.value)
            if result.delivered:  # at once: after the answer this node may come to no more
                self._note(job, peer, [result])
            file = by_uid[result.SOPInstanceUID]
            yield FileOutcome(file, _state(result, committing), result.text)
        circuit.record(Delivery(destination=destination, results=tuple(results)))
        self._metrics.stage_took("send", time.monotonic() - begun)
        self._note(job, peer, [result for result in results if not result.delivered])
        if committing and isinstance(peer, DimseDestination):
            yield from self._committed(job, results, peer, by_uid)

    def _committed(
        self,
        job: JobRef,
        results: Sequence[FileResult],
        peer: DimseDestination,
        files: Mapping[str, str],
    ) -> Iterator[FileOutcome]:
        commitment = request_commitment(results, peer, self._inbox)
        reasons = commitment.reasons()
        self._audit.append(
            "committed",
            job.study_key,
            version=job.version,
            destination=peer.name,
            committed=sorted(commitment.committed),
            open=reasons,
        )
        for uid in (result.SOPInstanceUID for result in results if result.delivered):
            if uid in commitment.committed:
                yield FileOutcome(files[uid], "delivered")
            elif uid in commitment.failed:  # stored and lost again: to be sent once more
                yield FileOutcome(files[uid], "failed", reasons[uid])
            else:
                yield FileOutcome(files[uid], "stored", reasons.get(uid, commitment.text))

    def _note(self, job: JobRef, peer: Destination, results: Sequence[FileResult]) -> None:
        if not results:
            return
        self._audit.append(
            "sent",
            job.study_key,
            version=job.version,
            destination=peer.name,
            address=str(peer),
            results={r.SOPInstanceUID: f"{r.verdict.value}: {r.text}" for r in results},
        )


def _takes_notes(peer: Destination) -> bool:
    return not isinstance(peer, FolderDestination) and peer.rejection_notes


def _state(result: FileResult, committing: bool) -> FileState:
    if result.delivered:
        return "stored" if committing else "delivered"
    return "failed" if result.retryable else "refused"


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(path, target)


def _report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _stages_s(report: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by stage of a run, over all its series."""
    total: dict[str, float] = {}
    for part in (report, *report.get("series", ())):
        for stage, seconds in part.get("stages_s", {}).items():
            name = stage.replace(" ", "_").lower()
            total[name] = total.get(name, 0.0) + seconds
    return total


def _chosen(report: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen and which networks worked on it, for the audit trail."""
    return {
        "series": [
            {key: entry.get(key) for key in ("SeriesInstanceUID", "selection", "model", "status")}
            for entry in report.get("series", ())
        ],
        "models": [
            {key: entry.get(key) for key in ("name", "version", "sha256")}
            for entry in report.get("models", ())
        ],
    }
