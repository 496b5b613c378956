"""Asks the sender of a study how much belongs to it, where the sender is a source by C-FIND."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from app.errors import AppError
from app.node.destinations import DimseSource, Source
from app.node.dimse_client import associated, context_of
from app.node.stored import StoredStudy

log = logging.getLogger(__name__)

#: A study is asked for again only after this, and only where something has arrived since.
ASK_AGAIN_S = 10.0


#: By level of the query, what is asked for (PS3.4 C.6.2.1).
_KEYS = {
    "STUDY": ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    "SERIES": ("SeriesInstanceUID", "NumberOfSeriesRelatedInstances"),
}
_PENDING = (0xFF00, 0xFF01)


def find_counts(source: DimseSource, StudyInstanceUID: str) -> list[Dataset]:
    """Ask a source for the numbers of series and instances of a study (C-FIND, study root).

    Returns
    -------
    list of pydicom.Dataset
        The identifiers it answered with; none where it does not know the study.

    Raises
    ------
    AssociationError, PeerSettingsError
        If there is no association.
    """
    context = context_of(
        StudyRootQueryRetrieveInformationModelFind, ExplicitVRLittleEndian, ImplicitVRLittleEndian
    )
    answers: list[Dataset] = []
    with associated(source, [context]) as association:
        for level, keywords in _KEYS.items():
            identifier = Dataset()
            identifier.QueryRetrieveLevel = level
            identifier.StudyInstanceUID = StudyInstanceUID
            for keyword in keywords:
                setattr(identifier, keyword, None)
            answers += [
                answer
                for status, answer in association.send_c_find(
                    identifier, StudyRootQueryRetrieveInformationModelFind
                )
                if status.get("Status") in _PENDING and answer is not None
            ]
    # some sources ignore a key that they do not know, and answer with all studies
    return [one for one in answers if one.get("StudyInstanceUID") == StudyInstanceUID]


class SenderCounts:
    """Remembers what sources answered; asking takes place in the background.

    Parameters
    ----------
    sources
        Those of them with the AE title of a study's sender are asked.
    ask
        Asks one source for one StudyInstanceUID; raises AppError.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        ask: Callable[[DimseSource, str], Sequence[Dataset]] = find_counts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = {s.ae_title: s for s in sources if isinstance(s, DimseSource)}
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(2, "sender-counts")
        #: By study: the arrival that was asked for, when, and the answers so far.
        self._asked: dict[str, tuple[float, float]] = {}
        self._answers: dict[str, Sequence[Dataset]] = {}

    def __call__(self, study: StoredStudy) -> Sequence[Dataset]:
        """What is known by now; asks anew where something has arrived since, at most now and then.

        Returns
        -------
        Sequence of pydicom.Dataset
            Identifiers with NumberOfStudyRelatedInstances and the like (PS3.4 C.6.2.1).
        """
        found = [self._sources.get(origin.calling_ae) for origin in study.origins]
        sources = [source for source in found if source is not None]
        if not sources:
            return ()
        key, now = study.study_key, self._clock()
        with self._lock:
            arrival, when = self._asked.get(key, (-1.0, -ASK_AGAIN_S))
            if arrival != study.last_arrival and now - when >= ASK_AGAIN_S:
                self._asked[key] = study.last_arrival, now
                self._threads.submit(self._answer, sources[0], key, study.StudyInstanceUID)
            return self._answers.get(key, ())

    def stop(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, source: DimseSource, key: str, StudyInstanceUID: str) -> None:
        try:
            answers = self._ask(source, StudyInstanceUID)
        except AppError as exc:
            log.info("study %s: its sender does not say how large it is: %s", StudyInstanceUID, exc)
            return
        with self._lock:
            self._answers[key] = answers
