"""A PostgreSQL server on a free port of the loopback interface, with a database for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.node.programs import free_port


@dataclass(frozen=True)
class Postgres:
    """A server, and who is its superuser."""

    port: int
    user: str = "viscera"

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty one."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Start one, and end it; it refuses to run as root, and is given another user then."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is absent: expected its server's programs")
    user = "nobody" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="viscera-postgres-"))
    if user:
        shutil.chown(folder, user)
    found = Postgres(free_port())
    data = folder / "data"
    initdb = [str(programs / "initdb"), "-D", str(data), "-U", found.user, "-A", "trust", "-N"]
    subprocess.run(initdb, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    options = ["-D", str(data), "-h", "127.0.0.1", "-p", str(found.port), "-k", str(folder), "-F"]
    server = subprocess.Popen(
        [str(programs / "postgres"), *options], user=user, cwd=folder, stderr=subprocess.DEVNULL
    )
    ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(found.port)]
    try:
        for _ in range(200):
            if subprocess.run(ready, stdout=subprocess.DEVNULL, check=False).returncode == 0:
                break
            time.sleep(0.1)
        yield found
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None
