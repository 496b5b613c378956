"""JSON objects in files: a bundle's configuration, a recipe, what comes with a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import ModelError


def read_object(path: Path, error: type[ModelError]) -> dict[str, Any]:
    """The object in a file; raises `error` where it is none or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:  # the last where it nests without end
        raise error(f"{path}: expected a JSON object, found {exc}") from exc
    if not isinstance(content, dict):
        raise error(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
