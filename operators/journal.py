"""What happened in one run: which series was worked on, how each ended, and how long it took."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from models.anatomy import Anatomy
from models.errors import ModelError
from models.geometry import VolumeGeometry
from operators.errors import ImagingError, OutputError
from operators.loading import SkippedFile
from operators.organ_volumes import OrganVolume
from operators.selection import ChosenSeries, Decision

log = logging.getLogger(__name__)

#: Told the stage that a run is in, and its done share from 0 to 1.
Announce = Callable[[str, float], None]


@dataclass(eq=False)
class SeriesRecord:
    """How the work on one series went.

    Parameters
    ----------
    chosen
        The series, and the selection that chose it.
    folder
        Where its results go.
    geometry
        Grid of its volume, once that is built.
    repairs
        How that grid differs from the slices, in sentences.
    anatomy
        What the volume shows, once that is looked at.
    model
        The bundle that labels it, once that is known.
    organs
        Measured volumes, once there are labels.
    outputs
        Kind of each written file and its path.
    stages_s
        Seconds spent in each stage.
    error
        What ended the work on this series, if anything did.
    """

    chosen: ChosenSeries
    folder: Path
    geometry: VolumeGeometry | None = None
    repairs: tuple[str, ...] = ()
    anatomy: Anatomy | None = None
    model: str = ""
    organs: Sequence[OrganVolume] = ()
    outputs: dict[str, Path] = field(default_factory=dict)
    stages_s: dict[str, float] = field(default_factory=dict)
    error: ImagingError | ModelError | None = None

    @property
    def finished(self) -> bool:
        """Whether its SEG is there, the last and only indispensable result."""
        return "seg" in self.outputs


class Journal:
    """Gathers what the operators of one run do; each run has its own.

    Parameters
    ----------
    output
        Results of a series go to the folder of its SeriesInstanceUID in here.
    announce
        Told about progress.
    """

    def __init__(self, output: Path, announce: Announce | None = None):
        self.output = output
        self._tell: Announce = announce or (lambda stage, share: None)
        self._stopped = threading.Event()
        self.skipped: tuple[SkippedFile, ...] = ()
        self.decisions: tuple[Decision, ...] = ()
        self.stages_s: dict[str, float] = {}
        self._records: dict[tuple[str, ...], SeriesRecord] = {}

    @property
    def records(self) -> tuple[SeriesRecord, ...]:
        """One per series that was chosen, in order of choice."""
        return tuple(self._records.values())

    def stop(self) -> None:
        """Let the run end with KeyboardInterrupt at the next progress it announces."""
        self._stopped.set()

    def announce(self, stage: str, share: float) -> None:
        """Tell progress; raises KeyboardInterrupt after `stop`."""
        self._tell(stage, share)
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def open(self, chosen: ChosenSeries) -> bool:
        """Begin the record of a choice; False where another selection made the same one.

        Each has a folder of its own, named by the series; where a series is chosen in several
        parts or for several models, all but the first get a number, in order of the rules.

        Raises
        ------
        OutputError
            If its SeriesInstanceUID cannot name a folder; loading lets none such through.
        """
        series = chosen.series
        key = _key(chosen)
        if key in self._records:
            return False
        name = series.SeriesInstanceUID
        alike = [record.chosen.series for record in self.records]
        alike = [other for other in alike if other.SeriesInstanceUID == name]
        same_study = [o for o in alike if o.StudyInstanceUID == series.StudyInstanceUID]
        if len(alike) > len(same_study):  # the fault of an anonymiser, yet both are work
            name = f"{series.StudyInstanceUID}_{name}"
        if same_study:
            name = f"{name}_{len(same_study) + 1}"
        if not set(name) <= set("0123456789._") or not name.strip("."):
            raise OutputError(f"expected a UID to name a folder by, found {name!r}")
        self._records[key] = SeriesRecord(chosen=chosen, folder=self.output / name)
        return True

    @contextmanager
    def run_stage(self, name: str) -> Iterator[None]:
        """Time a stage of the whole run; errors pass through, since nothing can go on."""
        with _timed(self.stages_s, name):
            self.announce(name, 0.0)
            yield
            self.announce(name, 1.0)

    @contextmanager
    def series_stage(self, chosen: ChosenSeries, name: str) -> Iterator[SeriesRecord]:
        """Time a stage of one series and note its error, so that other series go on.

        Only the errors that the packages raise on purpose are noted; any other passes through.
        """
        record = self._records[_key(chosen)]
        try:
            with _timed(record.stages_s, name):
                self.announce(name, 0.0)
                yield record
                self.announce(name, 1.0)
        except (ImagingError, ModelError) as exc:
            log.warning("series %s, %s: %s", chosen.candidate.name, name, exc)
            record.error = record.error or exc


def _key(chosen: ChosenSeries) -> tuple[str, ...]:
    series = chosen.series
    part, model = chosen.candidate.part, chosen.model or ""
    return series.StudyInstanceUID, series.SeriesInstanceUID, part, model


@contextmanager
def _timed(stages_s: dict[str, float], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        stages_s[name] = stages_s.get(name, 0.0) + time.perf_counter() - begun
