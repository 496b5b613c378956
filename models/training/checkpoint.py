"""Checkpoints: written whole or not at all, and refused where they belong to another run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.errors import TrainingError
from models.training.plan import TrainingPlan
from models.training.plan_json import PLAN_KEYS, plan_to_json

#: Of the file's content.
FORMAT = 2
#: Settings that do not alter the result, so that a run may go on with others.
FREE_KEYS = ("workers", "checkpoint_every_s")
#: Setting of a run that says what it learns from: `validation`, names, and `sha256` by case.
CASES = "cases"
#: Setting of a run that holds its whole recipe.
RECIPE = "train"
_CONTENTS = "image and labels"
#: So many names are told at most.
_TOLD = 5


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write atomically: an interrupted write or a crash leaves the last checkpoint in place.

    Raises
    ------
    TrainingError
        If the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            torch.save({"format": FORMAT, **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise TrainingError(f"cannot write {path}: {exc.strerror or exc}") from exc


def read_checkpoint(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint of the run whose `identity` is `expected`.

    Raises
    ------
    TrainingError
        If it cannot be read, or was made from other cases, another plan or another network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as exc:
        raise TrainingError(f"cannot read the checkpoint {path}: {exc}") from exc
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TrainingError(f"{path} is no checkpoint of this trainer (format {FORMAT})")
    refuse_other_run(path, content["identity"], expected)
    return content


def identity(
    network: nn.Module,
    plan: TrainingPlan,
    settings: Mapping[str, Any],
    cases: tuple[str, ...],
    samples: int,
) -> dict[str, Any]:
    """What two sessions of one run have in common, as plain values.

    Names alone do not make two sessions alike: labels may be exchanged in the files, and a best
    score over other cases is no score to compare with.
    """
    planned = {key: value for key, value in plan_to_json(plan).items() if key not in FREE_KEYS}
    others = {key: value for key, value in settings.items() if key != CASES}
    if isinstance(others.get(RECIPE), Mapping):
        others[RECIPE] = _essential(others[RECIPE])
    data = settings.get(CASES, {})
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    plain = {
        "cases": list(cases),
        "validation cases": data.get("validation", []),
        "samples an epoch": samples,
        "plan": planned,
        "settings": others,
        "network": shapes,
        _CONTENTS: data.get("sha256", {}),  # last: another grid, told as such, alters all of them
    }
    result: dict[str, Any] = json.loads(json.dumps(plain))
    return result


def _essential(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe less its plan, which stands by itself, and less what does not alter the result."""
    kept = {key: value for key, value in recipe.items() if key not in PLAN_KEYS | {"notes"}}
    first = kept.get("first")
    if isinstance(first, Mapping) and isinstance(first.get("train") or {}, Mapping):
        idle = (*FREE_KEYS, "notes")
        train = {k: value for k, value in (first.get("train") or {}).items() if k not in idle}
        less = {key: value for key, value in first.items() if key != "train"}
        kept["first"] = less | ({"train": train} if train else {})
    return kept


def refuse_other_run(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise TrainingError with the first difference.

    Not even a longer plan may take a checkpoint up: its learning rate would have gone another way
    from the first step. And scores of a case that was learnt from earlier would be called scores
    of an unseen one.
    """
    if found == expected:
        return
    for part, value in expected.items():
        if found.get(part) != value:
            raise TrainingError(
                f"{path} belongs to another run: {_told(part, found.get(part), value)}; "
                "name another folder for the run"
            )


def _told(part: str, found: Any, expected: Any) -> str:
    if part == _CONTENTS:
        known = found or {}
        names = [name for name, digest in expected.items() if known.get(name) != digest]
        more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        return f"image or labels are not as they were in {', '.join(names[:_TOLD])}{more}"
    where, was, now = _difference(part, found, expected)
    return f"{where} was {was}, is now {now}"


def _difference(where: str, found: object, expected: object) -> tuple[str, object, object]:
    """The innermost place in which two JSON values differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in [*expected, *found]:
            one, other = found.get(key, "absent"), expected.get(key, "absent")
            if one != other:
                return _difference(f"{where}.{key}", one, other)
    if isinstance(found, list) and isinstance(expected, list):
        if len(found) == len(expected) and isinstance(found[0], dict):
            n = next(n for n, pair in enumerate(zip(found, expected, strict=True)) if _differ(pair))
            return _difference(f"{where}[{n}]", found[n], expected[n])
        found, expected = (", ".join(map(str, one)) or "none" for one in (found, expected))
    return where, found, expected


def _differ(pair: tuple[object, object]) -> bool:
    return pair[0] != pair[1]
