"""The one table from errors to what users and programs are told: a status and an exit code.

Exit codes 0 to 2 are the shell's own; ours begin at 10 and never change their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.errors import AppError, ConfigurationError, PackageCollisionError
from models.errors import BundleError, ModelError, OutOfMemoryError, TrainingError
from operators.errors import (
    ImagingError,
    NoOrganError,
    NothingSelectedError,
    NothingUsableError,
    OutputError,
    PixelDataError,
    RulesError,
    VolumeError,
)


@dataclass(frozen=True)
class Outcome:
    """How a run, or the work on one series, ended."""

    status: str
    exit_code: int


OK = Outcome("ok", 0)
#: A defect of the program itself: nothing in the table names the error.
INTERNAL_ERROR = Outcome("internal_error", 1)
#: Some series came to results and others did not.
PARTIAL = Outcome("partial", 19)
INTERRUPTED = Outcome("interrupted", 130)

#: From the error's class, most specific first in its own tree.
OUTCOMES: dict[type[BaseException], Outcome] = {
    ConfigurationError: Outcome("bad_configuration", 2),
    RulesError: Outcome("bad_rules", 2),
    NothingUsableError: Outcome("unreadable_input", 10),
    NothingSelectedError: Outcome("nothing_selected", 11),
    VolumeError: Outcome("not_a_volume", 12),
    PixelDataError: Outcome("undecodable_pixels", 13),
    BundleError: Outcome("bad_model", 14),
    OutOfMemoryError: Outcome("out_of_memory", 15),
    MemoryError: Outcome("out_of_memory", 15),
    OutputError: Outcome("output_failed", 16),
    NoOrganError: Outcome("no_organ_found", 17),
    PackageCollisionError: Outcome("package_collision", 18),
    TrainingError: Outcome("bad_training_data", 20),
    KeyboardInterrupt: INTERRUPTED,
}

#: What is reported by a sentence rather than a traceback.
EXPECTED_ERRORS = (AppError, ImagingError, ModelError, MemoryError, KeyboardInterrupt)


def outcome_of(error: BaseException | None) -> Outcome:
    """The outcome of an error, by its closest class in the table; `OK` for none."""
    if error is None:
        return OK
    for kind in type(error).__mro__:
        if kind in OUTCOMES:
            return OUTCOMES[kind]
    return INTERNAL_ERROR


def outcome_of_run(error: BaseException | None, series: Iterable[BaseException | None]) -> Outcome:
    """The outcome of a run that ended with `error`, or whose series ended with those errors."""
    if error is not None:
        return outcome_of(error)
    ended = list(series)
    failed = [one for one in ended if one is not None]
    if not failed:
        return OK
    return outcome_of(failed[0]) if len(failed) == len(ended) else PARTIAL
