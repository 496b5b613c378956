"""Whom a case shows, by its name."""

from __future__ import annotations

import re

from models.errors import TrainingError


def patient_in(name: str, pattern: str) -> str | None:
    """What `pattern` matches from the start of a name, or its first group where it has one.

    Returns
    -------
    None where the name starts otherwise.

    Raises
    ------
    TrainingError
        If the pattern is no regular expression.
    """
    try:
        found = re.match(pattern, name)
    except (re.error, TypeError) as exc:
        raise TrainingError(f"expected a regular expression, found {pattern!r}: {exc}") from exc
    if found is None:
        return None
    return next((group for group in found.groups() if group), found.group(0))
