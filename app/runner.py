"""Run the graph on folders with one resident network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from app.outcomes import EXPECTED_ERRORS, outcome_of_run, outcome_of_series, sentence_of
from app.progress import Progress, Silent
from app.report import Report
from app.run_settings import RunSettings
from models.resident import ResidentModels
from operators.errors import RulesError
from operators.journal import Journal
from operators.outputs import make_folder
from operators.rules import Rules, default_rules, parse_rules
from operators.rules_text import read_document

log = logging.getLogger(__name__)


class Runner:
    """Holds the networks from their first use on; every run goes through the same graph."""

    def __init__(self, settings: RunSettings):
        self.settings = settings
        self.models = ResidentModels(settings.models, settings.model, settings.device)

    def run(self, source: Path, output: Path, progress: Progress | None = None) -> Report:
        """Segment what the rules choose in a folder, zip archive, DICOMDIR or DICOM file.

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
                input=source,
                output=output,
                journal=journal,
                segmenters=self.models.loaded,
                started=started,
                finished=datetime.now(timezone.utc).astimezone(),
            )

        try:
            self._run_graph(source, journal)
        except EXPECTED_ERRORS as exc:
            return report(exc)
        except BaseException as exc:
            _write_beside(report(exc).write)
            raise
        finally:
            progress.close()
        return report(None)

    def _run_graph(self, source: Path, journal: Journal) -> None:
        from app.graph import SegmentationGraph  # MONAI Deploy takes seconds to load
        from app.interruption import run_stoppable

        make_folder(journal.output)  # rather now than after the work
        rules = read_rules(self.settings.rules, self.settings.config)
        with journal.run_stage("load model"):
            for name in rules.models:
                self.models.segmenter(name)
        graph = SegmentationGraph(
            source=source,
            rules=rules,
            models=self.models,
            journal=journal,
            largest_gap_mm=self.settings.largest_gap_mm,
            any_anatomy=self.settings.any_anatomy,
            outputs=self.settings.outputs,
        )
        run_stoppable(graph, journal.stop)


def read_rules(path: Path | None, config: Path | None = None) -> Rules:
    """The rules of a file, or of a configuration that has any, or else the default rules.

    Raises
    ------
    RulesError
        If a file cannot be read or understood.
    """
    if path is not None:
        return parse_rules(_text_of(path))
    if config is not None:
        document = read_document(_text_of(config))
        if isinstance(document, Mapping) and "selections" in document:
            return parse_rules(document)
    return default_rules()


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise RulesError(f"cannot read the rules {path}: {exc}") from exc


def _write_beside(write: Callable[[], object]) -> None:
    """Write the report of a run that is ending by a defect, without hiding the defect."""
    try:
        write()
    except EXPECTED_ERRORS as exc:
        log.error("the report could not be written: %s", exc)
