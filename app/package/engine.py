"""Docker or podman, whichever there is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import PackagingError

ENGINES = ("docker", "podman")


@dataclass(frozen=True)
class Engine:
    """A program that builds and runs containers.

    Parameters
    ----------
    program
        `docker` or `podman`, with its path.
    """

    program: Path

    @property
    def is_podman(self) -> bool:
        return self.program.name == "podman"

    def build(
        self, context: Path, file: Path, tag: str, arguments: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """Build an image without network; what the engine prints goes to standard error."""
        # docker's own format keeps what the packager relies on; an image made here has no registry
        particular = ["--format", "docker"] if self.is_podman else []
        command = [str(self.program), "build", *particular, "--network", "none", "--tag", tag]
        return subprocess.run(
            [*command, *arguments, "--file", str(file), str(context)], stdout=2, check=False
        )

    def size_bytes(self, tag: str) -> int:
        """Size of an image without compression.

        Raises
        ------
        PackagingError
            If there is no such image.
        """
        command = [str(self.program), "image", "inspect", "--format", "{{.Size}}", tag]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PackagingError(f"expected an image {tag}: {done.stderr.strip()}")
        return int(done.stdout)


def find_engine(name: str | None = None) -> Engine:
    """The engine of that name, or else the first that answers: Docker, then podman.

    Raises
    ------
    PackagingError
        If there is none.
    """
    names = ENGINES if name is None else (name,)
    for candidate in names:
        program = shutil.which(candidate)
        if program and _answers(program):
            return Engine(Path(program))
    raise PackagingError(
        f"expected {' or '.join(names)} to build images with, found none that answers"
    )


def _answers(program: str) -> bool:
    # a docker client without its engine knows its own version, but nothing of images
    done = subprocess.run([program, "image", "ls", "--quiet"], capture_output=True, check=False)
    return done.returncode == 0
