from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.node.completion import CompletionSettings, Decision, StudyFacts, decide
from app.node.contiguity import Contiguity

SETTINGS = CompletionSettings()  # 5, 60, 300 and 3600 s
WHOLE = Contiguity(SeriesInstanceUID="1.2", slices=120, missing=0, step_mm=2.5, widest_mm=2.5)
HOLED = replace(WHOLE, missing=7, widest_mm=20.0)
FEW = replace(WHOLE, slices=15)
#: The first instance came at 1000 s, the last at 1030 s, and then the association was closed.
FACTS = StudyFacts(
    instances={"1.2": 118, "1.3": 2},
    new_instances=120,
    first_new_at=1000.0,
    last_arrival_at=1030.0,
    closed_at=1031.0,
)


def waits_until(facts: StudyFacts) -> float:
    decision = decide(facts, SETTINGS, 1031.0)
    assert not decision.complete
    assert decision.look_again_at is not None
    assert not decide(facts, SETTINGS, decision.look_again_at - 0.01).complete
    assert decide(facts, SETTINGS, decision.look_again_at).complete
    return decision.look_again_at


@pytest.mark.parametrize(
    ("known", "until"),
    [
        ({}, 1091.0),
        ({"closed_at": None}, 1090.0),
        ({"slices": WHOLE}, 1036.0),
        ({"slices": FEW}, 1091.0),
        ({"slices": HOLED}, 1331.0),
        ({"slices": WHOLE, "closed_at": None}, 1090.0),
        ({"slices": WHOLE, "closed_at": 1010.0}, 1090.0),
        ({"slices": WHOLE, "broken": True}, 1331.0),
        ({"broken": True}, 1331.0),
        ({"stated_instances": 120}, 1036.0),
        ({"stated_instances": 119}, 1036.0),
        ({"stated_instances": 121}, 1331.0),
        ({"stated_instances": 120, "slices": HOLED, "broken": True}, 1036.0),
        ({"stated_instances": 120, "stated_series": 3}, 1331.0),
        ({"stated_series": 2}, 1091.0),
        ({"stated_by_series": {"1.2": 118, "1.3": 2}}, 1036.0),
        ({"stated_by_series": {"1.2": 118}}, 1091.0),
        ({"stated_by_series": {"1.2": 119}}, 1331.0),
        ({"stated_by_series": {"1.4": 1}}, 1331.0),
        ({"open_associations": 1}, 4600.0),
        ({"open_associations": 2, "stated_instances": 120}, 4600.0),
        ({"last_arrival_at": 4500.0, "closed_at": 4501.0, "broken": True}, 4600.0),
    ],
)
def test_what_is_known_decides_how_long_the_wait_is(known: dict[str, object], until: float) -> None:
    assert waits_until(replace(FACTS, **known)) == until  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "now", "reason"),
    [
        (
            {"slices": WHOLE},
            1040.0,
            "complete, 120 instances in 2 series: the association was closed 9.0 s ago, 5 s "
            "suffice: 120 slices every 2.50 mm have no gap",
        ),
        (
            {"stated_instances": 130, "closed_at": None},
            1031.0,
            "waiting, 120 instances in 2 series: the last instance came, 300 s are to pass: 120 of "
            "130 stated instances are there",
        ),
        (
            {"slices": HOLED, "broken": True},
            1031.0,
            "waiting, 120 instances in 2 series: the association broke, 300 s are to pass: 7 slices"
            " are missing among 120 every 2.50 mm, the widest gap is 20.00 mm; the association "
            "broke",
        ),
        (
            {"open_associations": 1},
            1031.0,
            "waiting, 120 instances in 2 series: 1 association is still open",
        ),
        (
            {"open_associations": 2, "stated_series": 4},
            4600.0,
            "complete, 120 instances in 2 series: the longest wait of 3600 s since the first new "
            "instance is over, in spite of: 2 open associations; 2 of 4 stated series are there",
        ),
        (
            {"forced_at": 1030.5, "version": 1, "new_instances": 1},
            1031.0,
            "complete, 120 instances in 2 series, 1 of them later than version 1: a person said so",
        ),
        (
            {"version": 3, "new_instances": 0},
            9999.0,
            "nothing new: version 3 holds all 120 instances in 2 series",
        ),
    ],
)
def test_every_decision_carries_its_reason_with_figures(
    known: dict[str, object], now: float, reason: str
) -> None:
    assert decide(replace(FACTS, **known), SETTINGS, now).reason == reason  # type: ignore[arg-type]


def test_a_person_completes_a_study_at_once_even_with_an_open_association() -> None:
    facts = replace(FACTS, forced_at=1030.5, open_associations=1)
    assert decide(facts, SETTINGS, 1030.5).complete


def test_what_comes_after_a_person_forced_a_version_is_waited_for_as_usual() -> None:
    late = replace(
        FACTS,
        version=1,
        new_instances=4,
        forced_at=1030.5,
        first_new_at=2000.0,
        last_arrival_at=2001.0,
        closed_at=2002.0,
    )
    decision = decide(late, SETTINGS, 2003.0)
    assert (decision.complete, decision.version, decision.look_again_at) == (False, 2, 2062.0)


def test_late_instances_lead_to_a_new_version_and_nothing_new_to_none() -> None:
    late = replace(FACTS, version=4, new_instances=1)
    assert decide(late, SETTINGS, 1091.0).version == 5
    same = decide(replace(late, new_instances=0, forced_at=1090.0), SETTINGS, 1091.0)
    assert same.version == 4
    assert not same.complete
    assert same.look_again_at is None


@pytest.mark.parametrize(
    "waits",
    [
        {"closed_s": 61.0},
        {"quiet_s": 301.0},
        {"incomplete_s": 3601.0},
        {"quiet_s": float("nan")},
        {"max_wait_s": float("inf")},
    ],
)
def test_waits_that_contradict_each_other_are_refused(waits: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CompletionSettings(**waits)


# --- what holds whatever the facts are

seconds = st.floats(0, 10_000)
counts = st.integers(0, 40)


@st.composite
def settings(draw: st.DrawFn) -> CompletionSettings:
    closed, quiet, incomplete, most = sorted(draw(st.floats(0, 5000)) for _ in range(4))
    return CompletionSettings(
        closed_s=closed, quiet_s=quiet, incomplete_s=incomplete, max_wait_s=most + 1
    )


@st.composite
def studies(draw: st.DrawFn) -> StudyFacts:
    series = draw(st.dictionaries(st.sampled_from("abc"), st.integers(1, 30), min_size=1))
    first = draw(seconds)
    last = first + draw(seconds)
    missing = draw(st.integers(0, 3))
    whole = Contiguity(
        SeriesInstanceUID="a", slices=draw(counts), missing=missing, step_mm=1.0, widest_mm=1.0
    )
    return StudyFacts(
        instances=series,
        new_instances=draw(st.integers(0, sum(series.values()))),
        first_new_at=first,
        last_arrival_at=last,
        open_associations=draw(st.integers(0, 2)),
        closed_at=draw(st.none() | st.floats(first, last + 100)),
        broken=draw(st.booleans()),
        stated_instances=draw(st.none() | counts),
        stated_series=draw(st.none() | st.integers(1, 4)),
        stated_by_series=draw(st.dictionaries(st.sampled_from("abcd"), counts)),
        slices=draw(st.none() | st.just(whole)),
        forced_at=draw(st.none() | seconds),
        version=draw(st.integers(0, 3)),
    )


@given(studies(), settings(), seconds, seconds)
def test_a_complete_study_stays_complete_as_time_passes(
    facts: StudyFacts, waits: CompletionSettings, now: float, later: float
) -> None:
    if decide(facts, waits, now).complete:
        assert decide(facts, waits, now + later).complete


@given(studies(), settings(), seconds)
def test_while_an_association_is_open_only_a_person_or_the_longest_wait_ends_it(
    facts: StudyFacts, waits: CompletionSettings, now: float
) -> None:
    facts = replace(facts, open_associations=1, forced_at=None)
    if now < facts.first_new_at + waits.max_wait_s:
        assert not decide(facts, waits, now).complete


@given(studies(), settings(), seconds)
def test_every_study_with_new_instances_is_complete_in_the_end(
    facts: StudyFacts, waits: CompletionSettings, now: float
) -> None:
    facts = replace(facts, new_instances=max(1, facts.new_instances))
    assert decide(facts, waits, facts.first_new_at + waits.max_wait_s).complete
    decision = decide(facts, waits, now)
    if decision.look_again_at is not None:  # no third look is needed, and none is too early
        assert decision.look_again_at > now
        assert decide(facts, waits, decision.look_again_at).complete


@given(studies(), settings(), seconds)
def test_the_version_grows_by_one_and_only_with_new_instances(
    facts: StudyFacts, waits: CompletionSettings, now: float
) -> None:
    decision: Decision = decide(facts, waits, now)
    assert decision.version == facts.version + (facts.new_instances > 0)
    assert not (decision.complete and decision.version == facts.version)
    assert decision.complete == decision.reason.startswith("complete, ")
