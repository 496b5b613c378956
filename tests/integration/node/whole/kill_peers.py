"""Who a node talks to while it is killed: senders that never give up, and a PACS that counts."""

from __future__ import annotations

import copy
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.dsutils import encode

from operators.uids import derived_uid

#: Studies of one sender that wait for their result before it pauses: a scanner is no faster.
LARGEST_BACKLOG = 3
#: Longest time that the PACS takes before it keeps a result, and again before it answers: some
#: kills are to come in between.
LONGEST_PAUSE_S = 0.2


@dataclass(frozen=True)
class Content:
    """What the bytes of a data set are known by, wherever they are kept."""

    length: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def ends(self, file: Path) -> bool:
        """Whether a file, which begins with headers of its own, ends with these bytes."""
        return Content.of(file.read_bytes()[-self.length :]) == self


@dataclass
class SentStudy:
    """One study, and what of it was acknowledged, by SOPInstanceUID."""

    StudyInstanceUID: str
    acknowledged: dict[str, Content] = field(default_factory=dict)


class CtSource:
    """Makes studies of one series, alike but for their UIDs.

    Each header states NumberOfStudyRelatedInstances, so that a broken association does not make
    a version of what came before it: the node waits `incomplete_s` for the rest.
    """

    def __init__(self, files: Sequence[Path], seed: int) -> None:
        self._slices = [pydicom.dcmread(file) for file in files]
        self._seed = str(seed)

    def uid_of(self, *name: object) -> str:
        return derived_uid("killed node", self._seed, *map(str, name))

    def study(self, *name: object) -> Iterator[Dataset]:
        for number, template in enumerate(self._slices):
            made = copy.deepcopy(template)
            made.StudyInstanceUID = self.uid_of(*name)
            made.SeriesInstanceUID = self.uid_of(*name, "series")
            made.FrameOfReferenceUID = self.uid_of(*name, "frame")
            made.SOPInstanceUID = self.uid_of(*name, number)
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            made.NumberOfStudyRelatedInstances = len(self._slices)
            yield made


class Sender(threading.Thread):
    """Sends one study after the other, each until all of it is acknowledged."""

    def __init__(
        self, name: str, source: CtSource, port: int, has_result: Callable[[str], bool]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._source = source
        self._port = port
        self._has_result = has_result
        self.ended = threading.Event()
        self.sent: list[SentStudy] = []
        self.broken = 0

    def run(self) -> None:
        while not self.ended.is_set():
            waiting = [s for s in self.sent[-20:] if not self._has_result(s.StudyInstanceUID)]
            if len(waiting) >= LARGEST_BACKLOG:
                time.sleep(0.1)
                continue
            study = (self.name, len(self.sent) + 1)
            self.sent.append(SentStudy(self._source.uid_of(*study)))
            left = list(self._source.study(*study))
            while left:
                left = self._send(left, self.sent[-1])
                if left:
                    self.broken += 1
                    time.sleep(0.1)

    def _send(self, images: Sequence[Dataset], study: SentStudy) -> list[Dataset]:
        """Send over one association; returns what was not acknowledged."""
        entity = AE(self.name)
        entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 10
        association = entity.associate(
            "127.0.0.1",
            self._port,
            contexts=[build_context(CTImageStorage, ExplicitVRLittleEndian)],
            ae_title="VISCERA",
        )
        left = list(images)
        while left and association.is_established:
            try:
                status = association.send_c_store(left[0])
            except RuntimeError:  # it broke since
                break
            if status.get("Status") != 0:
                break
            image = left.pop(0)
            data = encode(image, False, True) or b""
            study.acknowledged[image.SOPInstanceUID] = Content.of(data)
        if association.is_established:
            association.release()
        return left


@dataclass(frozen=True)
class Store:
    """One C-STORE that the PACS took."""

    StudyInstanceUID: str
    SOPInstanceUID: str
    content: Content


class Pacs:
    """Answers once it has kept what came."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.stores: list[Store] = []
        self._chance = random.Random(seed)
        self._entity = AE("PACS")
        self._entity.add_supported_context(SegmentationStorage)

    def start(self) -> None:
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        self._entity.shutdown()

    def results(self, StudyInstanceUID: str) -> dict[str, set[Content]]:
        """What it has of a study, by SOPInstanceUID."""
        return contents_of(s for s in self.stores if s.StudyInstanceUID == StudyInstanceUID)

    def _store(self, event: evt.Event) -> int:
        time.sleep(self._chance.uniform(0, LONGEST_PAUSE_S))
        content = Content.of(event.encoded_dataset(include_meta=False))
        found = event.dataset
        self.stores.append(Store(found.StudyInstanceUID, found.SOPInstanceUID, content))
        time.sleep(self._chance.uniform(0, LONGEST_PAUSE_S))
        return 0


def contents_of(stores: Iterable[Store]) -> dict[str, set[Content]]:
    """By SOPInstanceUID; more than one content is one too many."""
    found: dict[str, set[Content]] = {}
    for store in stores:
        found.setdefault(store.SOPInstanceUID, set()).add(store.content)
    return found
