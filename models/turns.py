"""Turns at a device: several processes prepare and write at once, but few use the network."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

#: Gives what is held while a network works.
Turn = Callable[[], AbstractContextManager[None]]

#: For a process that shares its device with nobody.
any_time: Turn = nullcontext

_LOOK_EVERY_S = 0.02


class DeviceTurns:
    """Turns among the processes of one machine that name the same folder and device.

    Parameters
    ----------
    folder
        Where the locks are; the system lets go of them when a process dies.
    device
        `cpu`, `gpu:0` and the like.
    at_once
        How many have a turn at the same time.
    """

    def __init__(self, folder: Path, device: str, at_once: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = device.replace(":", "-")
        self._paths = [folder / f"{name}-{number}.lock" for number in range(at_once)]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn, and hold it; it is not for threads of one process to share."""
        descriptor = self._take()
        try:
            yield
        finally:
            os.close(descriptor)

    def _take(self) -> int:
        while True:
            for path in self._paths:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                return descriptor
            time.sleep(_LOOK_EVERY_S)
