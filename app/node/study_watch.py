"""Watches the stored studies and hands in a job for each version that is complete."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from pydicom import Dataset, dcmread

from app.node.audit import AuditEvent, AuditTrail
from app.node.completion import CompletionSettings, Decision, StudyFacts, decide
from app.node.contiguity import KEYWORDS, contiguity, stated_counts
from app.node.instance_store import InstanceStore
from app.node.job_inputs import JobInput
from app.node.job_steps import JobRef
from app.node.stored import StoredInstance, StoredStudy
from operators.elements import DAMAGED_DICOM_ERRORS

log = logging.getLogger(__name__)

#: How often the studies are looked at.
LOOK_EVERY_S = 0.5
#: Kind of the audit event by which a person says that a study is complete.
FORCED = "forced"
#: Why a version is complete that the node found at its start.
_FOUND = "taken before the node ended"


class HandIn(Protocol):
    """Takes a version of a study for a job; the same version again is the same job."""

    def __call__(self, study: StoredStudy, found: JobInput, taken: int) -> JobRef:
        """Hand it in."""


class Counts(Protocol):
    """What senders say of the size of a study."""

    def __call__(self, study: StoredStudy) -> Sequence[Dataset]:
        """Answers to C-FIND, as far as they are there; asks for more where it makes sense."""


def no_counts(study: StoredStudy) -> Sequence[Dataset]:
    """Where no sender can be asked."""
    return ()


class StudyWatch:
    """Decides for each study whether it is complete.

    A study that is becomes a version in the store first, and a job after that; what is a version
    without a job, as after a sudden end, is handed in at the next look.

    Parameters
    ----------
    store
        The instances.
    settings
        How long to wait.
    hand_in
        Takes the versions.
    counts
        Asks the senders.
    clock
        Seconds since the epoch, that of the store.
    """

    def __init__(
        self,
        store: InstanceStore,
        settings: CompletionSettings,
        hand_in: HandIn,
        counts: Counts = no_counts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._settings = settings
        self._hand_in = hand_in
        self._counts = counts
        self._clock = clock
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="study-watch", daemon=True)
        self._headers: dict[str, tuple[float, list[Dataset]]] = {}
        self._told: dict[str, str] = {}
        #: Versions that are not known to have a job, with the reason they are complete for.
        self._open: dict[tuple[str, int], str] = dict.fromkeys(store.last_taken().items(), _FOUND)

    def start(self) -> None:
        """Watch, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Hand in nothing more."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look soon: an association has ended."""
        self._woken.set()

    @property
    def is_alive(self) -> bool:
        """Whether it is watching."""
        return self._thread.is_alive()

    def look(self) -> None:
        """Look once at every study of which something is in no version, or that has no job yet.

        What goes wrong with one study holds up no other, and is left to the next look.
        """
        for study_key in self._store.not_taken():
            with _left_to_the_next_look(study_key):
                self._look_at(study_key)
        for study_key, version in list(self._open):
            with _left_to_the_next_look(study_key):
                self._hand_in_version(study_key, version)

    def _look_at(self, study_key: str) -> None:
        study = self._store.study(study_key)
        if study is None:
            return
        decision = decide(self.facts(study), self._settings, self._clock())
        if decision.complete:
            self._take(study, decision)
        elif self._told.get(study_key) != decision.reason:
            self._told[study_key] = decision.reason
            log.info("study %s: %s", study.StudyInstanceUID, decision.reason)

    def facts(self, study: StoredStudy) -> StudyFacts:
        """What is known of a study."""
        instances = self._store.instances(study.study_key)
        new = [instance for instance in instances if not instance.taken]
        headers = self._headers_of(study, instances)
        stated = stated_counts([*headers, *self._counts(study)])
        received = self._events(study.study_key, "received")
        forced = self._events(study.study_key, FORCED)
        # of the new ones alone: a clock that was set back must not delay them
        last_arrival = max((i.arrived for i in new), default=study.last_arrival)
        # where nobody noted the end of the last association, it broke when the node died
        released = received[-1].details.get("released", True) if received else False
        cut_off = not received or received[-1].time < last_arrival
        return StudyFacts(
            instances=study.series,
            new_instances=len(new),
            first_new_at=min((i.arrived for i in new), default=study.first_arrival),
            last_arrival_at=last_arrival,
            open_associations=study.open_associations,
            closed_at=received[-1].time if received else None,
            broken=not study.open_associations and (cut_off or not released),
            stated_instances=stated.stated_instances,
            stated_series=stated.stated_series,
            stated_by_series=stated.stated_by_series,
            slices=contiguity(headers),
            forced_at=forced[-1].time if forced else None,
            version=max((instance.taken for instance in instances), default=0),
        )

    def _take(self, study: StoredStudy, decision: Decision) -> None:
        version, instances = self._store.take(study.study_key)
        self._open[study.study_key, version] = decision.reason
        self._headers.pop(study.study_key, None)
        self._told.pop(study.study_key, None)
        self._note(study, version, decision.reason, instances)

    def _note(
        self, study: StoredStudy, version: int, reason: str, instances: Sequence[StoredInstance]
    ) -> None:
        """Tell the audit trail; who sent what, too, as a sudden end leaves no `received`."""
        senders = Counter(f"{i.origin.calling_ae} {i.origin.address}" for i in instances)
        self._store.audit.append(
            "complete",
            study.study_key,
            version=version,
            reason=reason,
            instances=len(instances),
            senders=senders,
            StudyInstanceUID=study.StudyInstanceUID,
        )

    def _is_noted(self, study: StoredStudy, version: int) -> bool:
        return any(
            event.details["version"] == version and event.time >= study.first_arrival
            for event in self._events(study.study_key, "complete")
        )

    def _hand_in_version(self, study_key: str, version: int) -> None:
        study = self._store.study(study_key)
        if study is not None:  # else it was removed
            instances = self._store.taken(study_key, version)
            found = JobInput(
                StudyInstanceUID=study.StudyInstanceUID,
                callers=tuple(dict.fromkeys(i.origin.calling_ae for i in instances)),
                files={i.SOPInstanceUID: i.path for i in instances},
            )
            reason = self._open[study_key, version]
            if reason == _FOUND and not self._is_noted(study, version):
                self._note(study, version, reason, instances)
            job = self._hand_in(study, found, version)
            log.info("study %s: job %s: %s", study.StudyInstanceUID, job.job_id, reason)
        del self._open[study_key, version]

    def _headers_of(self, study: StoredStudy, instances: list[StoredInstance]) -> list[Dataset]:
        """Headers with what completion asks for; read again only when something has arrived."""
        known = self._headers.get(study.study_key)
        if known is not None and known[0] == study.last_arrival:
            return known[1]
        if study.open_associations:  # more is coming: the answer would not last
            return []
        headers: list[Dataset] = []
        for instance in instances:
            try:
                headers.append(dcmread(instance.path, specific_tags=list(KEYWORDS)))
            except (OSError, *DAMAGED_DICOM_ERRORS):  # acknowledged bytes need not be sound
                log.info("instance %s has no readable header", instance.SOPInstanceUID)
        self._headers[study.study_key] = study.last_arrival, headers
        return headers

    def _events(self, study_key: str, kind: str) -> list[AuditEvent]:
        return self._store.audit.read(study_key, kind)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(LOOK_EVERY_S)
            self._woken.clear()
            if self._stopping.is_set():
                break
            try:
                self.look()
            except Exception:  # the list of studies cannot be had: the next look may find it
                log.exception("the studies could not be looked at")


@contextmanager
def _left_to_the_next_look(study_key: str) -> Iterator[None]:
    try:
        yield
    except Exception:  # such as a database that is away
        log.exception("study %s could not be looked at", study_key)


def force(audit: AuditTrail, study_key: str) -> None:
    """Note that a person calls a study complete; the watch of the running node acts on it."""
    audit.append(FORCED, study_key)
