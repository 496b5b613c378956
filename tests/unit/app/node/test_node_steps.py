from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from app.node.audit import AuditTrail
from app.node.commitment_scu import CommitmentInbox
from app.node.job_inputs import JobInput
from app.node.job_steps import JobRef
from app.node.metrics import NodeMetrics
from app.node.node_steps import NodeSteps
from app.node.settings import NodeSettings, with_names
from app.node.workers import WorkerPool

JOB = JobRef("ab" * 16, 1, "VISCERA")


class NoWorkers(WorkerPool):
    """Sending needs none."""

    def __init__(self) -> None:
        pass


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditTrail]:
    trail = AuditTrail(tmp_path / "node.sqlite")
    yield trail
    trail.close()


@pytest.fixture
def steps(tmp_path: Path, audit: AuditTrail) -> NodeSteps:
    """Sends to the folder `share`, which is absent."""
    document = {
        "state": str(tmp_path),
        "workflows": {"VISCERA": {"destinations": ["share"]}},
        "destinations": {"share": {"kind": "folder", "folder": str(tmp_path / "share")}},
    }
    return NodeSteps(
        NodeSettings.model_validate(with_names(document)),
        inputs=lambda job: JobInput(StudyInstanceUID="1.2", callers=("CT",), files={}),
        earlier=lambda job: (),
        workers=NoWorkers(),
        audit=audit,
        inbox=CommitmentInbox(),
        metrics=NodeMetrics(tmp_path),
    )


@pytest.fixture
def results(tmp_path: Path) -> list[str]:
    """Names of three results in `out`, with the UIDs 1.2.0 to 1.2.2."""
    (tmp_path / "out").mkdir()
    for number in range(3):
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = SegmentationStorage, f"1.2.{number}"
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.save_as(tmp_path / "out" / f"{number}.dcm", enforce_file_format=True)
    return [f"{number}.dcm" for number in range(3)]


def noted(audit: AuditTrail) -> dict[str, str]:
    events = audit.read(JOB.study_key, "sent")
    return {uid: said for event in events for uid, said in event.details["results"].items()}


def test_what_was_sent_is_in_the_audit_trail_though_the_node_ends_before_the_next(
    steps: NodeSteps, audit: AuditTrail, tmp_path: Path, results: list[str]
) -> None:
    (tmp_path / "share").mkdir()
    sending = iter(steps.send(JOB, tmp_path / "out", results, "share", {}, lambda: False))
    assert next(sending).state == "delivered"
    assert noted(audit) == {"1.2.0": "stored: stored"}
    assert [outcome.state for outcome in sending] == ["delivered"] * 2
    assert noted(audit) == {f"1.2.{number}": "stored: stored" for number in range(3)}


def test_failures_of_one_try_are_one_event_of_the_audit_trail(
    steps: NodeSteps, audit: AuditTrail, tmp_path: Path, results: list[str]
) -> None:
    sent = steps.send(JOB, tmp_path / "out", results, "share", {}, lambda: False)
    assert {outcome.state for outcome in sent} == {"failed"}
    (event,) = audit.read(JOB.study_key, "sent")
    assert sorted(event.details["results"]) == ["1.2.0", "1.2.1", "1.2.2"]
