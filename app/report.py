"""`report.json`: the honest account of a run, whatever its end. UIDs and paths only, no names."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from app.outcomes import Outcome, outcome_of_series
from models.segmenter import Segmenter
from operators.journal import Journal, SeriesRecord
from operators.outputs import atomic_write, make_folder
from operators.product import product_version

#: Name of the report in the output folder.
REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class Report:
    """How one run went.

    Parameters
    ----------
    outcome, message
        How it ended, and the sentence for people.
    input, output
        Its folders.
    journal
        What the operators noted.
    segmenters
        The networks, where they could be loaded.
    started, finished
        Aware of their time zone.
    extra
        What a command adds, such as the demo's comparison with the truth.
    """

    outcome: Outcome
    message: str
    input: Path
    output: Path
    journal: Journal
    segmenters: Sequence[Segmenter]
    started: datetime
    finished: datetime
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of `report.json`."""
        return {
            "viscera": product_version(),
            "status": self.outcome.status,
            "exit_code": self.outcome.exit_code,
            "message": self.message,
            "input": str(self.input),
            "output": str(self.output),
            "started": self.started.isoformat(timespec="seconds"),
            "finished": self.finished.isoformat(timespec="seconds"),
            "duration_s": round((self.finished - self.started).total_seconds(), 3),
            "peak_memory_mib": peak_memory_mib(),
            "models": [_model(segmenter) for segmenter in self.segmenters],
            "stages_s": _rounded(self.journal.stages_s),
            "skipped_files": [
                {"path": str(file.path), "reason": file.reason} for file in self.journal.skipped
            ],
            "selection": [decision.to_json() for decision in self.journal.decisions],
            "series": [_series(record, self.output) for record in self.journal.records],
            **self.extra,
        }

    def write(self) -> Path:
        """Write `report.json`, completely or not at all; raises OutputError."""
        make_folder(self.output)
        path = self.output / REPORT
        with atomic_write(path) as stream:
            text = json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"
            stream.write(text.encode(errors="backslashreplace"))  # file names need not be text
        return path


def peak_memory_mib() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # Linux counts in KiB


def _model(segmenter: Segmenter) -> dict[str, Any]:
    bundle = segmenter.bundle
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sha256": bundle.sha256,
        "runtime": str(segmenter.runtime),
        "load_s": round(segmenter.load_s, 3),
    }


def _series(record: SeriesRecord, output: Path) -> dict[str, Any]:
    outcome = outcome_of_series(record.error, record.finished)
    geometry = record.geometry
    return {
        "StudyInstanceUID": record.chosen.series.StudyInstanceUID,
        "SeriesInstanceUID": record.chosen.series.SeriesInstanceUID,
        "part": record.chosen.candidate.part,
        "selection": record.chosen.selection_name,
        "model": record.model,
        "status": outcome.status,
        "message": "" if record.error is None else str(record.error),
        "shape": None if geometry is None else list(geometry.shape),
        "spacing_mm": None if geometry is None else list(geometry.spacing_mm),
        "notes": list(record.chosen.candidate.notes),
        "repairs": list(record.repairs),
        "anatomy": None if record.anatomy is None else asdict(record.anatomy),
        "stages_s": _rounded(record.stages_s),
        "outputs": {kind: str(path.relative_to(output)) for kind, path in record.outputs.items()},
        "volumes_ml": {organ.name: round(organ.volume_ml, 2) for organ in record.organs},
    }


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
