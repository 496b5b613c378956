from __future__ import annotations

import threading
from collections.abc import Sequence

from pydicom import Dataset

from app.errors import AssociationError
from app.node.destinations import DimseSource
from app.node.sender_counts import ASK_AGAIN_S, SenderCounts
from app.node.stored import Origin, StoredStudy

SOURCE = DimseSource(ae_title="PACS", host="127.0.0.1", port=104)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """Answers with the number of the question."""

    def __init__(self, error: Exception | None = None) -> None:
        self.uids: list[str] = []
        self.error = error
        self.done = threading.Semaphore(0)

    def __call__(self, source: DimseSource, StudyInstanceUID: str) -> Sequence[Dataset]:
        self.uids.append(StudyInstanceUID)
        try:
            if self.error is not None:
                raise self.error
            answer = Dataset()
            answer.NumberOfStudyRelatedInstances = len(self.uids)
            return [answer]
        finally:
            self.done.release()


def study(caller: str = "PACS", last_arrival: float = 1.0) -> StoredStudy:
    return StoredStudy(
        study_key="ab" * 16,
        workflow="VISCERA",
        StudyInstanceUID="1.2.3",
        series={"1.2.3.1": 5},
        origins=(Origin("VISCERA", caller, "10.0.0.7"),),
        first_arrival=0.0,
        last_arrival=last_arrival,
        size_bytes=1,
    )


def answers(counts: SenderCounts, asked: Asked, of: StoredStudy) -> list[int]:
    counts(of)
    asked.done.acquire(timeout=5)
    for _ in range(500):  # the answer is noted a moment after it was given
        found = [int(one.NumberOfStudyRelatedInstances) for one in counts(of)]
        if found == [len(asked.uids)]:
            break
        threading.Event().wait(0.01)
    return found


def test_the_sender_is_asked_once_until_something_arrives() -> None:
    asked, clock = Asked(), Clock()
    counts = SenderCounts([SOURCE], asked, clock)
    assert answers(counts, asked, study()) == [1]
    clock.now += 2 * ASK_AGAIN_S
    assert [one.NumberOfStudyRelatedInstances for one in counts(study())] == [1]
    assert asked.uids == ["1.2.3"]
    assert answers(counts, asked, study(last_arrival=2.0)) == [2]
    counts.stop()


def test_a_study_that_keeps_arriving_is_not_asked_for_all_the_time() -> None:
    asked, clock = Asked(), Clock()
    counts = SenderCounts([SOURCE], asked, clock)
    assert answers(counts, asked, study()) == [1]
    for arrival in range(2, 20):
        counts(study(last_arrival=float(arrival)))
    assert len(asked.uids) == 1
    counts.stop()


def test_a_sender_that_is_no_source_is_not_asked() -> None:
    asked = Asked()
    counts = SenderCounts([SOURCE], asked, Clock())
    assert counts(study(caller="CT1")) == ()
    assert asked.uids == []
    counts.stop()


def test_a_sender_that_does_not_answer_is_no_error() -> None:
    asked = Asked(AssociationError("no connection", retryable=True))
    counts = SenderCounts([SOURCE], asked, Clock())
    counts(study())
    assert asked.done.acquire(timeout=5)
    assert counts(study()) == ()
    counts.stop()
