"""Errors of the `models` package.

ModelError
├── GeometryError      a grid that cannot exist in the patient
├── BundleError        a model folder that is incomplete, inconsistent or altered
├── TrainingError      training data or settings that cannot be used
└── OutOfMemoryError   the device cannot hold the network and one window
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of every error that `models` raises on purpose."""


class GeometryError(ModelError, ValueError):
    """A grid that cannot exist in the patient."""


class BundleError(ModelError):
    """A model folder that is incomplete, inconsistent or altered."""


class TrainingError(ModelError):
    """Training data or settings that cannot be used."""


class OutOfMemoryError(ModelError):
    """The device cannot hold the network and one window."""
