"""What is known of a job, for people and for the node."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from app.node.job_steps import FileState, JobRef
from app.node.job_tables import DELIVERIES, FILES


@dataclass(frozen=True, kw_only=True)
class DeliveryRecord:
    """How far one job is at one destination; its status is `waiting`, `sending` or an end."""

    destination: str
    status: str
    attempts: int
    reason: str
    files: dict[str, FileState]


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What is known of one job; times are seconds since 1970 or None.

    Parameters
    ----------
    status
        One of `OPEN_STATUSES` or `END_STATUSES` of `app.node.job_desk`.
    step
        `assemble`, `segment` or `send`, the latest that was begun; empty before.
    attempts
        How often the study was worked on, of all series of attempts.
    reason
        The latest failure's sentence, also while a further attempt waits.
    outcome
        Status of the latest run, as in `report.json`.
    node
        Who worked on it last.
    folder
        Below the work folder: where the latest results lie; None before.
    """

    job: JobRef
    priority: int
    status: str
    step: str
    attempts: int
    reason: str
    outcome: str
    node: str
    folder: str | None
    created_at: float
    started_at: float | None
    changed_at: float
    ended_at: float | None
    deliveries: tuple[DeliveryRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values, the job's key and id among them."""
        plain = asdict(self)
        return {"job_id": self.job.job_id, **plain.pop("job"), **plain}


def list_jobs(connection: sa.Connection, query: sa.Select[Any]) -> list[JobRecord]:
    """Run a query on the jobs, and gather what belongs to each."""
    rows = connection.execute(query).all()
    ids = [row.job_id for row in rows]
    files: dict[tuple[str, str], dict[str, FileState]] = {}
    for file in connection.execute(FILES.select().where(FILES.c.job_id.in_(ids))):
        files.setdefault((file.job_id, file.destination), {})[file.file] = file.state
    deliveries: dict[str, list[DeliveryRecord]] = {}
    chosen = DELIVERIES.select().where(DELIVERIES.c.job_id.in_(ids))
    for row in connection.execute(chosen.order_by(DELIVERIES.c.destination)):
        deliveries.setdefault(row.job_id, []).append(
            DeliveryRecord(
                destination=row.destination,
                status=row.status,
                attempts=row.attempt,
                reason=row.reason,
                files=files.get((row.job_id, row.destination), {}),
            )
        )
    return [
        JobRecord(
            job=JobRef(row.study_key, row.version, row.workflow),
            priority=row.priority,
            status=row.status,
            step=row.step,
            attempts=row.attempt,
            reason=row.reason,
            outcome=row.outcome,
            node=row.node,
            folder=row.folder,
            created_at=row.created_at,
            started_at=row.started_at,
            changed_at=row.changed_at,
            ended_at=row.ended_at,
            deliveries=tuple(deliveries.get(row.job_id, ())),
        )
        for row in rows
    ]
