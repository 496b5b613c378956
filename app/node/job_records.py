"""What workflows note about their job: each change is one transaction, and harmless twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from app.node.job_desk import JobDesk, delivery_workflow_id, lock_job, study_workflow_id
from app.node.job_statuses import OPEN_STATUSES
from app.node.job_steps import (
    FileOutcome,
    FileState,
    JobRef,
    RetryPolicy,
    SegmentOutcome,
    Verdict,
    verdict_of,
    verdict_of_files,
)
from app.node.job_tables import DELIVERIES, FILES, JOBS, in_transaction

S = TypeVar("S", sa.Select[Any], sa.Update)

#: What the job engine calls a workflow that it will not run again without a result.
LOST_STATUSES = ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "CANCELLED")


@dataclass(frozen=True)
class DeliveryTask:
    """What a delivery needs to know: its job, where results lie, and what is sent already."""

    job: JobRef
    folder: str
    files: tuple[str, ...]
    states: dict[str, FileState]


class JobRecords:
    """Changes of jobs by their workflows.

    An attempt may only change a job whose present attempt it is and which goes on: work of a
    cancelled or replaced job, or by a node that was taken for dead, changes nothing.

    Parameters
    ----------
    desk
        The database.
    node
        Name of this node.
    segment_policy, send_policy
        When a study or a delivery is tried again.
    """

    def __init__(
        self, desk: JobDesk, node: str, segment_policy: RetryPolicy, send_policy: RetryPolicy
    ):
        self.desk = desk
        self.node = node
        self._segment_policy = segment_policy
        self._send_policy = send_policy

    def goes_on(self, job_id: str, attempt: int | None = None) -> bool:
        """Whether a job is open and, where an attempt is named, that is its present one."""
        query = sa.select(JOBS.c.status, JOBS.c.attempt).where(JOBS.c.job_id == job_id)
        row = in_transaction(self.desk.engine, lambda c: c.execute(query).first())
        return row is not None and row.status in OPEN_STATUSES and attempt in (None, row.attempt)

    def begin(self, job_id: str, attempt: int, step: str) -> JobRef | None:
        """Note that an attempt is at a step; None where it has nothing to do any more."""

        def work(connection: sa.Connection) -> JobRef | None:
            row = lock_job(connection, job_id)
            if not _is_present(row, attempt):
                return None
            now = self.desk.clock()
            self.desk.change(
                connection,
                job_id,
                status="running",
                step=step,
                node=self.node,
                started_at=now if step == "assemble" else row.started_at,
            )
            return _ref(row)

        return in_transaction(self.desk.engine, work)

    def conclude(
        self,
        job_id: str,
        attempt: int,
        outcome: SegmentOutcome,
        folder: str,
        destinations: Sequence[str],
    ) -> None:
        """Note how an attempt on a study ended, and queue what follows from it."""

        def work(connection: sa.Connection) -> None:
            row = lock_job(connection, job_id)
            if not _is_present(row, attempt):
                return
            verdict = verdict_of(outcome.status)
            if verdict is Verdict.DONE:
                self._start_deliveries(connection, row, outcome, folder, destinations)
                return
            delay_s = None
            if verdict is Verdict.RETRY:
                tried = attempt - row.first_attempt + 1
                delay_s = self._segment_policy.delay_s(tried, job_id)
            changed = {"outcome": outcome.status, "reason": outcome.message or outcome.status}
            if delay_s is None:
                status = "rejected" if verdict is Verdict.REJECT else "failed"
                self.desk.change(connection, job_id, status=status, **changed)
                return
            self.desk.change(connection, job_id, status="waiting", attempt=attempt + 1, **changed)
            self.desk.enqueue_study(connection, job_id, attempt + 1, row.priority, delay_s)

        in_transaction(self.desk.engine, work)

    def _start_deliveries(
        self,
        connection: sa.Connection,
        row: sa.Row[Any],
        outcome: SegmentOutcome,
        folder: str,
        destinations: Sequence[str],
    ) -> None:
        targets = sorted(set(destinations)) if outcome.files else []
        self.desk.change(
            connection,
            row.job_id,
            status="delivering" if targets else "delivered",
            step="send",
            outcome=outcome.status,
            reason=outcome.message,
            folder=folder,
            files=list(outcome.files),
        )
        for destination in targets:
            delivery = {
                "job_id": row.job_id,
                "destination": destination,
                "status": "waiting",
                "attempt": 1,
                "first_attempt": 1,
                "reason": "",
                "changed_at": self.desk.clock(),
            }
            connection.execute(DELIVERIES.insert().values(delivery))
            self.desk.enqueue_delivery(connection, row, destination, 1)

    def begin_delivery(
        self, job_id: str, run: int, destination: str, attempt: int
    ) -> DeliveryTask | None:
        """Note that a delivery is being sent; None where it has nothing to do any more."""

        def work(connection: sa.Connection) -> DeliveryTask | None:
            row = lock_job(connection, job_id)
            if not _is_present_delivery(connection, row, run, destination, attempt):
                return None
            self._change_delivery(connection, job_id, destination, status="sending")
            self.desk.change(connection, job_id, node=self.node)
            states = _states(connection, job_id, destination)
            return DeliveryTask(_ref(row), row.folder, tuple(row.files), states)

        return in_transaction(self.desk.engine, work)

    def note_file(self, job_id: str, destination: str, outcome: FileOutcome) -> None:
        """Write down for good what became of a file; what was delivered stays so."""
        values = {
            "state": outcome.state,
            "reason": outcome.reason,
            "at": self.desk.clock(),
        }

        def work(connection: sa.Connection) -> None:
            lock_job(connection, job_id)
            mine = (
                (FILES.c.job_id == job_id)
                & (FILES.c.destination == destination)
                & (FILES.c.file == outcome.file)
            )
            state = connection.execute(sa.select(FILES.c.state).where(mine)).scalar()
            if state is None:
                key = {"job_id": job_id, "destination": destination, "file": outcome.file}
                connection.execute(FILES.insert().values(**key, **values))
            elif state != "delivered":
                connection.execute(FILES.update().where(mine).values(values))

        in_transaction(self.desk.engine, work)

    def settle(self, job_id: str, run: int, destination: str, attempt: int, reason: str) -> None:
        """Note how an attempt on a delivery ended; the last one to end ends the job."""

        def work(connection: sa.Connection) -> None:
            row = lock_job(connection, job_id)
            if not _is_present_delivery(connection, row, run, destination, attempt):
                return
            verdict = verdict_of_files(row.files, _states(connection, job_id, destination))
            if verdict is Verdict.RETRY:
                self._wait_or_fail(connection, row, destination, attempt, reason)
            else:
                status = "delivered" if verdict is Verdict.DONE else "failed"
                said = "" if verdict is Verdict.DONE else reason
                self._change_delivery(connection, job_id, destination, status=status, reason=said)
            self._end_if_settled(connection, row)

        in_transaction(self.desk.engine, work)

    def _wait_or_fail(
        self,
        connection: sa.Connection,
        row: sa.Row[Any],
        destination: str,
        attempt: int,
        reason: str,
    ) -> None:
        first = connection.execute(
            _delivery(sa.select(DELIVERIES.c.first_attempt), row.job_id, destination)
        ).scalar_one()
        key = f"{row.job_id}>{destination}"
        delay_s = self._send_policy.delay_s(attempt - first + 1, key)
        change: dict[str, Any] = {"status": "failed", "reason": reason}
        if delay_s is not None:
            change |= {"status": "waiting", "attempt": attempt + 1}
            self.desk.enqueue_delivery(connection, row, destination, attempt + 1, delay_s)
        self._change_delivery(connection, row.job_id, destination, **change)

    def _end_if_settled(self, connection: sa.Connection, row: sa.Row[Any]) -> None:
        chosen = DELIVERIES.select().where(DELIVERIES.c.job_id == row.job_id)
        deliveries = connection.execute(chosen.order_by(DELIVERIES.c.destination)).all()
        if any(d.status in ("waiting", "sending") for d in deliveries):
            return
        failed = [d for d in deliveries if d.status != "delivered"]
        reasons = "; ".join(f"{d.destination}: {d.reason}" for d in failed)
        status = "failed" if failed else "delivered"
        # of a partial run the reason stays
        self.desk.change(connection, row.job_id, status=status, reason=reasons or row.reason)

    def fail_lost(self) -> int:
        """End the jobs whose workflow the job engine has given up; returns how many."""
        ended = 0
        for job_id, wanted in in_transaction(self.desk.engine, _workflows_of_open_jobs).items():
            lost = self.desk.client.list_workflows(
                workflow_ids=wanted, status=list(LOST_STATUSES), load_input=False, load_output=False
            )
            if lost:
                said = ", ".join(f"{w.workflow_id} {w.status}" for w in lost)
                self._fail(job_id, f"the job engine gave up: {said}")
                ended += 1
        return ended

    def _fail(self, job_id: str, reason: str) -> None:
        def work(connection: sa.Connection) -> None:
            if lock_job(connection, job_id).status in OPEN_STATUSES:
                self.desk.change(connection, job_id, status="failed", reason=reason)

        in_transaction(self.desk.engine, work)

    def _change_delivery(
        self, connection: sa.Connection, job_id: str, destination: str, **values: Any
    ) -> None:
        connection.execute(
            _delivery(DELIVERIES.update(), job_id, destination).values(
                **values, changed_at=self.desk.clock()
            )
        )


def _ref(row: sa.Row[Any]) -> JobRef:
    return JobRef(row.study_key, row.version, row.workflow)


def _is_present(row: sa.Row[Any], attempt: int) -> bool:
    return row.attempt == attempt and row.status in ("queued", "running", "waiting")


def _is_present_delivery(
    connection: sa.Connection, row: sa.Row[Any], run: int, destination: str, attempt: int
) -> bool:
    if row.status != "delivering" or row.attempt != run:
        return False
    delivery = connection.execute(_delivery(DELIVERIES.select(), row.job_id, destination)).first()
    return (
        delivery is not None
        and delivery.attempt == attempt
        and delivery.status in ("waiting", "sending")
    )


def _delivery(statement: S, job_id: str, destination: str) -> S:
    """The statement about one delivery."""
    return statement.where(DELIVERIES.c.job_id == job_id, DELIVERIES.c.destination == destination)


def _states(connection: sa.Connection, job_id: str, destination: str) -> dict[str, FileState]:
    rows = connection.execute(
        sa.select(FILES.c.file, FILES.c.state).where(
            FILES.c.job_id == job_id, FILES.c.destination == destination
        )
    )
    return {row.file: row.state for row in rows}


def _workflows_of_open_jobs(connection: sa.Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    chosen = JOBS.select().where(JOBS.c.status.in_(OPEN_STATUSES))
    for row in connection.execute(chosen).all():
        if row.status != "delivering":
            found[row.job_id] = [study_workflow_id(row.job_id, row.attempt)]
            continue
        going = DELIVERIES.select().where(
            DELIVERIES.c.job_id == row.job_id, DELIVERIES.c.status.in_(("waiting", "sending"))
        )
        found[row.job_id] = [
            delivery_workflow_id(row.job_id, row.attempt, d.destination, d.attempt)
            for d in connection.execute(going)
        ]
    return found
