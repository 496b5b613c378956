"""Clauses of `where:` as the rules write them: see `operators.rules`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.tag import BaseTag, Tag

from operators.clauses import (
    MEASURES,
    AllOf,
    AnyOf,
    Clause,
    Contrast,
    InPlane,
    Kernel,
    Measure,
    Regular,
    Term,
)
from operators.conditions import NUMBER_VRS, Check, Condition, Equal, Present, Relation, Within
from operators.contrast import PHASES
from operators.errors import RulesError
from operators.planes import PLANES
from operators.rules_sdk import (
    LARGEST_NUMBER,
    check_of,
    condition_of,
    found_text,
    is_empty,
    is_number,
    nearest,
    tag_of,
    within,
)
from operators.traits import KERNELS

#: Clauses within clauses, at most.
DEEPEST = 20

NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_COMPARISON = re.compile(rf"(<=|>=|!=|<|>|=|)\s*({NUMBER})")
_RANGE = re.compile(rf"({NUMBER})\s*\.\.\s*({NUMBER})")
_EXPECTED = 'expected a comparison such as "<= 5", "> 1.5", "!= 0" or "2..5"'

_JOINED = ("any", "all", "not")
_OTHERS = ("present", "absent", "plane", "kernel", "contrast", "regular")
#: Every key of a clause besides DICOM keywords.
CLAUSES = (*_JOINED, *_OTHERS, *MEASURES)


def clause_of(value: Any, place: str, negated: bool = False, depth: int = 0) -> Clause:
    """Read one clause.

    Parameters
    ----------
    value
        A mapping; of several keys all have to be met.
    place
        Where it stands, for errors.
    negated
        Whether the contrary is asked for.
    depth
        How many clauses are around it.

    Raises
    ------
    RulesError
        If it cannot be understood; names the place, and the nearest known word.
    """
    if not isinstance(value, Mapping) or not value:
        raise RulesError(f"{place}: expected a clause such as {{plane: axial}}, {_but(value)}")
    if depth > DEEPEST:
        raise RulesError(f"{place}: clauses are nested more than {DEEPEST} deep")
    parts = tuple(
        _entry(key, item, f"{place}.{key}", negated, depth) for key, item in value.items()
    )
    return parts[0] if len(parts) == 1 else _joined(parts, "all", negated)


def clauses_of(value: Any, place: str, negated: bool = False, depth: int = 0) -> tuple[Clause, ...]:
    """Read a list of clauses, at least one; raises RulesError."""
    if not isinstance(value, list) or not value:
        raise RulesError(f"{place}: expected a list of clauses, {_but(value)}")
    return tuple(
        clause_of(item, f"{place}[{n}]", negated, depth + 1) for n, item in enumerate(value)
    )


def _entry(key: Any, value: Any, place: str, negated: bool, depth: int) -> Clause:
    if not isinstance(key, str):
        raise RulesError(f"{place}: expected text as a key, found {found_text(key)}")
    if key in ("any", "all"):
        return _joined(clauses_of(value, place, negated, depth), key, negated)
    if key == "not":
        if isinstance(value, Mapping) and len(value) > 1:
            raise RulesError(
                f"{place}: expected one clause, found {len(value)}; write not: {{any: [...]}} "
                "to exclude each, or not: {all: [...]} to exclude all of them together"
            )
        return clause_of(value, place, not negated, depth + 1)
    if key in ("present", "absent"):
        return _presence(value, place, key == "absent", negated)
    if key in _TESTS:
        return Term(_TESTS[key](value, place), negated)
    if key in MEASURES:
        return Term(Measure(key, measure_check(value, place), value), negated)
    return Term(_attribute(key, value, place), negated)


def _joined(parts: tuple[Clause, ...], how: str, negated: bool) -> Clause:
    """Parts that are negated already, where they are: not any is all not, and so on."""
    if len(parts) == 1:
        return parts[0]
    return AllOf(parts) if (how == "all") is not negated else AnyOf(parts)


def _presence(value: Any, place: str, absent: bool, negated: bool) -> Clause:
    keywords = [value] if isinstance(value, str) else value
    if not isinstance(keywords, list) or not keywords:
        raise RulesError(f"{place}: expected a DICOM keyword or a list of them, {_but(value)}")
    parts = []
    for keyword in keywords:
        if not isinstance(keyword, str):
            raise RulesError(f"{place}: expected a DICOM keyword, found {found_text(keyword)}")
        test = Condition(keyword, tag_of(keyword, place), Present())
        parts.append(Term(test, absent is not negated))
    return _joined(tuple(parts), "all", negated)


def _plane(value: Any, place: str) -> InPlane:
    if not isinstance(value, Mapping):
        return InPlane({p.capitalize(): None for p in _words(value, _LOWER_PLANES, place)})
    for name, degrees in value.items():
        _words(name, _LOWER_PLANES, place)
        if not is_number(degrees) or not 0 <= degrees <= 90:
            raise RulesError(
                f"{place}.{name}: expected degrees from 0 to 90, found {found_text(degrees)}"
            )
    if not value:
        raise RulesError(f"{place}: expected a plane such as {{axial: 20}}, found none")
    return InPlane({name.capitalize(): float(degrees) for name, degrees in value.items()})


def _regular(value: Any, place: str) -> Regular:
    if not isinstance(value, bool):
        raise RulesError(f"{place}: expected true or false, found {found_text(value)}")
    return Regular(value)


_LOWER_PLANES = tuple(name.lower() for name in reversed(PLANES))
_TESTS: dict[str, Callable[[Any, str], InPlane | Kernel | Contrast | Regular]] = {
    "plane": _plane,
    "kernel": lambda value, place: Kernel(_words(value, KERNELS, place)),
    "contrast": lambda value, place: Contrast(_words(value, PHASES, place)),
    "regular": _regular,
}


def _words(value: Any, known: tuple[str, ...], place: str) -> tuple[str, ...]:
    words = value if isinstance(value, list) else [value]
    for word in words:
        if word not in known:
            hint = nearest(word, known) if isinstance(word, str) else ""
            raise RulesError(
                f"{place}: expected {', '.join(known)}, found {found_text(word)}{hint}"
            )
    if not words:
        raise RulesError(f"{place}: expected {', '.join(known)}, found an empty list")
    return tuple(words)


def measure_check(value: Any, place: str) -> Check:
    """Read a comparison with a number; raises RulesError."""
    check = _comparison(value, place) if isinstance(value, str) else check_of(value, place)
    if not isinstance(check, Equal | Relation | Within):
        raise RulesError(f"{place}: {_EXPECTED}, {_but(value)}")
    return check


def _attribute(keyword: str, value: Any, place: str) -> Condition:
    tag = tag_of(keyword, place, CLAUSES)
    if is_empty(value):
        raise RulesError(f"{place}: expected a value; for none at all write absent: {keyword}")
    if isinstance(value, str) and tag != Tag("ImageOrientationPatient"):
        check = _compared(tag, value, place)
        if check is not None:
            return Condition(keyword, tag, check, value)
    return condition_of(keyword, value, place)


def _compared(tag: BaseTag, text: str, place: str) -> Check | None:
    """A comparison with a number, where the text and the attribute are of that kind."""
    check = _comparison(text, place)
    vrs = set(dictionary_VR(tag).split(" or ")) if dictionary_has_tag(tag) else None
    if vrs is None:
        return check
    if vrs <= NUMBER_VRS:
        if check is None and (_has_sign(text) or ".." in text):
            raise RulesError(f"{place}: {_EXPECTED}, {_but(text)}")
        return check
    if check is not None and _has_sign(text):
        raise RulesError(f"{place}: text has no order, {_but(text)}")
    return None


def _has_sign(text: str) -> bool:
    return text.strip().startswith(("<", ">", "=", "!="))


def _comparison(text: str, place: str) -> Check | None:
    text = text.strip()
    if found := _RANGE.fullmatch(text):
        return within(float(found[1]), float(found[2]), place)
    found = _COMPARISON.fullmatch(text)
    if found is None or not abs(float(found[2])) < LARGEST_NUMBER:
        return None
    sign, number = found[1], float(found[2])
    return Relation(sign, number) if sign not in ("", "=") else Equal(number)


def _but(value: Any) -> str:
    return f"found {found_text(value)}"
