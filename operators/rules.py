"""Selection rules in the JSON of the MONAI Deploy App SDK (4.0), read unchanged.

    {"selections": [{"name": "...", "conditions": {"<DICOM keyword>": <value>, ...}}]}

| value | meets |
|---|---|
| `"CT"`, `"(?i)^CT.*"` | a value equal to the text, or matched whole by the regular expression |
| `"!LOCALIZER"` | no value is it |
| `["PRIMARY", "!SECONDARY"]` | every plain term is one of the values, no `!` term is |
| `5` | a value that is this number |
| `[3, 5]` | a number in the range, ends included |
| `[2, ">"]` | a number in relation `>`, `>=`, `<`, `<=` or `!=` to it |
| `"Axial"`, for ImageOrientationPatient | the plane by the cosines; or Coronal, Sagittal |
| `null`, `""`, `[]` | anything: the condition is left out |

Two things differ from the SDK on purpose. A regular expression has to match the whole value, so
that `CT` does not find `RTSTRUCT`; and terms of a list are compared value by value instead of as a
part of the joined text. What an absent attribute meets: see `operators.conditions`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.tag import Tag

from operators.conditions import (
    PLANES,
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

#: Beyond any number in a DICOM header; NaN and infinity, which Python's JSON lets in, are too.
LARGEST_NUMBER = 1e300


@dataclass(frozen=True)
class Selection:
    """A named set of conditions that a series has to meet, all of them."""

    name: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Rules:
    """What to choose from each study: for every selection its best series."""

    selections: tuple[Selection, ...]


def default_rules() -> Rules:
    """The rules that come with the product: axial CT, no scouts, screens or reformats."""
    return parse_rules(files("operators").joinpath("default_rules.json").read_text("utf-8"))


def parse_rules(rules: str | Mapping[str, Any]) -> Rules:
    """Read selection rules.

    Parameters
    ----------
    rules
        JSON text, or what it parses to.

    Returns
    -------
    Rules
        Without selections whose conditions are `{}` or `null`, which the SDK passes over too.

    Raises
    ------
    RulesError
        If the rules cannot be understood; names the place, such as
        `selections[0].conditions.SliceThickness`.
    """
    if isinstance(rules, str):
        try:
            rules = json.loads(rules)
        except ValueError as exc:
            raise RulesError(f"the rules are not JSON: {exc}") from exc
    found = rules.get("selections") if isinstance(rules, Mapping) else None
    if not isinstance(found, list):
        raise RulesError('expected the rules to be {"selections": [...]}')
    parsed = [_selection(item, f"selections[{n}]") for n, item in enumerate(found)]
    selections = tuple(selection for selection in parsed if selection is not None)
    if not selections:
        raise RulesError("selections: expected at least one with conditions, found none")
    return Rules(selections)


def _selection(item: Any, place: str) -> Selection | None:
    if not isinstance(item, Mapping) or "conditions" not in item:
        raise RulesError(f'{place}: expected {{"name": ..., "conditions": {{...}}}}')
    name, conditions = item.get("name", ""), item["conditions"]
    if not isinstance(name, str):
        raise RulesError(f"{place}.name: expected text, found {_found(name)}")
    if conditions is None or conditions == {}:
        return None
    place = f"{place}.conditions"
    if not isinstance(conditions, Mapping):
        raise RulesError(f"{place}: expected an object, found {_found(conditions)}")
    return Selection(
        name.strip(),
        tuple(
            _condition(keyword, value, f"{place}.{keyword}")
            for keyword, value in conditions.items()
            if not (value is None or value == "" or value == [])
        ),
    )


def _condition(keyword: str, value: Any, place: str) -> Condition:
    try:
        tag = Tag(keyword)
    except (ValueError, OverflowError) as exc:
        raise RulesError(f"{place}: {keyword!r} is not a DICOM keyword") from exc
    if dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ":
        raise RulesError(f"{place}: a sequence cannot be compared")
    check = _plane(value, place) if tag == Tag("ImageOrientationPatient") else _check(value, place)
    return Condition(keyword, tag, check, value)


def _plane(value: Any, place: str) -> Check:
    name = value.strip().capitalize() if isinstance(value, str) else None
    if name not in PLANES:
        raise RulesError(f"{place}: expected Axial, Coronal or Sagittal, found {_found(value)}")
    return Plane(name)


def _check(value: Any, place: str) -> Check:
    if isinstance(value, str):
        if value.startswith("!"):
            return _terms([value], place)
        return _text(value, place)
    if _is_number(value):
        return Equal(float(value))
    if not isinstance(value, list):
        raise RulesError(f"{place}: expected text, a number or a list, found {_found(value)}")
    if len(value) == 2 and isinstance(value[1], str) and value[1] in RELATIONS:
        return _relation(value[0], value[1], place)
    if all(isinstance(term, str) for term in value):
        return _terms(value, place)
    if len(value) == 2 and all(map(_is_number, value)):
        low, high = map(float, value)
        if low > high:
            raise RulesError(f"{place}: expected [least, greatest], found {_found(value)}")
        return Within(low, high)
    raise RulesError(
        f'{place}: expected a list of texts, [least, greatest] or [number, ">"], '
        f"found {_found(value)}"
    )


def _relation(number: Any, sign: str, place: str) -> Check:
    try:  # the SDK takes the number as text, too
        bound = float(number) if isinstance(number, str) or _is_number(number) else math.nan
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise RulesError(f"{place}: expected a number before {sign!r}, found {_found(number)}")
    return Relation(sign, bound)


def _terms(terms: list[str], place: str) -> Check:
    excluded = tuple(_text(term[1:], place) for term in terms if term.startswith("!"))
    return Terms(tuple(_text(t, place) for t in terms if not t.startswith("!")), excluded)


def _text(wanted: str, place: str) -> Text:
    try:
        return Text.of(wanted)
    except re.error as exc:
        raise RulesError(f"{place}: {wanted!r} is not a regular expression: {exc}") from exc


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < LARGEST_NUMBER
    )


def _found(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
