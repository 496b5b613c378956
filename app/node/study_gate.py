"""Instances of a study arrive at once, but never while the study is being removed."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator


class StudyGate:
    """Many may receive into a study, or one may remove it. Any thread may use it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._receiving: Counter[str] = Counter()
        self._removing: set[str] = set()

    @contextlib.contextmanager
    def receiving(self, study_key: str) -> Iterator[None]:
        """Hold the study in place; waits for the end of its removal."""
        with self._changed:
            self._changed.wait_for(lambda: study_key not in self._removing)
            self._receiving[study_key] += 1
        try:
            yield
        finally:
            with self._changed:
                self._receiving[study_key] -= 1
                if not self._receiving[study_key]:
                    del self._receiving[study_key]
                    self._changed.notify_all()

    @contextlib.contextmanager
    def removing(self, study_key: str) -> Iterator[None]:
        """Hold the study alone; waits until nothing is being received into it."""
        with self._changed:
            self._changed.wait_for(lambda: study_key not in self._removing)
            self._removing.add(study_key)
            self._changed.wait_for(lambda: study_key not in self._receiving)
        try:
            yield
        finally:
            with self._changed:
                self._removing.discard(study_key)
                self._changed.notify_all()
