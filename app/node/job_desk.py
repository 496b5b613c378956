"""Hand jobs in, look at them, cancel and retry them: from the node or from another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient, DBOSPortableJSONSerializer

from app.errors import JobError
from app.node.job_listing import JobRecord, list_jobs
from app.node.job_statuses import END_STATUSES, OPEN_STATUSES, RETRYABLE_STATUSES
from app.node.job_steps import DEFAULT_PRIORITY, JobRef
from app.node.job_tables import (
    DELIVERIES,
    FILES,
    JOBS,
    in_transaction,
    insert_once,
    open_engine,
)
from app.node.sqlite_clock import supply_unixepoch

#: Name of the application in the job engine, and version of the shape of its workflows: those of
#: another shape are left to the program that knows it.
APPLICATION = "viscera"
SHAPE = "viscera-jobs-1"
STUDY_WORKFLOW, DELIVERY_WORKFLOW = "viscera-study", "viscera-delivery"
STUDY_QUEUE, DELIVERY_QUEUE = "viscera-studies", "viscera-deliveries"


class JobDesk:
    """The jobs in the database.

    Parameters
    ----------
    url
        `sqlite:///FILE` or `postgresql://...`; a node must have made its tables.
    clock
        Seconds since 1970.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time):
        supply_unixepoch()
        self.engine = open_engine(sqlalchemy_url(url))
        self.clock = clock
        self.client = DBOSClient(
            system_database_url=url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
            system_database_pool_size=2,
        )

    def close(self) -> None:
        """Let go of the database."""
        self.client.destroy()
        self.engine.dispose()

    def submit(self, job: JobRef, priority: int = DEFAULT_PRIORITY) -> bool:
        """Hand a job in; False where it was there already, which is no error.

        Older versions of the study that are not at their end become `replaced`, and so does this
        one where a newer is there. Lower priorities come first, from 1.
        """
        return in_transaction(self.engine, lambda c: self.insert_job(c, job, priority))

    def insert_job(self, connection: sa.Connection, job: JobRef, priority: int) -> bool:
        """As `submit`, together with what else the transaction changes."""
        now = self.clock()
        row = {
            **asdict(job),
            "job_id": job.job_id,
            "priority": priority,
            "status": "queued",
            "step": "",
            "attempt": 1,
            "first_attempt": 1,
            "reason": "",
            "outcome": "",
            "node": "",
            "created_at": now,
            "changed_at": now,
        }
        if not insert_once(connection, JOBS, row):
            return False
        versions = connection.execute(
            sa.select(JOBS.c.version).where(JOBS.c.study_key == job.study_key).with_for_update()
        ).scalars()
        newest = max(versions)
        connection.execute(
            JOBS.update()
            .where(JOBS.c.study_key == job.study_key, JOBS.c.version < newest)
            .where(JOBS.c.status.in_(OPEN_STATUSES))
            .values(
                status="replaced",
                reason=f"version {newest} of the study is there",
                changed_at=now,
                ended_at=now,
            )
        )
        if newest == job.version:
            self.enqueue_study(connection, job.job_id, 1, priority)
        return True

    def cancel(self, job_id: str) -> None:
        """End a job; work on it stops within a second. Raises JobError where it is at its end."""

        def work(connection: sa.Connection) -> None:
            row = lock_job(connection, job_id)
            if row.status not in OPEN_STATUSES:
                raise JobError(f"expected a job that goes on, found {job_id} {row.status}")
            self.change(connection, job_id, status="cancelled", reason="cancelled by a person")

        in_transaction(self.engine, work)

    def retry(self, job_id: str, *, again: bool = False) -> None:
        """Open a job again that failed, was rejected or cancelled.

        What was sent is not sent again. Where there are results only the open deliveries go on,
        unless `again` asks for a new run on the study; then its results are sent anew.

        Raises
        ------
        JobError
            If there is no such job, or it goes on, was delivered or replaced.
        """

        def work(connection: sa.Connection) -> None:
            row = lock_job(connection, job_id)
            if row.status not in RETRYABLE_STATUSES:
                wanted = ", ".join(RETRYABLE_STATUSES)
                raise JobError(f"expected a job that is {wanted}, found {job_id} {row.status}")
            if row.folder is not None and not again:
                self._retry_deliveries(connection, row)
                return
            for table in (FILES, DELIVERIES):
                connection.execute(table.delete().where(table.c.job_id == job_id))
            attempt = row.attempt + 1
            fresh = {"status": "queued", "step": "", "reason": "", "outcome": ""}
            self.change(
                connection,
                job_id,
                **fresh,
                attempt=attempt,
                first_attempt=attempt,
                folder=None,
                files=None,
            )
            self.enqueue_study(connection, job_id, attempt, row.priority)

        in_transaction(self.engine, work)

    def _retry_deliveries(self, connection: sa.Connection, row: sa.Row[Any]) -> None:
        ended = connection.execute(
            DELIVERIES.select().where(
                DELIVERIES.c.job_id == row.job_id, DELIVERIES.c.status != "delivered"
            )
        ).all()
        self.change(
            connection,
            row.job_id,
            status="delivering" if ended else "delivered",
            step="send",
            reason="",
        )
        for delivery in ended:
            attempt = delivery.attempt + 1
            connection.execute(
                DELIVERIES.update()
                .where(
                    DELIVERIES.c.job_id == row.job_id,
                    DELIVERIES.c.destination == delivery.destination,
                )
                .values(
                    status="waiting",
                    attempt=attempt,
                    first_attempt=attempt,
                    reason="",
                    changed_at=self.clock(),
                )
            )
            self.enqueue_delivery(connection, row, delivery.destination, attempt)

    def jobs(
        self,
        *,
        statuses: Sequence[str] = (),
        study_key: str | None = None,
        changed_after: float | None = None,
        limit: int | None = None,
    ) -> list[JobRecord]:
        """The jobs of those statuses (none means all) and study, the latest change first."""
        query = JOBS.select().order_by(JOBS.c.changed_at.desc(), JOBS.c.job_id)
        if statuses:
            query = query.where(JOBS.c.status.in_(statuses))
        if study_key is not None:
            query = query.where(JOBS.c.study_key == study_key)
        if changed_after is not None:
            query = query.where(JOBS.c.changed_at > changed_after)
        if limit is not None:
            query = query.limit(limit)
        return in_transaction(self.engine, lambda c: list_jobs(c, query))

    def job(self, job_id: str) -> JobRecord:
        """One job; raises JobError where there is none."""
        found = in_transaction(
            self.engine, lambda c: list_jobs(c, JOBS.select().where(JOBS.c.job_id == job_id))
        )
        if not found:
            raise JobError(f"expected the id of a job, found {job_id!r}")
        return found[0]

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        query = sa.select(JOBS.c.status, sa.func.count()).group_by(JOBS.c.status)
        rows = in_transaction(self.engine, lambda c: c.execute(query).all())
        found = {status: count for status, count in rows}  # noqa: C416 - rows are no pairs to mypy
        return {status: found.get(status, 0) for status in (*OPEN_STATUSES, *END_STATUSES)}

    def needs(self, *, job_id: str | None = None, study_key: str | None = None) -> bool:
        """Whether an open job still needs its folder, or the instances of its study."""
        query = sa.select(sa.func.count()).where(JOBS.c.status.in_(OPEN_STATUSES))
        if job_id is not None:
            query = query.where(JOBS.c.job_id == job_id)
        if study_key is not None:
            query = query.where(JOBS.c.study_key == study_key)
        return in_transaction(self.engine, lambda c: c.execute(query).scalar_one()) > 0

    def change(self, connection: sa.Connection, job_id: str, **values: Any) -> None:
        """Change a job's row; its times follow from its status."""
        now = self.clock()
        if "status" in values:
            values["ended_at"] = now if values["status"] in END_STATUSES else None
        connection.execute(
            JOBS.update().where(JOBS.c.job_id == job_id).values(**values, changed_at=now)
        )

    def enqueue_study(
        self,
        connection: sa.Connection,
        job_id: str,
        attempt: int,
        priority: int,
        delay_s: float | None = None,
    ) -> None:
        """Queue one attempt on a study, together with what else the transaction changes."""
        options: dict[str, Any] = {
            "workflow_name": STUDY_WORKFLOW,
            "queue_name": STUDY_QUEUE,
            "workflow_id": study_workflow_id(job_id, attempt),
            "priority": priority,
        }
        self._enqueue(connection, options, delay_s, job_id, attempt)

    def enqueue_delivery(
        self,
        connection: sa.Connection,
        row: sa.Row[Any],
        destination: str,
        attempt: int,
        delay_s: float | None = None,
    ) -> None:
        """Queue one attempt on a destination; destinations take turns, so none holds up another."""
        options: dict[str, Any] = {
            "workflow_name": DELIVERY_WORKFLOW,
            "queue_name": DELIVERY_QUEUE,
            "workflow_id": delivery_workflow_id(row.job_id, row.attempt, destination, attempt),
            "priority": row.priority,
            "queue_partition_key": destination,
        }
        self._enqueue(connection, options, delay_s, row.job_id, row.attempt, destination, attempt)

    def _enqueue(
        self,
        connection: sa.Connection,
        options: dict[str, Any],
        delay_s: float | None,
        *arguments: str | int,
    ) -> None:
        options["app_version"] = SHAPE
        if delay_s is not None:
            options["delay_seconds"] = delay_s
        self.client.enqueue_in_transaction(connection, options, *arguments)  # type: ignore[arg-type]


def study_workflow_id(job_id: str, attempt: int) -> str:
    """The first attempt has the job's own id."""
    return job_id if attempt == 1 else f"{job_id}.{attempt}"


def delivery_workflow_id(job_id: str, run: int, destination: str, attempt: int) -> str:
    """One per attempt on a destination, of the results of one run (attempt) on the study."""
    return f"{study_workflow_id(job_id, run)}>{destination}.{attempt}"


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver that the job engine uses, too."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def lock_job(connection: sa.Connection, job_id: str) -> sa.Row[Any]:
    """Read a job's row and keep others from changing it; raises JobError where there is none."""
    row = connection.execute(JOBS.select().where(JOBS.c.job_id == job_id).with_for_update()).first()
    if row is None:
        raise JobError(f"expected the id of a job, found {job_id!r}")
    return row
