"""What each job works on: the instances of one version of a study, wherever they were received.

Nodes that share a database may each receive a part of one study. A version then holds the parts of
all of them, so its number is given here, by the database, and each job names its files itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from app.errors import InputGoneError
from app.node.job_desk import JobDesk
from app.node.job_steps import JobRef
from app.node.job_tables import INPUTS, JOBS, in_transaction


@dataclass(frozen=True, kw_only=True)
class JobInput:
    """What one job works on.

    Parameters
    ----------
    StudyInstanceUID
        Of the study.
    callers
        AE titles of those who sent it.
    files
        By SOPInstanceUID; every node that may work on the job can read them under these names.
    """

    StudyInstanceUID: str
    callers: tuple[str, ...]
    files: Mapping[str, Path]


def hand_in(
    desk: JobDesk,
    study_key: str,
    workflow: str,
    found: JobInput,
    *,
    node: str,
    taken: int,
    priority: int,
) -> JobRef:
    """Hand in what a node calls the next version of a study; the same again is the same job.

    Parameters
    ----------
    study_key, workflow
        Of the study.
    found
        All that this node has of it.
    node, taken
        Whose version it is, and its number there.
    priority
        As in `JobDesk.submit`.

    Returns
    -------
    JobRef
        Its version counts over all nodes.
    """

    def work(connection: sa.Connection) -> JobRef | None:
        earlier = connection.execute(
            sa.select(INPUTS, JOBS.c.version)
            .join(JOBS, JOBS.c.job_id == INPUTS.c.job_id)
            .where(INPUTS.c.study_key == study_key)
            .order_by(JOBS.c.version)
        ).all()
        files = {uid: str(path) for uid, path in found.files.items()}
        for row in earlier:
            if (row.node, row.taken) == (node, taken) and files.items() <= row.files.items():
                return JobRef(study_key, row.version, workflow)
        query = sa.select(sa.func.max(JOBS.c.version)).where(JOBS.c.study_key == study_key)
        job = JobRef(study_key, 1 + (connection.execute(query).scalar() or 0), workflow)
        if not desk.insert_job(connection, job, priority):
            return None  # another node was quicker
        callers: list[str] = earlier[-1].callers if earlier else []
        known = _still_there(earlier[-1].files) if earlier else {}
        values = {
            "job_id": job.job_id,
            "study_key": study_key,
            "node": node,
            "taken": taken,
            "StudyInstanceUID": found.StudyInstanceUID,
            "callers": list(dict.fromkeys([*callers, *found.callers])),
            "files": {**known, **files},
        }
        connection.execute(INPUTS.insert().values(values))
        return job

    while True:
        job = in_transaction(desk.engine, work)
        if job is not None:
            return job


def _still_there(files: Mapping[str, str]) -> dict[str, str]:
    """What earlier versions held, and no node has removed since."""
    return {uid: path for uid, path in files.items() if Path(path).is_file()}


def input_of(desk: JobDesk, job: JobRef) -> JobInput:
    """What a job works on; raises InputGoneError where that is no longer known."""
    query = INPUTS.select().where(INPUTS.c.job_id == job.job_id)
    row = in_transaction(desk.engine, lambda connection: connection.execute(query).first())
    if row is None:
        raise InputGoneError(f"what job {job.job_id} works on is no longer known")
    return JobInput(
        StudyInstanceUID=row.StudyInstanceUID,
        callers=tuple(row.callers),
        files={uid: Path(path) for uid, path in row.files.items()},
    )


def forget_inputs(desk: JobDesk, study_key: str, node: str) -> None:
    """Forget what the jobs of a study worked on, once a node has removed its instances."""
    mine = INPUTS.delete().where(INPUTS.c.study_key == study_key, INPUTS.c.node == node)
    in_transaction(desk.engine, lambda connection: connection.execute(mine))


def earlier_results(desk: JobDesk, job: JobRef, work: Path) -> list[Path]:
    """Results of older versions that some destination has taken, as far as they are still kept."""
    found = [
        work / record.folder / file
        for record in desk.jobs(study_key=job.study_key)
        if record.job.version < job.version and record.folder is not None
        for delivery in record.deliveries
        for file, state in delivery.files.items()
        if state in ("stored", "delivered")
    ]
    return sorted({path for path in found if path.is_file()})
