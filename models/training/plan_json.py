"""Training plans as JSON: the part of a bundle's `train.json` that the trainer reads."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from models.errors import TrainingError
from models.training.plan import Stage, TrainingPlan

#: Keys of `train.json` that others read.
KEYS_OF_OTHERS = frozenset(
    (
        "data",
        "samples",
        "augmentation",
        "phantoms",
        "sources",
        "initial_weights",
        "initial_part",
        "first",
        "pseudo_labels",
        "notes",
    )
)
#: Keys that hold for the whole run.
RUN_KEYS = frozenset(("seed", "workers", "checkpoint_every_s", "memory_format"))
STAGE_KEYS = frozenset(f.name for f in dataclasses.fields(Stage)) - {"name"}
#: All keys of a plan at its top level.
PLAN_KEYS = RUN_KEYS | STAGE_KEYS | {"stages"}
LENGTHS = frozenset(("epochs", "steps", "minutes"))

T = TypeVar("T")


def plan_from_json(content: Mapping[str, Any]) -> TrainingPlan:
    """Read a plan.

    Values at the top level hold for every stage; a stage may override them. Of `optimiser` it
    overrides key by key, and a length of its own replaces any other; all else is replaced whole.
    Without `stages` there is one, named `train`.

    Raises
    ------
    TrainingError
        If a key is unknown (naming the nearest known one), a value is of the wrong kind or out of
        range, or a stage has no length.
    """
    _refuse_unknown(content, PLAN_KEYS | KEYS_OF_OTHERS, "")
    shared = {key: value for key, value in content.items() if key in STAGE_KEYS}
    entries = content.get("stages", [{"name": "train"}])
    if not isinstance(entries, (list, tuple)):
        raise TrainingError(f"stages: expected a list, found {entries!r}")
    _refuse_idle_length(shared, entries)
    stages = tuple(_stage(shared, entry, f"stages[{n}].") for n, entry in enumerate(entries))
    hints = get_type_hints(TrainingPlan)
    run = {key: _value(hints[key], content[key], key) for key in RUN_KEYS & content.keys()}
    return TrainingPlan(stages=stages, **run)


def _refuse_idle_length(shared: Mapping[str, Any], entries: Sequence[object]) -> None:
    """A length that no stage would follow is told rather than passed over."""
    given = [key for key in sorted(LENGTHS) if shared.get(key) is not None]
    idle = all(isinstance(entry, Mapping) and LENGTHS & entry.keys() for entry in entries)
    if given and entries and idle:
        raise TrainingError(
            f"{given[0]}: every stage has a length of its own, so that none would follow this one; "
            f"change stages.0.{given[0]} and so on, or that of all stages with --{given[0]}"
        )


def plan_to_json(plan: TrainingPlan) -> dict[str, Any]:
    """The plan with every value written out; `plan_from_json` gives the same plan again."""
    content = dataclasses.asdict(plan)
    content["stages"] = list(content["stages"])
    return content


def _stage(shared: Mapping[str, Any], own: object, where: str) -> Stage:
    if not isinstance(own, Mapping):
        raise TrainingError(f"{where[:-1]}: expected an object, found {own!r}")
    inherited = dict(shared)
    if LENGTHS & own.keys():
        inherited = {key: value for key, value in shared.items() if key not in LENGTHS}
    merged = {**inherited, **own}
    general, special = shared.get("optimiser"), own.get("optimiser")
    if isinstance(general, Mapping) and isinstance(special, Mapping):
        merged["optimiser"] = {**general, **special}
    return _read(Stage, merged, where)


def _read(kind: type[T], values: object, where: str) -> T:
    """Read a dataclass whose fields are numbers, texts, choices, or such dataclasses."""
    if not isinstance(values, Mapping):
        raise TrainingError(f"{where[:-1]}: expected an object, found {values!r}")
    hints = get_type_hints(kind)
    _refuse_unknown(values, hints, where)
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        if _is_required(each) and each.name not in values:
            raise TrainingError(f"{where[:-1]}: expected a value of {each.name}, found none")
    arguments = {key: _value(hints[key], value, where + key) for key, value in values.items()}
    try:
        return kind(**arguments)
    except TrainingError as exc:
        raise TrainingError(f"{where[:-1]}: {exc}") from exc


def _is_required(each: dataclasses.Field[Any]) -> bool:
    return each.default is each.default_factory is dataclasses.MISSING


def _value(hint: Any, value: object, where: str) -> Any:
    kinds = get_args(hint) if get_origin(hint) is not Literal else ()
    if NoneType in kinds:
        if value is None:
            return None
        hint = next(kind for kind in kinds if kind is not NoneType)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _read(hint, value, where + ".")
    if get_origin(hint) is Literal:
        return _choice(value, get_args(hint), where)
    if hint is float and _is_finite(value):
        return float(value)  # type: ignore[arg-type]
    if hint is int and _is_finite(value) and value == int(value):  # type: ignore[call-overload]
        return int(value)  # type: ignore[call-overload]
    if hint in (str, bool) and isinstance(value, hint):
        return value
    wanted = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}[hint]
    raise TrainingError(f"{where}: expected {wanted}, found {value!r}")


def _is_finite(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]


def _choice(value: object, known: tuple[Any, ...], where: str) -> object:
    if value in known:
        return value
    raise TrainingError(f"{where}: expected one of {', '.join(known)}, found {value!r}")


def _refuse_unknown(content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = sorted(known)
    for key in content:
        if key not in known:
            nearest = _nearest(key, known)
            raise TrainingError(f"unknown key {where + key!r} in the training plan{nearest}")


def _nearest(key: str, known: list[str]) -> str:
    """A hint at what was meant: a key within an object of that name, or one spelt alike."""
    hints = get_type_hints(Stage)
    for outer in known:
        kinds = [hints.get(outer), *get_args(hints.get(outer))]
        inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
        if inner is not None and key in {f.name for f in dataclasses.fields(inner)}:
            return f"; did you mean {outer}.{key}?"
    close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"
