"""One condition of the selection rules, and whether images meet it.

An attribute that is absent or empty has no values. Then a pattern is compared with the empty text,
so that `(.*?)` and `.*` let an anonymised series pass, and a list of exclusions alone is met, since
nothing excluded is there; every other condition fails. The number 0 is a value like any other.
Text is compared without regard to case, as the App SDK does.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag

from operators.loading import numbers_of, values_of

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "!=": operator.ne,
}

PLANES = ("Sagittal", "Coronal", "Axial")  # in order of the normal's main axis: x, y, z

#: Value representations that cannot hold a name, a date or free text.
_SHOWN_VRS = frozenset({"CS", "DS", "IS", "FD", "FL", "SS", "US", "SL", "UL", "UI"})


class Check(Protocol):
    """A check of one attribute's values."""

    def meets(self, values: tuple[Any, ...]) -> bool: ...


@dataclass(frozen=True)
class Text:
    """Equal text, or a regular expression that matches one whole value."""

    wanted: str
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, wanted: str) -> Text:
        """Compile; raises `re.error` where this is no regular expression."""
        return cls(wanted.casefold(), re.compile(wanted, re.IGNORECASE))

    def meets(self, values: tuple[Any, ...]) -> bool:
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

    def meets(self, values: tuple[Any, ...]) -> bool:
        if not values:
            return not self.included
        return all(term.meets(values) for term in self.included) and not any(
            term.meets(values) for term in self.excluded
        )


@dataclass(frozen=True)
class Equal:
    """One value is exactly this number."""

    number: float

    def meets(self, values: tuple[Any, ...]) -> bool:
        return any(_number(value) == self.number for value in values)


@dataclass(frozen=True)
class Within:
    """Every value lies in a range, both ends included."""

    low: float
    high: float

    def meets(self, values: tuple[Any, ...]) -> bool:
        numbers = [_number(value) for value in values]
        return bool(numbers) and all(n is not None and self.low <= n <= self.high for n in numbers)


@dataclass(frozen=True)
class Relation:
    """Every value stands in a relation (`>`, `>=`, `<`, `<=`, `!=`) to a number."""

    sign: str
    number: float

    def meets(self, values: tuple[Any, ...]) -> bool:
        compare = RELATIONS[self.sign]
        numbers = [_number(value) for value in values]
        return bool(numbers) and all(n is not None and compare(n, self.number) for n in numbers)


@dataclass(frozen=True)
class Plane:
    """The image lies in this plane, by its direction cosines."""

    name: str

    def meets(self, values: tuple[Any, ...]) -> bool:
        return values == (self.name,)


@dataclass(frozen=True)
class Condition:
    """A check of one attribute.

    Parameters
    ----------
    keyword
        The attribute as the rules spell it.
    tag
        Its DICOM tag.
    check
        What its values must meet.
    wanted
        The rule's own value, for messages.
    """

    keyword: str
    tag: BaseTag
    check: Check
    wanted: Any = field(compare=False)

    def unmet(self, headers: Sequence[Dataset]) -> str | None:
        """Why a series fails; None where all its images meet the condition.

        Every image is asked, since one localizer among the slices is not the series one wants.
        """
        found = Counter(self._values(header) for header in headers)
        failed = {values: n for values, n in found.items() if not self.check.meets(values)}
        if not failed:
            return None
        share = sum(failed.values())
        where = "" if share == len(headers) else f" in {share} of {len(headers)} images"
        values = min(failed, key=str)
        wanted = json.dumps(self.wanted, ensure_ascii=False)
        return f"{self.keyword} {self._shown(values)}{where}, the rules ask for {wanted}"

    def _values(self, header: Dataset) -> tuple[Any, ...]:
        if isinstance(self.check, Plane):
            plane = plane_of(header)
            return () if plane is None else (plane,)
        return values_of(header, self.tag)

    def _shown(self, values: tuple[Any, ...]) -> str:
        if not values:
            return "is absent or empty"
        if self.tag.is_private or self.tag.group == 0x0010:
            return "does not match"
        if not set(dictionary_VR(self.tag).split(" or ")) <= _SHOWN_VRS:
            return "does not match"
        return "is " + "\\".join(map(str, values))


def plane_of(header: Dataset) -> str | None:
    """The plane nearest to an image: `Axial`, `Coronal` or `Sagittal`; None without cosines.

    From the main axis of the normal of ImageOrientationPatient (PS3.3 C.7.6.2.1.1).
    """
    cosines = numbers_of(header, "ImageOrientationPatient", 6)
    if cosines is None:
        return None
    normal = np.abs(np.cross(cosines[:3], cosines[3:]))
    return PLANES[int(normal.argmax())] if normal.max() > 0 else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _spellings(value: Any) -> set[str]:
    """A value as text; a number also in its shortest form, whatever digits the file has."""
    spellings = {str(value).strip()}
    if isinstance(value, int | float):
        spellings |= {f"{float(value):.10g}", str(float(value))}
    return spellings
