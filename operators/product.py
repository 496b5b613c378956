"""Which version of the program this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def product_version() -> str:
    """Version of the installed distribution; inside a MAP, where none is installed, `unknown`."""
    try:
        return version("viscera")
    except PackageNotFoundError:
        return "unknown"
