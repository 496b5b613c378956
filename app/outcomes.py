"""The one table from errors to what users, programs and DICOM peers are told.

Exit codes 0 to 2 are the shell's own; ours begin at 10 and never change their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import (
    AppError,
    FetchError,
    HealthError,
    InputGoneError,
    InstanceMismatchError,
    InstanceRefusedError,
    InvalidPduError,
    JobError,
    ListenerError,
    PackageCollisionError,
    PackagingError,
    PeerError,
    PeerSettingsError,
    SettingsError,
    StoreError,
    StoreFullError,
    StudyNotFoundError,
    WorkerDiedError,
    WorkersClosedError,
    WorkerStoppedError,
    WorkerTimeoutError,
)
from app.packages import PACKAGE_COLLISION_EXIT_CODE
from models.errors import BundleError, GeometryError, ModelError, OutOfMemoryError, TrainingError
from operators.errors import (
    AnatomyError,
    EngineError,
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
    """How a run, a command or the work on one series ended.

    Parameters
    ----------
    status
        A short name.
    exit_code
        Of the process.
    dimse_status
        What the sender of an instance is told (PS3.4 table B.2-1, PS3.7 9.1.1.1.9).
    """

    status: str
    exit_code: int
    dimse_status: int = 0x0110


OK = Outcome("ok", 0, 0x0000)
#: A defect of the program itself: nothing in the table names the error.
INTERNAL_ERROR = Outcome("internal_error", 1)
#: Work on a series that ended without results and without an error that says why.
UNFINISHED = Outcome("unfinished", 1)
#: Some series came to results and others did not.
PARTIAL = Outcome("partial", 19)
NOT_DELIVERED = Outcome("not_delivered", 31)
NOT_FETCHED = Outcome("not_fetched", 32)
INTERRUPTED = Outcome("interrupted", 130)

#: From the error's class, most specific first in its own tree.
OUTCOMES: dict[type[BaseException], Outcome] = {
    RulesError: Outcome("bad_rules", 2),
    NothingUsableError: Outcome("unreadable_input", 10),
    NothingSelectedError: Outcome("nothing_selected", 11),
    VolumeError: Outcome("not_a_volume", 12),
    PixelDataError: Outcome("undecodable_pixels", 13),
    BundleError: Outcome("bad_model", 14),
    OutOfMemoryError: Outcome("out_of_memory", 15),
    MemoryError: Outcome("out_of_memory", 15),
    OutputError: Outcome("output_failed", 16),
    EngineError: Outcome("engine_unavailable", 21),
    AnatomyError: Outcome("not_this_anatomy", 22),
    GeometryError: Outcome("not_a_volume", 12),
    NoOrganError: Outcome("no_organ_found", 17),
    PackageCollisionError: Outcome("package_collision", PACKAGE_COLLISION_EXIT_CODE),
    TrainingError: Outcome("bad_training_data", 20),
    SettingsError: Outcome("bad_settings", 23),
    PeerSettingsError: Outcome("bad_settings", 23),
    StoreError: Outcome("store_unusable", 24),
    StoreFullError: Outcome("store_full", 24, 0xA700),
    InstanceRefusedError: Outcome("instance_refused", 24, 0xC000),
    InstanceMismatchError: Outcome("instance_mismatch", 24, 0xA900),
    ListenerError: Outcome("cannot_listen", 25),
    HealthError: Outcome("cannot_listen", 25),
    JobError: Outcome("no_such_job", 26),
    InvalidPduError: Outcome("peer_unreachable", 30),
    PeerError: Outcome("peer_unreachable", 30),
    FetchError: NOT_FETCHED,
    StudyNotFoundError: Outcome("no_such_study", 33),
    PackagingError: Outcome("not_packaged", 34),
    InputGoneError: Outcome("input_gone", 27),
    WorkerDiedError: Outcome("worker_died", 28),
    WorkerTimeoutError: Outcome("took_too_long", 29),
    WorkerStoppedError: INTERRUPTED,
    WorkersClosedError: INTERRUPTED,
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


def sentence_of(error: BaseException) -> str:
    """What people are told: the message of an expected error, only the kind of any other.

    Messages of other libraries may quote a header's values.
    """
    if isinstance(error, EXPECTED_ERRORS):
        return str(error) or outcome_of(error).status.replace("_", " ")
    return f"a defect of the program: {type(error).__name__}"


def outcome_of_series(error: BaseException | None, finished: bool) -> Outcome:
    """The outcome of the work on one series."""
    return outcome_of(error) if error is not None or finished else UNFINISHED


def outcome_of_run(error: BaseException | None, series: Sequence[Outcome]) -> Outcome:
    """The outcome of a run that ended with `error`, or whose series came to those outcomes."""
    if error is not None:
        return outcome_of(error)
    failed = [outcome for outcome in series if outcome != OK]
    if not failed:
        return OK
    return failed[0] if len(failed) == len(series) else PARTIAL
