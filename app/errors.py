"""Errors of the `app` package.

AppError
└── PackageCollisionError   another distribution holds one of our package names
"""

from __future__ import annotations


class AppError(Exception):
    """Base of every error that `app` raises on purpose."""


class PackageCollisionError(AppError):
    """Another distribution holds one of our package names."""
