"""What is wrong with settings, in sentences that name the place and the nearest key."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.node.settings import ACROSS_PARTS
from app.node.settings_types import check_ae_title
from operators.rules_sdk import found_text, nearest

#: Keys and indices from the outermost settings inwards.
Place = tuple[str | int, ...]

#: Words in keys whose values are secrets, unless the key names a file.
_SECRET_WORDS = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|token|api_?key|credentials?|bearer|authorization)(_|$)"
)
_PEM = "-----BEGIN"


def text_of_place(place: Iterable[str | int]) -> str:
    """A place as people write it, such as `node.workflows.VISCERA.destinations[0]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".")


def inline_secret(key: str, value: Any) -> bool:
    """Whether a value is a secret rather than the name of the file that holds it."""
    if isinstance(value, str) and _PEM in value:
        return True
    if isinstance(value, str) and "://" in value and key != "database_url":
        try:
            return urlsplit(value).password is not None
        except ValueError:
            return False
    is_named = key.lower().endswith("_file") or value is None
    return not is_named and bool(_SECRET_WORDS.search(key.lower()))


def problems_of(
    error: ValidationError, model: type[BaseModel], document: Any
) -> list[tuple[Place, str]]:
    """Each thing that is wrong, with its place.

    Parameters
    ----------
    error
        What validation of `model` raised.
    model
        The outermost settings, for the keys that are known at each place.
    document
        What was validated, for what is not a key but a choice of the validation.
    """
    found: dict[Place, str] = {}
    for detail in error.errors(include_url=False):
        place = _place_in(document, detail["loc"], detail["type"] == "missing")
        if detail["type"] == ACROSS_PARTS:
            found |= {(inner,): problem for inner, problem in detail["ctx"]["pairs"]}
            continue
        text = _sentence(detail, place)
        if detail["type"] == "extra_forbidden":
            known = _keys_at(model, detail["loc"][:-1])
            text = "unknown key"
            text += nearest(str(place[-1]), known) or f"; known are {', '.join(known)}"
        found[place] = f"{found[place]}; or {text}" if place in found else text
    # a list whose items are wrong is also told to be too short
    outer = {place[:n] for place in found for n in range(len(place))}
    return [(place, text) for place, text in found.items() if place not in outer]


def _place_in(document: Any, steps: Place, is_missing: bool) -> Place:
    """The steps that the document has, and the last one where it is what lacks."""
    place: list[str | int] = []
    for step in steps:
        is_there = isinstance(document, dict) and step in document
        if is_there or (isinstance(document, list) and isinstance(step, int)):
            place.append(step)
            document = document[step]
    return (*place, steps[-1]) if is_missing else tuple(place)


def _sentence(detail: ErrorDetails, place: Place) -> str:
    kind, found = detail["type"], detail["input"]
    if kind == "missing":
        return "expected, but not there"
    if kind == "string_pattern_mismatch" and "ae_title" in text_of_place(place):
        try:
            check_ae_title(found)
        except ValueError as exc:
            return str(exc)
    if kind == "too_short":
        least, count = detail["ctx"]["min_length"], detail["ctx"]["actual_length"]
        return f"expected at least {least}, found {count}"
    text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    text = text[:1].lower() + text[1:]
    if kind == "value_error":
        return text
    quotes = kind == "string_type" and type(found) in (int, float, bool)
    return f"{text}, found {found_text(found)}{'; put it in quotes' if quotes else ''}"


def _keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that settings may have at a place."""
    kinds: list[Any] = [model]
    for step in place:
        below = [inner for kind in kinds for inner in _below(kind, step)]
        kinds = below or [kind for kind in kinds if _is_chosen(kind, step)] or kinds
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [name for kind in models for name in kind.model_fields]


def _is_chosen(kind: Any, step: str | int) -> bool:
    """Whether a step is the word that chooses this model among others."""
    fields = getattr(kind, "model_fields", {}).values()
    return any(field.default == step for field in fields)


def _below(kind: Any, step: str | int) -> Iterator[Any]:
    """The types that a type holds at a key or an index."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if step in kind.model_fields:
            yield from _plain_types(kind.model_fields[str(step)].annotation)
    elif get_origin(kind) is dict:
        yield from _plain_types(get_args(kind)[1])
    elif get_origin(kind) in (tuple, list):
        yield from _plain_types(get_args(kind)[0])


def _plain_types(annotation: Any) -> Iterator[Any]:
    """The members of a union, without `Annotated` and None."""
    if get_origin(annotation) is Annotated:
        yield from _plain_types(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _plain_types(member)
    elif annotation is not type(None):
        yield annotation
