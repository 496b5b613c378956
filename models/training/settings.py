"""Settings of augmentations: numbers checked as they are read from a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from models.errors import TrainingError

Step = TypeVar("Step")


def check_settings(step: Any) -> None:
    """Make sure that every number of a dataclass is finite and not negative.

    Raises
    ------
    TrainingError
        Otherwise, or where a field named `probability` is above 1, naming class and field.
    """
    for each in fields(step):
        value = getattr(step, each.name)
        name = f"{type(step).__name__}.{each.name}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            if each.type in ("float", "int"):
                raise TrainingError(f"expected a number for {name}, found {value!r}")
            continue
        if each.type == "int" and not isinstance(value, int):
            raise TrainingError(f"expected a whole number for {name}, found {value!r}")
        most = 1.0 if each.name == "probability" else math.inf
        if not (math.isfinite(value) and 0 <= value <= most):
            bound = "0 to 1" if most == 1 else "0 or more"
            raise TrainingError(f"expected {bound} for {name}, found {value!r}")


def from_settings(kind: type[Step], name: str, settings: Any, **given: Any) -> Step:
    """Make an augmentation of a recipe's object; `given` are fields that a recipe cannot set.

    Raises
    ------
    TrainingError
        If it is no object or names what the augmentation does not have.
    """
    if not isinstance(settings, Mapping):
        raise TrainingError(f"{name}: expected an object of settings, found {settings!r}")
    known = [each.name for each in fields(kind) if each.name not in given]  # type: ignore[arg-type]
    strangers = sorted(set(settings) - set(known))
    if strangers:
        raise TrainingError(
            f"{name}: expected settings among {', '.join(known)}, found {', '.join(strangers)}"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    try:
        return kind(**values, **given)
    except TypeError as exc:
        raise TrainingError(f"{name}: incomplete or wrong: {exc}") from exc
