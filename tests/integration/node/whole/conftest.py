"""`viscera serve` as a process, with the network that finds ellipsoids and small CT to send it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest

from models.bundle import Bundle
from tests.integration.node.programs import program
from tests.integration.node.whole.node_process import CtStudy, NodeProcess, node_settings

Serve = Callable[..., AbstractContextManager[NodeProcess]]


@pytest.fixture(scope="session")
def serve(
    tmp_path_factory: pytest.TempPathFactory, tent_bundle: Bundle, new_port: Callable[[], int]
) -> Serve:
    """Runs a node: `(destinations, **other settings)`."""

    @contextmanager
    def run(
        destinations: Mapping[str, Any], *, start: bool = True, **changes: Any
    ) -> Iterator[NodeProcess]:
        folder = tmp_path_factory.mktemp("node")
        settings = node_settings(folder, tent_bundle.folder, destinations, new_port(), new_port())
        for name, change in changes.items():
            merge = isinstance(change, Mapping) and name != "workflows"
            settings[name] = {**settings.get(name, {}), **change} if merge else change
        node = NodeProcess(folder, settings)
        if start:
            node.start()
        try:
            yield node
        finally:
            if node.process is not None and node.process.poll() is None:
                node.stop(signal.SIGKILL)

    return run


@pytest.fixture(scope="session")
def make_ct(
    tmp_path_factory: pytest.TempPathFactory, write_patient: Callable[..., Any], organs: Any
) -> Callable[..., CtStudy]:
    """Writes a study of the patient of ellipsoids, by name."""

    def make(name: str) -> CtStudy:
        folder = tmp_path_factory.mktemp("ct")
        patient = write_patient(folder, name=f"node {name}")
        files = sorted(folder.rglob("*.dcm"))
        head = pydicom.dcmread(files[0], stop_before_pixels=True)
        return CtStudy(
            str(head.StudyInstanceUID),
            str(head.SeriesInstanceUID),
            files,
            patient.volume.geometry,
            {organ.label: patient.centroid_lps(name) for name, organ in organs.items()},
        )

    return make


@pytest.fixture(scope="session")
def storescu() -> Callable[..., subprocess.Popen[bytes]]:
    """Begins to send files by DCMTK: `(port, files, *options)`."""
    command = program("storescu")

    def send(
        port: int, files: Sequence[Path], *options: str, called: str = "VISCERA"
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [command, *options, "-aec", called, "127.0.0.1", str(port), *map(str, files)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TCP_NODELAY": "1"},
        )

    return send


@pytest.fixture(scope="session")
def send(storescu: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., None]:
    """Sends files by DCMTK, and expects success: `(port, files, *options)`."""

    def run(port: int, files: Sequence[Path], *options: str, called: str = "VISCERA") -> None:
        process = storescu(port, files, *options, called=called)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output

    return run
