from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.node.completion import CompletionSettings
from app.node.instance_store import InstanceStore
from app.node.job_inputs import JobInput
from app.node.job_steps import JobRef
from app.node.store_disk import StoreSettings
from app.node.stored import Origin, StoredStudy, study_key
from app.node.study_watch import StudyWatch, force

KEY = study_key("VISCERA", "1.2.3")
WAITS = CompletionSettings(closed_s=5, quiet_s=60, incomplete_s=300, max_wait_s=3600)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Notes what is handed in, and fails as often as it is told."""

    def __init__(self) -> None:
        self.jobs: list[tuple[int, int]] = []
        self.failures = 0

    def __call__(self, study: StoredStudy, found: JobInput, taken: int) -> JobRef:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")
        self.jobs.append((taken, len(found.files)))
        return JobRef(study.study_key, taken, study.workflow)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[Callable[[], InstanceStore]]:
    opened: list[InstanceStore] = []

    def again() -> InstanceStore:
        for store in opened:
            store.close()
        opened[:] = [
            InstanceStore(tmp_path, StoreSettings(min_free_bytes=0, reserved_bytes=0), clock)
        ]
        return opened[0]

    yield again
    opened[0].close()


def receive(
    store: InstanceStore, *numbers: int, caller: str = "CT1", text: str = "", closed: bool = True
) -> None:
    """Slices every 2 mm, in an association of their own; it is closed, or the node dies."""
    store.open_association(1)
    for number in numbers:
        header = Dataset()
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = f"1.2.3.1.{number}"
        header.StudyInstanceUID = "1.2.3"
        header.SeriesInstanceUID = "1.2.3.1"
        header.PatientComments = text
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [0, 0, 2 * number]
        buffer = DicomFileLike(io.BytesIO())
        buffer.is_implicit_VR, buffer.is_little_endian = False, True
        write_dataset(buffer, header)
        store.receive(
            buffer.parent.getvalue(),
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=header.SOPInstanceUID,
            TransferSyntaxUID=ExplicitVRLittleEndian,
            origin=Origin("VISCERA", caller, "10.0.0.7"),
            association=1,
        )
    if closed:
        store.close_association(1)
        store.audit.append("received", KEY, released=True)


Open = Callable[[], InstanceStore]


def test_a_contiguous_series_is_handed_in_soon_after_its_association(
    open_store: Open, clock: Clock
) -> None:
    store, desk = open_store(), Desk()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    receive(store, *range(20))
    clock.now += 4
    watch.look()
    assert desk.jobs == []
    clock.now += 2
    watch.look()
    watch.look()
    assert desk.jobs == [(1, 20)]
    (event,) = store.audit.read(KEY, "complete")
    assert (event.details["version"], event.details["instances"]) == (1, 20)
    assert "no gap" in event.details["reason"]


def test_what_arrives_late_makes_a_version_of_all_that_is_there(
    open_store: Open, clock: Clock
) -> None:
    store, desk = open_store(), Desk()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    receive(store, *range(20))
    clock.now += 6
    watch.look()
    receive(store, 20, 21)
    clock.now += 6
    watch.look()
    assert desk.jobs == [(1, 20), (2, 22)]


def test_an_instance_that_is_replaced_by_other_bytes_reopens_its_study(
    open_store: Open, clock: Clock
) -> None:
    store, desk = open_store(), Desk()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    receive(store, *range(20))
    clock.now += 6
    watch.look()
    receive(store, 7, text="corrected")
    clock.now += 6
    watch.look()
    assert desk.jobs == [(1, 20), (2, 20)]
    assert len(store.taken(KEY, 1)) == len(store.taken(KEY, 2)) == 20
    (old,) = [i.path for i in store.taken(KEY, 1) if i.SOPInstanceUID.endswith(".1.7")]
    (new,) = [i.path for i in store.taken(KEY, 2) if i.SOPInstanceUID.endswith(".1.7")]
    assert old != new


def test_a_clock_that_goes_back_loses_nothing(open_store: Open, clock: Clock) -> None:
    store, desk = open_store(), Desk()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    receive(store, *range(20))
    clock.now += 6
    watch.look()
    clock.now -= 3600
    receive(store, 20)
    clock.now += 6
    watch.look()
    assert desk.jobs == [(1, 20), (2, 21)]


def test_while_the_database_is_away_a_version_waits(open_store: Open, clock: Clock) -> None:
    store, desk = open_store(), Desk()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    receive(store, *range(20))
    clock.now += 6
    desk.failures = 2
    for _ in range(2):
        watch.look()
        assert desk.jobs == []
    watch.look()
    assert desk.jobs == [(1, 20)]


def test_a_version_that_has_no_job_yet_is_handed_in_after_a_restart(
    open_store: Open, clock: Clock
) -> None:
    store, desk = open_store(), Desk()
    receive(store, *range(20))
    store.take(KEY)
    for _ in range(2):  # the second start finds it noted
        store = open_store()
        watch = StudyWatch(store, WAITS, desk, clock=clock)
        watch.look()
    assert desk.jobs == [(1, 20), (1, 20)]  # the same version is the same job
    (event,) = store.audit.read(KEY, "complete")
    assert event.details["reason"] == "taken before the node ended"
    assert (event.details["version"], event.details["instances"]) == (1, 20)
    assert event.details["senders"] == {"CT1 10.0.0.7": 20}


def test_the_audit_trail_says_who_sent_which_share_of_a_version(
    open_store: Open, clock: Clock
) -> None:
    store = open_store()
    watch = StudyWatch(store, WAITS, Desk(), clock=clock)
    receive(store, *range(12), caller="CT1")
    receive(store, *range(12, 20), caller="CT2")
    clock.now += 6
    watch.look()
    watch.look()
    (event,) = store.audit.read(KEY, "complete")
    assert event.details["senders"] == {"CT1 10.0.0.7": 12, "CT2 10.0.0.7": 8}


def test_a_person_can_end_the_wait(open_store: Open, clock: Clock) -> None:
    store, desk = open_store(), Desk()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    receive(store, 1, 9)
    clock.now += 1
    watch.look()
    assert desk.jobs == []
    force(store.audit, KEY)
    watch.look()
    assert desk.jobs == [(1, 2)]


def test_what_the_sender_states_is_waited_for(open_store: Open, clock: Clock) -> None:
    store, desk = open_store(), Desk()
    stated = Dataset()
    stated.StudyInstanceUID = "1.2.3"
    stated.NumberOfStudyRelatedInstances = 30
    watch = StudyWatch(store, WAITS, desk, lambda study: [stated], clock=clock)
    receive(store, *range(20))
    clock.now += 100
    watch.look()
    assert desk.jobs == []
    receive(store, *range(20, 30))
    clock.now += 6
    watch.look()
    assert desk.jobs == [(1, 30)]
    (event,) = store.audit.read(KEY, "complete")
    assert "all 30 stated instances" in event.details["reason"]


def test_an_association_that_broke_with_the_node_is_waited_for_as_any_that_broke(
    open_store: Open, clock: Clock
) -> None:
    desk = Desk()
    receive(open_store(), *range(20), closed=False)
    store = open_store()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    clock.now += WAITS.quiet_s + 1
    watch.look()
    assert desk.jobs == []
    receive(store, *range(20, 40))  # the sender comes again, and ends in order
    clock.now += WAITS.closed_s + 1
    watch.look()
    assert desk.jobs == [(1, 40)]
    receive(store, 40, closed=False)
    store = open_store()
    watch = StudyWatch(store, WAITS, desk, clock=clock)
    clock.now += WAITS.incomplete_s + 1
    watch.look()
    assert desk.jobs[-1] == (2, 41)
    assert "the association broke" in store.audit.read(KEY, "complete")[-1].details["reason"]
