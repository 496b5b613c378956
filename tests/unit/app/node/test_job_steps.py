from __future__ import annotations

import pytest

from app.node.job_steps import BackOff, FileState, JobRef, Verdict, verdict_of, verdict_of_files
from app.outcomes import OUTCOMES


def test_the_delay_grows_to_its_longest_and_ends() -> None:
    policy = BackOff(attempts=6, first_delay_s=2, factor=3, longest_delay_s=30, jitter=0)
    assert [policy.delay_s(n, "job") for n in range(1, 7)] == [2, 6, 18, 30, 30, None]


def test_the_jitter_follows_from_the_key_and_stays_within_its_share() -> None:
    policy = BackOff(attempts=10**6, first_delay_s=100, factor=1, jitter=0.25)
    delays = [policy.delay_s(1, f"job {n}") or 0 for n in range(200)]
    assert delays == [policy.delay_s(1, f"job {n}") for n in range(200)]
    assert 75 <= min(delays) < 80
    assert 120 < max(delays) <= 125


def test_a_delay_beyond_all_numbers_is_the_longest() -> None:
    policy = BackOff(attempts=10**6, factor=10, longest_delay_s=60, jitter=0)
    assert policy.delay_s(10**5, "job") == 60


def test_every_outcome_that_bad_input_leads_to_is_final() -> None:
    statuses = {outcome.status for outcome in OUTCOMES.values()}
    rejected = {status for status in statuses if verdict_of(status) is Verdict.REJECT}
    assert rejected == {
        "unreadable_input",
        "nothing_selected",
        "not_a_volume",
        "undecodable_pixels",
        "not_this_anatomy",
        "no_organ_found",
        "input_gone",
    }
    assert verdict_of("something new") is Verdict.RETRY


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ({"a": "delivered", "b": "delivered"}, Verdict.DONE),
        ({"a": "delivered"}, Verdict.RETRY),
        ({"a": "delivered", "b": "stored"}, Verdict.RETRY),
        ({"a": "refused", "b": "failed"}, Verdict.RETRY),
        ({"a": "delivered", "b": "refused"}, Verdict.FAIL),
    ],
)
def test_all_files_decide_about_a_delivery(states: dict[str, FileState], verdict: Verdict) -> None:
    assert verdict_of_files(["a", "b"], states) is verdict


@pytest.mark.parametrize("key", ["", "../../etc", "0123456/", "ABCDEF0123", "0" * 65])
def test_a_key_that_could_leave_its_folder_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="8 to 64 hex digits"):
        JobRef(key, 1, "abdomen")


def test_the_id_of_a_job_follows_from_study_and_version() -> None:
    assert JobRef("0123456789abcdef", 2, "abdomen").job_id == "0123456789abcdef-2"
