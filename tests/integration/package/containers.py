"""podman as the tests use it, and an image of Debian packages to build on without a registry."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
VISCERA = Path(sys.executable).with_name("viscera")
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
#: The Python of Debian 12, into which the wheels of the image have to fit.
PYTHON_VERSION = (3, 11)
BASE_TAG = "localhost/viscera-test-base:bookworm"


def reason_to_skip() -> str | None:
    """Why no container can be built here."""
    if sys.version_info[:2] != PYTHON_VERSION:
        return "the base image of Debian 12 has Python 3.11, and the wheels are of this Python"
    if os.geteuid() != 0:
        return "making a base image of Debian packages needs root"
    missing = [name for name in ("podman", "mmdebstrap", "runc") if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Podman:
    """podman with settings of its own.

    Parameters
    ----------
    folder
        Gets the settings.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """For every program that starts podman."""
        conf = self.folder / "containers.conf"
        if not conf.exists():
            # runc also knows hybrid cgroups; where raising limits is forbidden, podman's own fail
            limits = {
                name: min(16384, resource.getrlimit(kind)[1])
                for name, kind in (
                    ("nofile", resource.RLIMIT_NOFILE),
                    ("nproc", resource.RLIMIT_NPROC),
                )
                if resource.getrlimit(kind)[1] != resource.RLIM_INFINITY
            }
            ulimits = json.dumps([f"{name}={value}:{value}" for name, value in limits.items()])
            conf.write_text(
                f'[containers]\ndefault_ulimits = {ulimits}\n[engine]\nruntime = "runc"\n', "utf-8"
            )
        return {**os.environ, "CONTAINERS_CONF": str(conf), "OMP_NUM_THREADS": "1"}

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(
        self, image: str, *arguments: str, options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a container without network, with one thread, and remove it."""
        fixed = ["--rm", "--network", "none", "-e", "OMP_NUM_THREADS=1"]
        return self("run", *fixed, *options, image, *arguments)

    def make_base(self) -> str:
        """Debian 12 with Python, from the package sources of this machine; returns its tag."""
        if self("image", "exists", BASE_TAG).returncode == 0:
            return BASE_TAG
        sources = next(str(path) for path in SOURCES if path.is_file())
        packages = "--include=ca-certificates,python3"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm"]
        archive = self.folder / "base.tar"
        subprocess.run([*command, str(archive), sources], check=True)
        done = self("import", "--quiet", "--change", "ENV LANG=C.UTF-8", str(archive), BASE_TAG)
        archive.unlink()
        assert done.returncode == 0, done.stderr
        return BASE_TAG
