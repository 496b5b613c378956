"""Programs of peers, on free ports of the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

STARTING_S = 20.0
NO_DELAY = {**os.environ, "TCP_NODELAY": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTING_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"{process.args} did not start (exit status {process.poll()})")


@contextmanager
def running(
    command: Sequence[object], port: int, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A program of a peer, from when it listens until the block ends."""
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, stdout=log, stderr=log, env=NO_DELAY
        )
        try:
            wait_for_port(port, process)
            yield process
        finally:
            process.kill()
            process.wait()


def program(*names: str) -> str:
    """The path of a program by one of its names; the test skips where it is absent.

    The environment's own programs do not count: pynetdicom brings some of DCMTK's names.
    """
    own = Path(sys.executable).parent
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if f and Path(f) != own]
    path = os.pathsep.join([*folders, "/usr/sbin"])
    for name in names:
        if (found := shutil.which(name, path=path)) is not None:
            return found
    pytest.skip(f"{names[0]} is not installed")
