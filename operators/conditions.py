"""One condition of the selection rules, and whether images meet it.

An attribute that is absent or empty has no values. Then a pattern is compared with the empty text,
so that `(.*?)` and `.*` let an anonymised series pass, and a list of exclusions alone is met, since
nothing excluded is there. A comparison with a number or a plane cannot be answered then, nor where
a value is no finite number: neither the condition nor its `not` is met. The number 0 is a value
like any other. Text is compared without regard to case, as the App SDK does.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.tag import BaseTag

from operators.elements import DAMAGED_DICOM_ERRORS, values_of
from operators.planes import plane_of
from operators.traits import Traits

#: One per image of a candidate, or a single one for all: 1 met, 0 not known, -1 not met.
Verdicts = NDArray[np.int8]
#: Which images of a candidate something is said of.
Images = NDArray[np.bool_]

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "!=": operator.ne,
}

#: Value representations that hold numbers.
NUMBER_VRS = frozenset({"DS", "IS", "FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"})
#: Value representations that cannot hold a name, a date or free text.
_SHOWN_VRS = NUMBER_VRS | {"CS", "UI"}

_SIGNS = {True: 1, None: 0, False: -1}


class Check(Protocol):
    """A check of one attribute's values: met, not met, or None where that cannot be known."""

    def verdict(self, values: tuple[Any, ...]) -> bool | None: ...


@dataclass(frozen=True)
class Text:
    """Equal text, or a regular expression that matches one whole value."""

    wanted: str
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, wanted: str) -> Text:
        """Compile; raises `re.error` or OverflowError where this is no regular expression."""
        return cls(wanted.casefold(), re.compile(wanted, re.IGNORECASE))

    def verdict(self, values: tuple[Any, ...]) -> bool:
        spellings = {text for value in values for text in _spellings(value)} or {""}
        return any(
            text.casefold() == self.wanted or self.pattern.fullmatch(text) is not None
            for text in spellings
        )


@dataclass(frozen=True)
class Terms:
    """Each included term equals or matches one whole value, no excluded term does."""

    included: tuple[Text, ...]
    excluded: tuple[Text, ...]

    def verdict(self, values: tuple[Any, ...]) -> bool:
        if not values:
            return not self.included
        return all(term.verdict(values) for term in self.included) and not any(
            term.verdict(values) for term in self.excluded
        )


@dataclass(frozen=True)
class Equal:
    """One value is exactly this number."""

    number: float

    def verdict(self, values: tuple[Any, ...]) -> bool | None:
        numbers = [number_of(value) for value in values]
        if self.number in numbers:
            return True
        return None if None in numbers or not numbers else False


@dataclass(frozen=True)
class Within:
    """Every value lies in a range, both ends included."""

    low: float
    high: float

    def verdict(self, values: tuple[Any, ...]) -> bool | None:
        return _every(values, lambda number: self.low <= number <= self.high)


@dataclass(frozen=True)
class Relation:
    """Every value stands in a relation (`>`, `>=`, `<`, `<=`, `!=`) to a number."""

    sign: str
    number: float

    def verdict(self, values: tuple[Any, ...]) -> bool | None:
        return _every(values, lambda number: RELATIONS[self.sign](number, self.number))


@dataclass(frozen=True)
class Plane:
    """The image lies nearest to this plane, by its direction cosines."""

    name: str

    def verdict(self, values: tuple[Any, ...]) -> bool | None:
        return values == (self.name,) if values else None


@dataclass(frozen=True)
class Present:
    """There is a value."""

    def verdict(self, values: tuple[Any, ...]) -> bool:
        return bool(values)


@dataclass(frozen=True)
class Condition:
    """A check of one attribute in every image.

    Parameters
    ----------
    keyword
        The attribute as the rules spell it.
    tag
        Its DICOM tag.
    check
        What its values must meet.
    asked
        The rule's own value, for messages.
    """

    keyword: str
    tag: BaseTag
    check: Check
    asked: Any = field(compare=False, default=None)

    def verdicts(self, traits: Traits) -> Verdicts:
        """For each image of a candidate, since one localizer among slices spoils a volume."""
        known: dict[tuple[Any, ...], bool | None] = {}
        found = []
        for values in self._values(traits.headers):
            if values not in known:
                known[values] = self.check.verdict(values)
            found.append(_SIGNS[known[values]])
        return np.array(found, np.int8)

    def found(self, traits: Traits, at: Images) -> str:
        """What some images have, without patient data."""
        asked = [v for v, wanted in zip(self._values(traits.headers), at, strict=True) if wanted]
        where = "" if at.all() else f" in {len(asked)} of {len(at)} images"
        return f"{self.keyword} {self._shown(min(asked, key=str))}{where}"

    def wanted(self, negated: bool) -> str:
        """What the rules ask for."""
        if isinstance(self.check, Present):
            return "none" if negated else "a value"
        return ("not " if negated else "") + json.dumps(self.asked, ensure_ascii=False)

    def _values(self, headers: Sequence[Dataset]) -> list[tuple[Any, ...]]:
        if isinstance(self.check, Plane):
            planes = [plane_of(header) for header in headers]
            return [() if plane is None else (plane,) for plane in planes]
        if isinstance(self.check, Present):
            return [_content(header, self.tag) for header in headers]
        return [values_of(header, self.tag) for header in headers]

    def _shown(self, values: tuple[Any, ...]) -> str:
        if not values:
            return "is absent or empty"
        if isinstance(self.check, Present):
            return "is present"
        if is_shown(self.tag):
            return "is " + "\\".join(map(str, values))
        words = {True: "matches", None: "cannot be compared", False: "does not match"}
        return words[self.check.verdict(values)]


def is_shown(tag: BaseTag) -> bool:
    """Whether values of an attribute may be told, since they cannot be a name, date or text."""
    if not dictionary_has_tag(tag) or tag.group == 0x0010:
        return False
    return set(dictionary_VR(tag).split(" or ")) <= _SHOWN_VRS


def _every(values: tuple[Any, ...], meets: Callable[[float], bool]) -> bool | None:
    numbers = [number_of(value) for value in values]
    if not all(meets(number) for number in numbers if number is not None):
        return False
    return None if None in numbers or not numbers else True


def _content(header: Dataset, tag: BaseTag) -> tuple[Any, ...]:
    """The values of an attribute, or a mark for a sequence that has items."""
    values = values_of(header, tag)
    try:
        is_filled = not values and tag in header and header[tag].VR == "SQ" and header[tag].value
    except DAMAGED_DICOM_ERRORS:
        return ()
    return ("items",) if is_filled else values


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _spellings(value: Any) -> set[str]:
    """A value as text; a number also in its shortest form, whatever digits the file has."""
    spellings = {str(value).strip()}
    if isinstance(value, int | float):
        number = number_of(value)
        spellings |= set() if number is None else {f"{number:.10g}", str(number)}
    return spellings
