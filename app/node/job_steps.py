"""What a job does, as the node gives it to the job engine, and what its outcomes mean."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

#: Of jobs among those that wait; lower numbers come first.
DEFAULT_PRIORITY = 100

#: Asked now and then during long work: whether it is to be given up.
Stop = Callable[[], bool]

#: Outcomes of a run that tell about the input: no further attempt can end otherwise.
INPUT_OUTCOMES = frozenset(
    {
        "unreadable_input",
        "nothing_selected",
        "not_a_volume",
        "undecodable_pixels",
        "no_organ_found",
        "not_this_anatomy",
        "input_gone",
    }
)
#: Outcomes that a person has to repair; trying again before that is in vain.
SETTING_OUTCOMES = frozenset(
    {"bad_rules", "bad_settings", "bad_model", "engine_unavailable", "package_collision"}
)
#: Outcomes with results to send.
RESULT_OUTCOMES = frozenset({"ok", "partial"})


@dataclass(frozen=True)
class JobRef:
    """Which job: one version of a study, for one workflow.

    Parameters
    ----------
    study_key
        Hexadecimal key of the study within its workflow.
    version
        Counts up when late instances reopen the study.
    workflow
        Name of the workflow in the node's settings.
    """

    study_key: str
    version: int
    workflow: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{8,64}", self.study_key):  # it names folders
            raise ValueError(f"expected a key of 8 to 64 hex digits, found {self.study_key!r}")

    @property
    def job_id(self) -> str:
        """The same for the same work, so that handing it in twice is one job."""
        return f"{self.study_key}-{self.version}"


@dataclass(frozen=True, kw_only=True)
class SegmentOutcome:
    """How one run on a study ended.

    Parameters
    ----------
    status, exit_code
        Of the table in `app.outcomes`.
    message
        The sentence for people.
    report
        The run's report, relative to its output folder; empty where there is none.
    files
        DICOM objects to send, relative to the output folder.
    """

    status: str
    exit_code: int
    message: str = ""
    report: str = ""
    files: tuple[str, ...] = ()


#: `stored`: taken by the destination, its commitment still open; `delivered`: done for good;
#: `failed`: to be tried again; `refused`: the destination will never take this one.
FileState = Literal["stored", "delivered", "failed", "refused"]


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file at one destination; `file` is relative to the output folder."""

    file: str
    state: FileState
    reason: str = ""


class JobSteps(Protocol):
    """The work itself. Every method may be called again for the same job, also after it ended."""

    def assemble(self, job: JobRef, folder: Path) -> None:
        """Put the instances of the study into an empty folder.

        Raises
        ------
        InputGoneError
            If they are no longer there, which ends the job.
        AppError
            Anything that may pass; tried again later.
        """

    def segment(self, job: JobRef, source: Path, output: Path, stop: Stop) -> SegmentOutcome:
        """Run the graph; `app.node.workers.WorkerPool.run` does it. Errors as in `assemble`."""

    def destinations(self, job: JobRef) -> Sequence[str]:
        """Names of where the results go; none is fine."""

    def send(
        self,
        job: JobRef,
        output: Path,
        files: Sequence[str],
        destination: str,
        already: Mapping[str, FileState],
        stop: Stop,
    ) -> Iterable[FileOutcome]:
        """Send files of the output folder, one after the other.

        Each outcome is written down for good before the next one is asked for, so a generator
        that sends a file, yields, and only then sends the next loses nothing. A file that needs a
        commitment is yielded as `stored`, and again as `delivered` once that has come.

        Parameters
        ----------
        files
            Those that are not `delivered` yet.
        already
            States of earlier attempts; only a `stored` one matters, which lacks its commitment.

        Raises
        ------
        AppError
            What concerns the whole destination; the files without outcome are tried again later.
        """


class RetryPolicy(Protocol):
    """When to try again."""

    def delay_s(self, tried: int, key: str) -> float | None:
        """Seconds to wait after the `tried`-th failure (from 1), None to give up."""


class BackOff(BaseModel):
    """Exponential back-off with a jitter that follows from the job's key.

    Parameters
    ----------
    attempts
        How often something is tried in all.
    first_delay_s, factor, longest_delay_s
        The delay grows from the first by the factor until the longest.
    jitter
        Share by which a delay may be longer or shorter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=5, ge=1)
    first_delay_s: float = Field(default=10.0, ge=0)
    factor: float = Field(default=3.0, ge=1)
    longest_delay_s: float = Field(default=3600.0, ge=0)
    jitter: float = Field(default=0.2, ge=0, le=1)

    def delay_s(self, tried: int, key: str) -> float | None:
        """As in `RetryPolicy`."""
        if tried >= self.attempts:
            return None
        try:
            plain = self.first_delay_s * self.factor ** (tried - 1)
        except OverflowError:
            plain = self.longest_delay_s
        digest = hashlib.sha256(f"{key}/{tried}".encode()).digest()
        swing = int.from_bytes(digest[:4], "big") / 2**31 - 1
        return min(plain, self.longest_delay_s) * (1 + self.jitter * swing)


class Verdict(Enum):
    """What follows from an attempt."""

    DONE = "done"
    REJECT = "reject"
    FAIL = "fail"
    RETRY = "retry"


def verdict_of(status: str) -> Verdict:
    """What follows from the status of a run; what no list names is taken to pass."""
    if status in RESULT_OUTCOMES:
        return Verdict.DONE
    if status in INPUT_OUTCOMES:
        return Verdict.REJECT
    return Verdict.FAIL if status in SETTING_OUTCOMES else Verdict.RETRY


def verdict_of_files(files: Sequence[str], states: Mapping[str, FileState]) -> Verdict:
    """What follows from the states of all files of a job at one destination."""
    if all(states.get(file) == "delivered" for file in files):
        return Verdict.DONE
    final = ("delivered", "refused")
    return Verdict.FAIL if all(states.get(file) in final for file in files) else Verdict.RETRY
