"""What the rules prefer among the candidates that fit: see `prefer:` in `operators.rules`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.tag import BaseTag, Tag

from operators.clauses import MEASURES, Clause, Term, measure_text, measured
from operators.conditions import NUMBER_VRS, is_shown, number_of
from operators.elements import values_of
from operators.errors import RulesError
from operators.moments import MOMENT_DIGITS, moment
from operators.ranking import Contest, Criterion, lacking_mm
from operators.rules_sdk import LARGEST_NUMBER, found_text, tag_of
from operators.rules_where import CLAUSES, NUMBER, clause_of
from operators.traits import Traits

_ORDER = re.compile(rf"(most|least|latest|earliest)|nearest\s+({NUMBER})")


@dataclass(frozen=True)
class Order:
    """What makes a number better than another.

    Parameters
    ----------
    text
        As the rules have it.
    target
        The number to be near to; None where the most or the least is wanted.
    """

    text: str
    target: float | None = None

    @property
    def is_upward(self) -> bool:
        """Whether more, or later, is better."""
        return self.text in ("most", "latest")

    def key(self, numbers: tuple[float, ...]) -> tuple[int, float]:
        """Smaller is better; of several numbers the decisive one counts, no number comes last."""
        if not numbers:
            return (1, 0.0)
        if self.target is not None:
            return (0, max(round(abs(n - self.target), 6) for n in numbers))
        return (0, -max(numbers) if self.is_upward else min(numbers))


def preferences_of(value: Any, place: str) -> tuple[Criterion, ...]:
    """Read `prefer:`.

    Parameters
    ----------
    value
        A list of mappings with one key each.
    place
        Where it stands, for errors.

    Raises
    ------
    RulesError
        If it cannot be understood; names the place.
    """
    if not isinstance(value, list):
        raise RulesError(f"{place}: expected a list, found {found_text(value)}")
    return tuple(_preference(item, f"{place}[{n}]") for n, item in enumerate(value))


def _preference(item: Any, place: str) -> Criterion:
    if not isinstance(item, Mapping) or len(item) != 1:
        raise RulesError(
            f"{place}: expected one criterion such as {{slices: most}}, found {found_text(item)}"
        )
    ((key, value),) = item.items()
    name = f"preference ({key}: {value if isinstance(value, str) else found_text(value)})"
    if key in MEASURES:
        order = _order(value)
        if order is not None:
            return _by_measure(name, key, order)
    elif isinstance(key, str) and key not in CLAUSES:
        tag = tag_of(key, f"{place}.{key}", CLAUSES)
        order = _order(value) if _vrs(tag) <= NUMBER_VRS | set(MOMENT_DIGITS) else None
        if order is not None:
            return _by_attribute(name, f"{place}.{key}", tag, order)
    return _by_clause(name, clause_of(item, place))


def _order(value: Any) -> Order | None:
    found = _ORDER.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    if found[1]:
        return Order(found[1])
    target = float(found[2])
    return Order(value, target) if abs(target) < LARGEST_NUMBER else None


def _vrs(tag: BaseTag) -> set[str]:
    return set(dictionary_VR(tag).split(" or ")) if dictionary_has_tag(tag) else {"?"}


def _by_measure(name: str, measure: str, order: Order) -> Criterion:
    def key(traits: Traits, contest: Contest) -> Any:
        if measure == "coverage_mm" and order.text == "most":
            return lacking_mm(traits, contest)  # a slice more would hide all that comes after
        return order.key(measured(traits, measure))

    return Criterion(name, key, lambda traits, _: measure_text(traits, measure))


def _by_attribute(name: str, place: str, tag: BaseTag, order: Order) -> Criterion:
    (vr, *_) = sorted(_vrs(tag))
    if vr in MOMENT_DIGITS and order.target is not None:
        raise RulesError(f"{place}: expected earliest or latest, found {found_text(order.text)}")
    if vr not in MOMENT_DIGITS and order.text in ("earliest", "latest"):
        raise RulesError(f"{place}: expected most, least or nearest 2, found a word of time")
    if tag == Tag("ImageOrientationPatient"):
        raise RulesError(f"{place}: expected a plane, found {found_text(order.text)}")

    def numbers(traits: Traits) -> tuple[float, ...]:
        found = {value for header in traits.headers for value in values_of(header, tag)}
        read = [moment(v, vr) if vr in MOMENT_DIGITS else number_of(v) for v in found]
        return tuple(n for n in read if n is not None)

    def words(traits: Traits, contest: Contest) -> str:
        found = sorted(set(numbers(traits)))
        if not found:
            return "absent"
        if not is_shown(tag):
            return "another value"
        return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"

    return Criterion(name, lambda traits, _: order.key(numbers(traits)), words)


def _by_clause(name: str, clause: Clause) -> Criterion:
    def key(traits: Traits, contest: Contest) -> bool:
        return bool((clause.verdicts(traits) < 1).any())

    def words(traits: Traits, contest: Contest) -> str:
        is_met = "not met" if key(traits, contest) else "met"
        if not isinstance(clause, Term):
            return is_met
        everywhere = np.ones(len(traits.candidate.frames), bool)
        if key(traits, contest):
            everywhere &= clause.verdicts(traits) < 1
        return f"{is_met} ({clause.test.found(traits, everywhere)})"

    return Criterion(name, key, words)
