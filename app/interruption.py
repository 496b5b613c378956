"""Stop a running graph on SIGINT and SIGTERM, at the next moment it tells its progress.

Holoscan answers these signals itself: it waits three seconds, then ends the process, whatever is
being written. So the graph runs on Holoscan's own thread while this one holds the signals.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager

from operators.deploy_core import Application

SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: How often the handlers are set again, since Holoscan sets its own when a graph starts.
HOLD_EVERY_S = 0.02


def run_stoppable(graph: Application, stop: Callable[[], None]) -> None:
    """Run a graph to its end; a signal calls `stop`, which has to make an operator raise.

    Raises
    ------
    Exception
        What an operator raised.
    """
    future = graph.run_async()
    in_main_thread = threading.current_thread() is threading.main_thread()
    with _restored_handlers(in_main_thread):
        while True:
            if in_main_thread:  # Python lets no other thread set handlers
                for number in SIGNALS:
                    signal.signal(number, lambda *_: stop())
            try:
                future.result(timeout=HOLD_EVERY_S)
            except FutureTimeoutError:
                if future.done():  # the graph itself raised it
                    raise
                continue
            return


@contextmanager
def _restored_handlers(active: bool) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS} if active else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
