"""`viscera serve`, and the commands that look at and steer its jobs."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from app.errors import JobError
from app.node import json_logs
from app.node.audit import AuditEvent, AuditTrail
from app.node.destinations import Destination, Source
from app.node.job_statuses import OPEN_STATUSES
from app.node.settings import NodeSettings
from app.node.settings_file import read_settings, secret_job_settings
from app.node.stored import study_key
from app.node.study_watch import force
from app.outcomes import OK

#: How long a stop may take before running work is parked.
STOP_TIMEOUT_S = 30.0
#: What hangs longer than this after that time is ended without ceremony, and tells where it hung.
_OVERTIME_S = 15.0
_LOOK_EVERY_S = 0.5

if TYPE_CHECKING:  # the job engine takes a while to load
    from app.node.job_desk import JobDesk
    from app.node.job_listing import JobRecord

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Commands) -> None:
    """Add `serve`, `status`, `jobs`, `retry`, `cancel` and `complete` to the command line."""
    serve = _command(commands, "serve", run_serve, "receive studies, segment and send the results")
    serve.add_argument("--explain", action="store_true", help="print the settings and end")
    status = _command(commands, "status", run_status, "how many jobs there are, or one study")
    status.add_argument("study", nargs="?", metavar="UID", help="StudyInstanceUID: what happened")
    status.add_argument("--json", action="store_true", help="print JSON instead of lines")
    jobs = _command(commands, "jobs", run_jobs, "the jobs that go on, the latest first")
    jobs.add_argument("--all", action="store_true", help="also those at their end")
    jobs.add_argument("--json", action="store_true", help="print JSON instead of lines")
    retry = _command(commands, "retry", run_retry, "open a job that failed, or was cancelled")
    retry.add_argument("job", metavar="JOB")
    retry.add_argument("--again", action="store_true", help="segment anew, too")
    cancel = _command(commands, "cancel", run_cancel, "end a job")
    cancel.add_argument("job", metavar="JOB")
    complete = _command(commands, "complete", run_complete, "say that no more of a study will come")
    complete.add_argument("study", metavar="UID", help="StudyInstanceUID")
    complete.add_argument("--workflow", metavar="AET", help="AE title it came to, where several")


def configured_peers(parsed: argparse.Namespace) -> Mapping[str, Destination | Source]:
    """Destinations and sources by name, of the settings that a command was given."""
    if parsed.config is None:
        return {}
    settings = read_settings(parsed.config)
    return {**settings.sources, **settings.destinations}


def run_serve(parsed: argparse.Namespace) -> int:
    """Run the node until SIGTERM or SIGINT."""
    settings = read_settings(parsed.config)
    if parsed.explain:
        print(settings.explain(), end="")
        return OK.exit_code
    json_logs.configure(settings.logging.level, settings.logging.format == "json")
    from app.node.node import Node

    node = Node(settings)
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    node.start()
    # a signal may reach another thread, and Python handles it when this one wakes up
    while not stopping.wait(_LOOK_EVERY_S):
        pass
    # jobs are durable, so that an end is always safe, and has to come in time
    faulthandler.dump_traceback_later(STOP_TIMEOUT_S + _OVERTIME_S, exit=True)
    node.stop(STOP_TIMEOUT_S)
    faulthandler.cancel_dump_traceback_later()
    return OK.exit_code


def run_status(parsed: argparse.Namespace) -> int:
    """Print the number of jobs by status, or all that is known of a study."""
    settings = read_settings(parsed.config)
    if parsed.study is not None:
        return _study_status(settings, parsed.study, as_json=parsed.json)
    with _desk(settings) as desk:
        counts = desk.counts()
    if parsed.json:
        print(json.dumps(counts, indent=2))
    else:
        print("\n".join(f"{status:<12}{count:6d}" for status, count in counts.items()))
    return OK.exit_code


def _study_status(settings: NodeSettings, StudyInstanceUID: str, *, as_json: bool) -> int:
    keys = [study_key(title, StudyInstanceUID) for title in settings.workflows]
    with _desk(settings) as desk:
        records = [record for key in keys for record in desk.jobs(study_key=key)]
    with _audit(settings) as audit:
        events = sorted(
            (event for key in keys for event in audit.read(key)), key=lambda e: e.number
        )
    if not records and not events:
        raise JobError(f"nothing is known of the study {StudyInstanceUID}")
    if as_json:
        told = {"jobs": [r.to_json() for r in records], "events": [vars(e) for e in events]}
        print(json.dumps(told, indent=2))
    else:
        print("\n".join([*map(_line, records), *map(_event_line, events)]))
    return OK.exit_code


def run_jobs(parsed: argparse.Namespace) -> int:
    """Print a line per job, or JSON."""
    with _desk(read_settings(parsed.config)) as desk:
        records = desk.jobs(statuses=() if parsed.all else OPEN_STATUSES)
    if parsed.json:
        print(json.dumps([record.to_json() for record in records], indent=2))
    else:
        for record in records:
            print(_line(record))
    return OK.exit_code


def run_retry(parsed: argparse.Namespace) -> int:
    """Open a job again; raises JobError where that makes no sense."""
    with _desk(read_settings(parsed.config)) as desk:
        desk.retry(parsed.job, again=parsed.again)
    return OK.exit_code


def run_cancel(parsed: argparse.Namespace) -> int:
    """End a job; raises JobError where it is at its end."""
    with _desk(read_settings(parsed.config)) as desk:
        desk.cancel(parsed.job)
    return OK.exit_code


def run_complete(parsed: argparse.Namespace) -> int:
    """Let the running node take a study for complete; raises JobError where there is none."""
    settings = read_settings(parsed.config)
    titles = [parsed.workflow] if parsed.workflow else list(settings.workflows)
    keys = [study_key(title, parsed.study) for title in titles]
    incoming = settings.state / "incoming"
    found = [key for key in keys if (incoming / key).is_dir()]
    if not found:
        raise JobError(f"nothing of the study {parsed.study} was received")
    with _audit(settings) as audit:
        for key in found:
            force(audit, key)
    return OK.exit_code


@contextlib.contextmanager
def _desk(settings: NodeSettings) -> Iterator[JobDesk]:
    """The desk of a node that may be running or not."""
    from app.node.job_desk import JobDesk

    _expect_state(settings)
    desk = JobDesk(secret_job_settings(settings).url(settings.state))
    try:
        yield desk
    finally:
        desk.close()


@contextlib.contextmanager
def _audit(settings: NodeSettings) -> Iterator[AuditTrail]:
    _expect_state(settings)
    audit = AuditTrail(settings.state / "node.sqlite")
    try:
        yield audit
    finally:
        audit.close()


def _expect_state(settings: NodeSettings) -> None:
    if not settings.state.is_dir():
        raise JobError(f"no node has run with the state folder {settings.state}")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _line(record: JobRecord) -> str:
    sent = ", ".join(f"{d.destination} {d.status}" for d in record.deliveries)
    told = f"{record.job.job_id}  {record.job.workflow}  {record.status}"
    parts = (told, _when(record.changed_at), record.step, record.reason, sent)
    return "  ".join(part for part in parts if part)


def _event_line(event: AuditEvent) -> str:
    details = "  ".join(f"{key}={value}" for key, value in event.details.items())
    return f"{_when(event.time)}  {event.kind}  {details}"


def _command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], told: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=told)
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="settings of the node, in YAML"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")
    parser.set_defaults(command=run)
    return parser
