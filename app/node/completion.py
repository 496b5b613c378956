"""When a study is complete: a pure decision from what is known of it.

DICOM has no message that says "that was all". What is known instead decides how long after the
last instance, or after the end of the last association where that is later, the wait ends:

| known of the study | the wait |
|---|---|
| a person forces it | none, even while an association is open |
| an association is open | until `max_wait_s` |
| a stated number is missing, the slices have a gap, or the association broke | `incomplete_s` |
| it was closed, and stated numbers are reached or the slices have no gap | `closed_s` |
| nothing of this | `quiet_s` |

`max_wait_s` from the first new instance ends every wait. Each decision is about a version: all
instances there are. Instances that come after version n reopen the study; the decision is then
about version n + 1, which holds the old ones too and replaces what came of version n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.node.contiguity import Contiguity

#: Fewer slices without a gap may be the beginning of more: some senders pause between images.
FEWEST_SLICES = 16


class CompletionSettings(BaseModel):
    """How long to wait for more of a study.

    Parameters
    ----------
    closed_s
        Where the association was closed and all that is known to belong together is there.
    quiet_s
        Where nothing is known but that no more has come.
    incomplete_s
        Where something suggests that more will come.
    max_wait_s
        From the first instance that no version holds, whatever is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    closed_s: float = Field(default=5.0, ge=0, le=86_400)
    quiet_s: float = Field(default=60.0, ge=0, le=86_400)
    incomplete_s: float = Field(default=300.0, ge=0, le=86_400)
    max_wait_s: float = Field(default=3600.0, gt=0, le=604_800)

    @model_validator(mode="after")
    def _check_order(self) -> CompletionSettings:
        if not self.closed_s <= self.quiet_s <= self.incomplete_s <= self.max_wait_s:
            raise ValueError(
                "expected closed_s <= quiet_s <= incomplete_s <= max_wait_s, found "
                f"{self.closed_s:g}, {self.quiet_s:g}, {self.incomplete_s:g}, {self.max_wait_s:g}"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What is known of a study; times are seconds of one clock that outlives restarts.

    Parameters
    ----------
    instances
        Number of different instances stored, by SeriesInstanceUID.
    new_instances
        How many of them the last version does not hold.
    first_new_at, last_arrival_at
        When the first of the new ones was stored, and the last.
    open_associations
        Associations that have brought instances of the study and are still open.
    closed_at
        When the last of them ended; None where none has, or nobody knows.
    broken
        Whether that one ended by an abort or a lost connection rather than a release.
    stated_instances
        How many instances the study has, by NumberOfStudyRelatedInstances (0020,1208) of headers
        or an answer to C-FIND (PS3.4 C.3.4).
    stated_series
        How many series it has, by NumberOfStudyRelatedSeries (0020,1206).
    stated_by_series
        How many instances a series has, by NumberOfSeriesRelatedInstances (0020,1209).
    slices
        Positions of the likely CT series; None where they are not known.
    forced_at
        When a person last said that the study is complete; covers instances up to that moment
        and those that came with them.
    version
        The last version that was called complete, 0 for none.
    """

    instances: Mapping[str, int]
    new_instances: int
    first_new_at: float
    last_arrival_at: float
    open_associations: int = 0
    closed_at: float | None = None
    broken: bool = False
    stated_instances: int | None = None
    stated_series: int | None = None
    stated_by_series: Mapping[str, int] = field(default_factory=dict)
    slices: Contiguity | None = None
    forced_at: float | None = None
    version: int = 0

    @property
    def total(self) -> int:
        """Number of instances in all series."""
        return sum(self.instances.values())

    @property
    def held(self) -> str:
        """How much there is, in words."""
        return f"{_counted(self.total, 'instance')} in {len(self.instances)} series"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do about a study.

    Parameters
    ----------
    complete
        Whether to work on `version` now.
    version
        The one that the decision is about: a new one, or the last where nothing is new.
    reason
        In words, with figures; no patient data.
    look_again_at
        When the answer changes if nothing comes before; None where only new facts change it.
    """

    complete: bool
    version: int
    reason: str
    look_again_at: float | None


def decide(facts: StudyFacts, settings: CompletionSettings, now: float) -> Decision:
    """Decide whether a study is complete.

    For the same facts a later `now` never turns a complete study into an incomplete one.

    Parameters
    ----------
    facts
        What is known.
    settings
        How long to wait.
    now
        Seconds of the clock of the facts.
    """
    if facts.new_instances < 1:
        known = f"version {facts.version} holds all {facts.held}" if facts.version else facts.held
        return Decision(
            complete=False,
            version=facts.version,
            reason=f"nothing new: {known}",
            look_again_at=None,
        )
    if facts.forced_at is not None and facts.forced_at >= facts.first_new_at:
        return _complete(facts, "a person said so")
    latest = facts.first_new_at + settings.max_wait_s
    if now >= latest:
        return _complete(
            facts,
            f"the longest wait of {settings.max_wait_s:g} s since the first new instance is over"
            f"{_still_lacking(facts)}",
        )
    if facts.open_associations:
        sending = _counted(facts.open_associations, "association")
        verb = "is" if facts.open_associations == 1 else "are"
        return _wait(facts, f"{sending} {verb} still open", latest)
    wait_s, because = _patience(facts, settings)
    ended, since = _last_sign(facts)
    due = min(since + wait_s, latest)
    if now >= due:
        return _complete(facts, f"{ended} {now - since:.1f} s ago, {wait_s:g} s suffice: {because}")
    return _wait(facts, f"{ended}, {wait_s:g} s are to pass: {because}", due)


def _complete(facts: StudyFacts, why: str) -> Decision:
    return Decision(
        complete=True,
        version=facts.version + 1,
        reason=f"complete, {_told(facts)}: {why}",
        look_again_at=None,
    )


def _wait(facts: StudyFacts, why: str, until: float) -> Decision:
    return Decision(
        complete=False,
        version=facts.version + 1,
        reason=f"waiting, {_told(facts)}: {why}",
        look_again_at=until,
    )


def _told(facts: StudyFacts) -> str:
    if not facts.version:
        return facts.held
    return f"{facts.held}, {facts.new_instances} of them later than version {facts.version}"


def _last_sign(facts: StudyFacts) -> tuple[str, float]:
    """The last that was heard of the sender, and when."""
    if facts.closed_at is None or facts.closed_at < facts.last_arrival_at:
        return "the last instance came", facts.last_arrival_at
    return f"the association {'broke' if facts.broken else 'was closed'}", facts.closed_at


def _patience(facts: StudyFacts, settings: CompletionSettings) -> tuple[float, str]:
    """How long to wait, and why."""
    lacking = list(_lacking(facts))
    if lacking:
        return settings.incomplete_s, "; ".join(lacking)
    known = _known_to_be_there(facts)
    if known and facts.closed_at is not None and facts.closed_at >= facts.last_arrival_at:
        return settings.closed_s, known
    return settings.quiet_s, known or "nothing says how much belongs to the study"


def _lacking(facts: StudyFacts) -> Iterator[str]:
    """What suggests that more will come."""
    if facts.stated_instances is not None and facts.total < facts.stated_instances:
        yield f"{facts.total} of {facts.stated_instances} stated instances are there"
    if facts.stated_series is not None and len(facts.instances) < facts.stated_series:
        yield f"{len(facts.instances)} of {facts.stated_series} stated series are there"
    for uid, stated in sorted(facts.stated_by_series.items()):
        if facts.instances.get(uid, 0) < stated:
            yield f"{facts.instances.get(uid, 0)} of {stated} stated instances of {uid} are there"
    is_counted = _reached_counts(facts) != ""
    if facts.slices is not None and facts.slices.missing and not is_counted:
        yield facts.slices.told
    if facts.broken and not is_counted:
        yield "the association broke"


def _known_to_be_there(facts: StudyFacts) -> str:
    """What says that nothing lacks, or nothing."""
    counted = _reached_counts(facts)
    if counted:
        return counted
    slices = facts.slices
    if slices is None or slices.missing or slices.slices < FEWEST_SLICES:
        return ""
    return slices.told


def _reached_counts(facts: StudyFacts) -> str:
    """The stated numbers that are reached; nothing unless they cover every series."""
    stated = facts.stated_instances
    if stated is not None and facts.total >= stated:
        return f"all {stated} stated instances are there"
    if facts.instances and all(
        facts.stated_by_series.get(uid, count + 1) <= count
        for uid, count in facts.instances.items()
    ):
        return f"all stated instances of {len(facts.instances)} series are there"
    return ""


def _still_lacking(facts: StudyFacts) -> str:
    still_open = facts.open_associations
    told = [_counted(still_open, "open association")] if still_open else []
    told += _lacking(facts)
    return f", in spite of: {'; '.join(told)}" if told else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
