"""Errors of the `app` package.

AppError
├── PackageCollisionError       another distribution holds one of our package names
├── SettingsError               settings of the node that cannot be used
├── PeerSettingsError           an address, certificate or secret of a peer that cannot be used
├── ListenerError, HealthError  a port or certificates that cannot be used
├── StoreError                  an instance that cannot be stored
│   ├── StoreFullError
│   └── InstanceRefusedError    InstanceMismatchError
├── JobError, InputGoneError    a job that is not there, or what it works on
├── WorkerDiedError             WorkerGoneError
├── WorkerTimeoutError, WorkerStoppedError, WorkersClosedError
├── PackagingError              a MAP that cannot be made
└── PeerError                   a peer that does not do what it is asked for
    ├── AssociationError, WebError
    └── FetchError              StudyNotFoundError
"""

from __future__ import annotations


class AppError(Exception):
    """Base of every error that `app` raises on purpose."""


class PackageCollisionError(AppError):
    """Another distribution holds one of our package names."""


class StoreError(AppError):
    """An instance that could not be stored, or a store that cannot be opened."""


class StoreFullError(StoreError):
    """No room for another instance."""


class InstanceRefusedError(StoreError):
    """A data set that does not say which instance of which study it is."""


class InstanceMismatchError(InstanceRefusedError):
    """A data set that is not the instance its message announces."""


class SettingsError(AppError):
    """Settings of the node that cannot be used; every line names a place and what was expected."""


class HealthError(AppError):
    """The health server cannot listen."""


class JobError(AppError):
    """A job that is not there, or for which the request makes no sense."""


class InputGoneError(AppError):
    """What a job was to work on is no longer kept; for `JobSteps.assemble` to raise."""


class WorkersClosedError(AppError):
    """The pool is closed, because the node ends."""


class WorkerDiedError(AppError):
    """The process of a run died."""


class WorkerGoneError(WorkerDiedError):
    """The process was dead before it could begin a run, so the run is not to blame."""


class WorkerTimeoutError(AppError):
    """A run took longer than allowed, and its process was killed."""


class WorkerStoppedError(AppError):
    """A run was given up, and its process killed."""


class ListenerError(AppError):
    """The listener cannot be started: its port or its certificates cannot be used."""


class PeerSettingsError(AppError):
    """An address, certificate or secret of a peer that cannot be used."""


class PeerError(AppError):
    """A peer that does not do what it is asked for.

    Parameters
    ----------
    message
        What was asked, and what came.
    retryable
        Whether that may pass by itself.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class AssociationError(PeerError):
    """No association came about, or it ended too early."""


class WebError(PeerError):
    """A DICOMweb server that could not be reached, or whose answer cannot be used."""


class FetchError(PeerError):
    """A query or retrieval that did not come about."""


class StudyNotFoundError(FetchError):
    """The archive knows no such study."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


class InvalidPduError(AppError):
    """What a peer sent is not what the standard has there; its association is aborted."""


class PackagingError(AppError):
    """A MONAI Application Package that cannot be made."""
