"""The process that segments: `python -m app.node.worker_main`, started by `app.node.worker`."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import queue
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from app.node import json_logs
from app.node.job_steps import SegmentOutcome
from app.outcomes import EXPECTED_ERRORS, INTERNAL_ERROR, outcome_of, sentence_of
from app.progress import Progress
from app.report import REPORT, Report
from app.run_settings import RunSettings
from app.runner import Runner, read_rules
from models.turns import DeviceTurns

log = logging.getLogger(__name__)

#: Progress within a stage is told in steps of this share.
STEP = 0.05


class Parent:
    """The other end of the pipes."""

    def __init__(self, source: BinaryIO, target: BinaryIO):
        self._source = source
        self._target = target
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen(self) -> None:
        """Take messages in; the end of the input, which is the parent's end, is ours at once."""
        for line in self._source:
            self._messages.put(json.loads(line))
        os._exit(0)

    def next(self) -> dict[str, Any]:
        """Wait for a message."""
        return self._messages.get()

    def tell(self, **message: Any) -> None:
        """Send a message."""
        self._target.write(json.dumps(message).encode() + b"\n")
        self._target.flush()


class Told(Progress):
    """Tells the parent."""

    def __init__(self, parent: Parent):
        self._parent = parent
        self._last = ("", 0.0)

    def __call__(self, stage: str, share: float) -> None:
        before, told = self._last
        if stage != before or share >= 1 or share - told >= STEP:
            self._last = (stage, share)
            self._parent.tell(stage=stage, share=share)

    def close(self) -> None:
        return


def main() -> None:
    """Load the networks, say so, then run what the parent asks for, one after the other."""
    faulthandler.enable()
    # what libraries print must not get between the messages
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    parent = Parent(sys.stdin.buffer, target)
    threading.Thread(target=parent.listen, daemon=True).start()

    from operators.holoscan_runtime import prepare

    told = parent.next()
    json_logs.configure(told["logging"]["level"], told["logging"]["format"] == "json")
    prepare()  # before anything imports MONAI, which imports Holoscan
    runners = make_runners(told["workflows"])
    turns = told["turns"]
    turn = DeviceTurns(Path(turns["folder"]), turns["device"], turns["at_once"])
    for runner in runners.values():
        runner.models.turn = turn
    for runner in runners.values():
        _warm(runner)
    parent.tell(ready=True)
    while True:
        asked = parent.next()
        parent.tell(begun=True)
        outcome = run(
            runners[asked["workflow"]], Path(asked["source"]), Path(asked["output"]), parent
        )
        parent.tell(done=asdict(outcome))


def make_runners(workflows: dict[str, dict[str, Any]]) -> dict[str, Runner]:
    """One per workflow; those that use the same models share them in memory."""
    runners: dict[str, Runner] = {}
    shared: dict[tuple[object, ...], Runner] = {}
    for name, values in workflows.items():
        paths = {n: Path(values[n]) for n in ("models", "rules") if values[n] is not None}
        settings = RunSettings(**{**values, **paths, "outputs": tuple(values["outputs"])})
        runner = Runner(settings)
        key = (settings.models, settings.model, settings.device)
        runner.models = shared.setdefault(key, runner).models
        runners[name] = runner
    return runners


def run(runner: Runner, source: Path, output: Path, parent: Parent) -> SegmentOutcome:
    """One run; whatever ends it becomes an outcome, and only death itself ends the process."""
    try:
        report = runner.run(source, output, Told(parent))
        report.write()
    except EXPECTED_ERRORS as exc:  # the report itself could not be written
        outcome = outcome_of(exc)
        return SegmentOutcome(
            status=outcome.status, exit_code=outcome.exit_code, message=sentence_of(exc)
        )
    except Exception as exc:
        log.error("%s", sentence_of(exc))
        return SegmentOutcome(
            status=INTERNAL_ERROR.status,
            exit_code=INTERNAL_ERROR.exit_code,
            message=sentence_of(exc),
            report=REPORT if (output / REPORT).is_file() else "",
        )
    return SegmentOutcome(
        status=report.outcome.status,
        exit_code=report.outcome.exit_code,
        message=report.message,
        report=REPORT,
        files=_objects(report),
    )


def _objects(report: Report) -> tuple[str, ...]:
    """The DICOM objects among a run's outputs."""
    return tuple(
        path.relative_to(report.output).as_posix()
        for record in report.journal.records
        for path in record.outputs.values()
        if path.suffix == ".dcm"
    )


def _warm(runner: Runner) -> None:
    """Load what the first run would wait for; what is wrong is told by that run."""
    import app.graph  # noqa: F401 - MONAI Deploy takes seconds to load

    try:
        for name in read_rules(runner.settings.rules).models:
            runner.models.segmenter(name)
    except EXPECTED_ERRORS as exc:
        log.warning("a model could not be loaded: %s", exc)


if __name__ == "__main__":
    main()
