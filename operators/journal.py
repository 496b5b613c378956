"""What happened in one run: which series was worked on, how each ended, and how long it took."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import ModelError
from models.geometry import VolumeGeometry
from operators.errors import ImagingError
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
    organs: Sequence[OrganVolume] = ()
    outputs: dict[str, Path] = field(default_factory=dict)
    stages_s: dict[str, float] = field(default_factory=dict)
    error: ImagingError | ModelError | None = None


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
        self.announce: Announce = announce or (lambda stage, share: None)
        self.skipped: tuple[SkippedFile, ...] = ()
        self.decisions: tuple[Decision, ...] = ()
        self.stages_s: dict[str, float] = {}
        self._records: dict[str, SeriesRecord] = {}

    @property
    def records(self) -> tuple[SeriesRecord, ...]:
        """One per series that was chosen, in order of choice."""
        return tuple(self._records.values())

    def open(self, chosen: ChosenSeries) -> bool:
        """Begin the record of a series; False where it has one, chosen by another selection."""
        uid = chosen.series.SeriesInstanceUID
        if uid in self._records:
            return False
        # loading lets no SeriesInstanceUID through that is not digits and dots
        self._records[uid] = SeriesRecord(chosen=chosen, folder=self.output / uid)
        return True

    def record(self, SeriesInstanceUID: str) -> SeriesRecord:
        return self._records[SeriesInstanceUID]

    @contextmanager
    def run_stage(self, name: str) -> Iterator[None]:
        """Time a stage of the whole run; errors pass through, since nothing can go on."""
        with _timed(self.stages_s, name):
            self.announce(name, 0.0)
            yield
            self.announce(name, 1.0)

    @contextmanager
    def series_stage(self, SeriesInstanceUID: str, name: str) -> Iterator[SeriesRecord]:
        """Time a stage of one series and note its error, so that other series go on.

        Only the errors that the packages raise on purpose are noted; any other passes through.
        """
        record = self._records[SeriesInstanceUID]
        try:
            with _timed(record.stages_s, name):
                self.announce(name, 0.0)
                yield record
                self.announce(name, 1.0)
        except (ImagingError, ModelError) as exc:
            log.warning("series %s, %s: %s", SeriesInstanceUID, name, exc)
            record.error = record.error or exc


@contextmanager
def _timed(stages_s: dict[str, float], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        stages_s[name] = stages_s.get(name, 0.0) + time.perf_counter() - begun
