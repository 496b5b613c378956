"""Clauses of the selection rules: tests of a candidate, joined by `all`, `any` and `not`.

A clause is asked of every image, and a candidate meets it where every image does. So
`not: {ImageType: LOCALIZER}` means that no image is a localizer. A test that cannot be answered is
neither met nor not met (three-valued logic after Kleene: `not` unknown is unknown, `any` is met by
one part that is met, `all` fails by one that fails). Only what is met counts.

`not` is moved down to the tests when rules are read (De Morgan), so here it is a flag of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
from pydicom import Dataset

from operators.conditions import Check, Images, Verdicts
from operators.contrast import ENHANCED, NON_CONTRAST
from operators.planes import angles_of
from operators.traits import Traits

#: Digits of mm that measures are compared with, so that `= 5` means what a table shows as 5.00.
MEASURE_DIGITS = 2

#: Measures of a candidate that can be compared with numbers, and their unit.
MEASURES = {
    "slices": "",
    "coverage_mm": "mm",
    "slice_distance_mm": "mm",
    "pixel_spacing_mm": "mm",
}


class Test(Protocol):
    """One thing that is asked of a candidate."""

    def verdicts(self, traits: Traits) -> Verdicts:
        """For each image, or one for all."""
        ...

    def found(self, traits: Traits, at: Images) -> str:
        """What is there instead, in some images."""
        ...

    def wanted(self, negated: bool) -> str:
        """What the rules ask for."""
        ...


class Clause(Protocol):
    """A test, or several of them joined."""

    def verdicts(self, traits: Traits) -> Verdicts:
        """For each image, or one for all: 1 met, 0 not known, -1 not met."""
        ...

    def problem(self, traits: Traits, at: Images) -> str:
        """Why some images do not meet the clause; all of `at` do not."""
        ...


@dataclass(frozen=True)
class Term:
    """A test, or what it must not find."""

    test: Test
    negated: bool = False

    def verdicts(self, traits: Traits) -> Verdicts:
        found = self.test.verdicts(traits)
        return -found if self.negated else found

    def problem(self, traits: Traits, at: Images) -> str:
        wanted = self.test.wanted(self.negated)
        return f"{self.test.found(traits, at)}, the rules ask for {wanted}"


@dataclass(frozen=True)
class AllOf:
    """All parts."""

    parts: tuple[Clause, ...]

    def verdicts(self, traits: Traits) -> Verdicts:
        return reduce(np.minimum, [part.verdicts(traits) for part in self.parts])

    def problem(self, traits: Traits, at: Images) -> str:
        for part in self.parts:
            unmet = at & (part.verdicts(traits) < 1)
            if unmet.any():
                return part.problem(traits, unmet)
        raise ValueError("expected a clause that some of the images do not meet")


@dataclass(frozen=True)
class AnyOf:
    """At least one part, which may be another one in another image."""

    parts: tuple[Clause, ...]

    def verdicts(self, traits: Traits) -> Verdicts:
        return reduce(np.maximum, [part.verdicts(traits) for part in self.parts])

    def problem(self, traits: Traits, at: Images) -> str:
        return f"none of ({'; '.join(part.problem(traits, at) for part in self.parts)})"


@dataclass(frozen=True)
class Measure:
    """A measure of the candidate, compared with numbers."""

    name: str
    check: Check
    asked: Any

    def verdicts(self, traits: Traits) -> Verdicts:
        return _one(self.check.verdict(measured(traits, self.name)))

    def found(self, traits: Traits, at: Images) -> str:
        return f"{self.name} is {measure_text(traits, self.name)}"

    def wanted(self, negated: bool) -> str:
        return _text(self.asked, negated)


@dataclass(frozen=True)
class Kernel:
    """Of what kind the reconstruction kernel is."""

    names: tuple[str, ...]

    def verdicts(self, traits: Traits) -> Verdicts:
        return _one(None if traits.kernel is None else traits.kernel in self.names)

    def found(self, traits: Traits, at: Images) -> str:
        return f"kernel is {traits.kernel or 'unknown'}"

    def wanted(self, negated: bool) -> str:
        return _text(" or ".join(self.names), negated)


@dataclass(frozen=True)
class Contrast:
    """In which contrast phase the images were taken; `enhanced` stands for any with agent."""

    phases: tuple[str, ...]

    def verdicts(self, traits: Traits) -> Verdicts:
        return _one(self._verdict(traits.contrast))

    def _verdict(self, phase: str | None) -> bool | None:
        if phase in self.phases:
            return True
        if phase is None:
            return None
        if phase == NON_CONTRAST:
            return False
        if ENHANCED in self.phases:
            return True
        # some phase, and it may be one of those asked for
        return None if phase == ENHANCED and set(self.phases) != {NON_CONTRAST} else False

    def found(self, traits: Traits, at: Images) -> str:
        return f"contrast is {traits.contrast or 'unknown'}"

    def wanted(self, negated: bool) -> str:
        return _text(" or ".join(self.phases), negated)


@dataclass(frozen=True)
class Regular:
    """Whether the images are a regular grid as they are."""

    expected: bool

    def verdicts(self, traits: Traits) -> Verdicts:
        return _one(traits.regular is self.expected)

    def found(self, traits: Traits, at: Images) -> str:
        if traits.fault is not None:
            return f"no volume: {traits.fault}"
        return "; ".join(traits.repairs) or "the volume is regular"

    def wanted(self, negated: bool) -> str:
        return "a regular volume" if self.expected is not negated else "an irregular volume"


@dataclass(frozen=True)
class InPlane:
    """In which planes the images lie.

    Parameters
    ----------
    limits
        Plane and the most degrees that an image may lean; None where being the nearest suffices.
    """

    limits: Mapping[str, float | None]

    def verdicts(self, traits: Traits) -> Verdicts:
        known: dict[tuple[float, ...], bool] = {}
        found = []
        for angles in map(angles_of, traits.headers):
            if angles is None:
                found.append(0)
                continue
            key = tuple(angles.values())
            if key not in known:
                known[key] = self._meets(angles)
            found.append(1 if known[key] else -1)
        return np.array(found, np.int8)

    def _meets(self, angles: dict[str, float]) -> bool:
        return any(
            angles[name] == min(angles.values())
            if degrees is None
            else round(angles[name], 3) <= degrees
            for name, degrees in self.limits.items()
        )

    def found(self, traits: Traits, at: Images) -> str:
        asked = [header for header, wanted in zip(traits.headers, at, strict=True) if wanted]
        where = "" if at.all() else f" in {len(asked)} of {len(at)} images"
        return f"plane is {min(map(self._shown, asked))}{where}"

    def _shown(self, header: Dataset) -> str:
        angles = angles_of(header)
        if angles is None:
            return "unknown"
        name = min(angles, key=lambda plane: angles[plane])
        exact = any(degrees is not None for degrees in self.limits.values())
        return f"{angles[name]:.1f} degrees off {name.lower()}" if exact else name.lower()

    def wanted(self, negated: bool) -> str:
        limits = [
            plane.lower() + ("" if degrees is None else f" within {degrees:g} degrees")
            for plane, degrees in self.limits.items()
        ]
        return _text(" or ".join(limits), negated)


def unmet(clause: Clause, traits: Traits) -> str | None:
    """Why a candidate does not meet a clause; None where it does."""
    at = np.broadcast_to(clause.verdicts(traits) < 1, len(traits.candidate.frames))
    return clause.problem(traits, at) if at.any() else None


def measured(traits: Traits, name: str) -> tuple[float, ...]:
    """A measure as it is compared; nothing where it is not known."""
    value = getattr(traits, name)
    if value is None:
        return ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(round(v, MEASURE_DIGITS) for v in values)


def measure_text(traits: Traits, name: str) -> str:
    """A measure for messages."""
    if not MEASURES[name]:
        return "\\".join(map(str, measured(traits, name))) or "unknown"
    texts = [f"{v:.{MEASURE_DIGITS}f}" for v in measured(traits, name)]
    return f"{chr(92).join(texts)} {MEASURES[name]}" if texts else "unknown"


def _one(verdict: bool | None) -> Verdicts:
    return np.array([0 if verdict is None else 1 if verdict else -1], np.int8)


def _text(asked: Any, negated: bool) -> str:
    text = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
    return f"not {text}" if negated else text
