"""JSON that comes with a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import TrainingError


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file; raises TrainingError where it is none or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise TrainingError(f"{path}: expected a JSON object, found {exc}") from exc
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content
