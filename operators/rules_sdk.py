"""Conditions on one attribute, as the MONAI Deploy App SDK writes them: see `operators.rules`."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.tag import BaseTag, Tag

from operators.conditions import (
    RELATIONS,
    Check,
    Condition,
    Equal,
    Plane,
    Relation,
    Terms,
    Text,
    Within,
)
from operators.errors import RulesError
from operators.planes import PLANES

#: Beyond any number in a DICOM header; NaN and infinity, which Python's JSON lets in, are too.
LARGEST_NUMBER = 1e300

_LONGEST_SHOWN = 200
_TAG = re.compile(r"(0x)?[0-9A-Fa-f]{8}")


def is_empty(value: Any) -> bool:
    """Whether the SDK leaves a condition with this value out."""
    return value is None or value == "" or value == []


def condition_of(keyword: Any, value: Any, place: str) -> Condition:
    """Read a condition; raises RulesError with its place."""
    tag = tag_of(keyword, place)
    if is_sequence(tag):
        raise RulesError(f"{place}: a sequence cannot be compared")
    check = (
        _plane(value, place) if tag == Tag("ImageOrientationPatient") else check_of(value, place)
    )
    return Condition(keyword, tag, check, value)


def tag_of(keyword: Any, place: str, also: Iterable[str] = ()) -> BaseTag:
    """The tag that a keyword, or eight hexadecimal digits, name.

    Parameters
    ----------
    keyword
        As the rules have it.
    place
        For the error.
    also
        Other words that might be meant at this place.

    Raises
    ------
    RulesError
        If it is neither; names the nearest known word.
    """
    if not isinstance(keyword, str):
        raise RulesError(f"{place}: expected text as a key, found {found_text(keyword)}")
    found = tag_for_keyword(keyword)
    if found is None and not _TAG.fullmatch(keyword):
        alike = [k for k in keyword_dict if k[:1] == keyword[:1].upper()]  # of thousands
        known = nearest(keyword, [*also, *alike])
        kind = "no DICOM keyword" if not also else "neither a clause nor a DICOM keyword"
        raise RulesError(f"{place}: {keyword!r} is {kind}{known}")
    tag = Tag(found if found is not None else int(keyword, 16))
    if tag.group == 0x0002:
        raise RulesError(f"{place}: file meta information is no attribute of an image")
    return tag


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` where a known word is like this one, else nothing."""
    by_case = {name.casefold(): name for name in known if name}
    found = difflib.get_close_matches(word.casefold(), by_case, n=1, cutoff=0.6)
    return f"; did you mean {by_case[found[0]]!r}?" if found else ""


def is_sequence(tag: BaseTag) -> bool:
    """Whether an attribute is a sequence by the dictionary."""
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def check_of(value: Any, place: str) -> Check:
    """Read what a value must meet; raises RulesError with its place."""
    if isinstance(value, str):
        if value.startswith("!"):
            return _terms([value], place)
        return _text(value, place)
    if is_number(value):
        return Equal(float(value))
    if not isinstance(value, list):
        raise RulesError(f"{place}: expected text, a number or a list, found {found_text(value)}")
    if len(value) == 2 and isinstance(value[1], str) and value[1] in RELATIONS:
        return _relation(value[0], value[1], place)
    if value and all(isinstance(term, str) for term in value):
        return _terms(value, place)
    if len(value) == 2 and all(map(is_number, value)):
        return within(float(value[0]), float(value[1]), place)
    raise RulesError(
        f'{place}: expected a list of texts, [least, greatest] or [number, ">"], '
        f"found {found_text(value)}"
    )


def within(low: float, high: float, place: str) -> Within:
    """A range; raises RulesError where it is upside down."""
    if low > high:
        raise RulesError(f"{place}: expected the least number first, found {low:g} before {high:g}")
    return Within(low, high)


def is_number(value: Any) -> bool:
    """Whether a value of the rules is a number to compare with."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < LARGEST_NUMBER
    )


def found_text(value: Any) -> str:
    """A value of the rules for messages, the beginning of a long one."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _plane(value: Any, place: str) -> Check:
    name = value.strip().capitalize() if isinstance(value, str) else None
    if name not in PLANES:
        raise RulesError(f"{place}: expected Axial, Coronal or Sagittal, found {found_text(value)}")
    return Plane(name)


def _relation(number: Any, sign: str, place: str) -> Check:
    try:  # the SDK takes the number as text, too
        bound = float(number) if isinstance(number, str) or is_number(number) else math.nan
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise RulesError(f"{place}: expected a number before {sign!r}, found {found_text(number)}")
    return Relation(sign, bound)


def _terms(terms: list[str], place: str) -> Check:
    excluded = tuple(_text(term[1:], place) for term in terms if term.startswith("!"))
    return Terms(tuple(_text(t, place) for t in terms if not t.startswith("!")), excluded)


def _text(wanted: str, place: str) -> Text:
    try:
        return Text.of(wanted)
    except (re.error, OverflowError, RecursionError) as exc:
        raise RulesError(f"{place}: {wanted!r} is not a regular expression: {exc}") from exc
