"""Progress on standard error: a bar on a terminal, plain lines otherwise, or nothing."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Protocol, TextIO

from tqdm import tqdm

#: Seconds between two plain lines about one stage.
LINE_EVERY_S = 10.0


class Progress(Protocol):
    """Told the stage that a run is in and its done share, 0 to 1."""

    def __call__(self, stage: str, share: float) -> None: ...

    def close(self) -> None: ...


class Silent:
    """For `--quiet` and for runs inside a service."""

    def __call__(self, stage: str, share: float) -> None:
        return

    def close(self) -> None:
        return


class Bar:
    """One line that is drawn again and again, for people."""

    def __init__(self, stream: TextIO):
        self._bar = tqdm(
            total=100,
            file=stream,
            bar_format="{desc:<14} {bar} {n:3.0f} %  {elapsed}",
            leave=False,
            # a terminal that states no width (some containers') would get no bar at all
            ncols=None if shutil.get_terminal_size((0, 0)).columns else 80,
        )

    def __call__(self, stage: str, share: float) -> None:
        self._bar.set_description_str(stage, refresh=False)
        self._bar.n = 100 * share
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line at the begin of a stage, its end, and now and then between, for logs."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._stage = ""
        self._said_at = 0.0

    def __call__(self, stage: str, share: float) -> None:
        now = time.monotonic()
        fresh = stage != self._stage
        if fresh or share >= 1 or now - self._said_at >= LINE_EVERY_S:
            self._stage, self._said_at = stage, now
            self._stream.write(f"{stage}: {100 * share:.0f} %\n")
            self._stream.flush()

    def close(self) -> None:
        return


def make_progress(quiet: bool, stream: TextIO | None = None) -> Progress:
    """The kind that fits the stream, which is standard error by default."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return Silent()
    return Bar(stream) if stream.isatty() else Lines(stream)
