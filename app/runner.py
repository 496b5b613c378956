"""Run the graph on folders with one resident network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from app.outcomes import EXPECTED_ERRORS, outcome_of_run, outcome_of_series, sentence_of
from app.progress import Progress, Silent
from app.report import Report
from models.bundle import find_bundle
from models.segmenter import Segmenter
from operators.errors import RulesError
from operators.journal import Journal
from operators.outputs import make_folder
from operators.rules import Rules, default_rules, parse_rules

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run needs besides its folders.

    Parameters
    ----------
    models
        Folder of bundles, or one bundle; None is the models that come with the package.
    model
        Name of the bundle; None takes the default.
    rules
        File of selection rules; None takes the default rules.
    device
        `auto`, `cpu`, `gpu` or `gpu:N`.
    """

    models: Path | None = None
    model: str | None = None
    rules: Path | None = None
    device: str = "auto"


class Runner:
    """Holds the network from its first use on; every run of it goes through the same graph."""

    def __init__(self, settings: RunSettings):
        self.settings = settings
        self._segmenter: Segmenter | None = None

    @property
    def segmenter(self) -> Segmenter:
        """The network, loaded at the first call; raises BundleError."""
        if self._segmenter is None:
            bundle = find_bundle(self.settings.model, self.settings.models)
            self._segmenter = Segmenter(bundle, self.settings.device)
        return self._segmenter

    def run(self, folder: Path, output: Path, progress: Progress | None = None) -> Report:
        """Segment what the rules choose in a folder.

        Returns
        -------
        The report, whatever the end; an error that is not expected is raised instead, after
        all that is known of the run has been written.
        """
        progress = progress or Silent()
        started = datetime.now(timezone.utc).astimezone()
        journal = Journal(output, progress)

        def report(error: BaseException | None) -> Report:
            ended = [outcome_of_series(r.error, r.finished) for r in journal.records]
            failed = [r.error for r in journal.records if r.error is not None]
            reason = error or (failed[0] if failed else None)
            return Report(
                outcome=outcome_of_run(error, ended),
                message="" if reason is None else sentence_of(reason),
                input=folder,
                output=output,
                journal=journal,
                segmenter=self._segmenter,
                started=started,
                finished=datetime.now(timezone.utc).astimezone(),
            )

        try:
            self._run_graph(folder, journal)
        except EXPECTED_ERRORS as exc:
            return report(exc)
        except BaseException as exc:
            _write_beside(report(exc).write)
            raise
        finally:
            progress.close()
        return report(None)

    def _run_graph(self, folder: Path, journal: Journal) -> None:
        from app.graph import SegmentationGraph  # MONAI Deploy takes seconds to load
        from app.interruption import run_stoppable

        make_folder(journal.output)  # rather now than after the work
        rules = read_rules(self.settings.rules)
        with journal.run_stage("load model"):
            segmenter = self.segmenter
        graph = SegmentationGraph(folder=folder, rules=rules, segmenter=segmenter, journal=journal)
        run_stoppable(graph, journal.stop)


def read_rules(path: Path | None) -> Rules:
    """Read a rules file, or the default rules where none is named; raises RulesError."""
    if path is None:
        return default_rules()
    try:
        return parse_rules(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise RulesError(f"cannot read the rules {path}: {exc}") from exc


def _write_beside(write: Callable[[], object]) -> None:
    """Write the report of a run that is ending by a defect, without hiding the defect."""
    try:
        write()
    except EXPECTED_ERRORS as exc:
        log.error("the report could not be written: %s", exc)
