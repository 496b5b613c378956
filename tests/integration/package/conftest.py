"""Images of the MAP, made in both ways, and what the program makes of a series outside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.package.containers import ROOT, VISCERA, Podman, reason_to_skip

PACKAGER_TAG = "viscera-test-x64-workstation-dgpu-linux-amd64:ci"
OWN_TAG = "localhost/viscera-test-own:ci"


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    if reason := reason_to_skip():
        pytest.skip(reason)
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="session")
def own_map(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Built by `viscera package`: name of the image and folder it was built from."""
    folder = tmp_path_factory.mktemp("map") / "context"
    command = [str(VISCERA), "package", "-o", str(folder), "--build", "--engine", "podman"]
    command += ["--base-image", podman.make_base(), "-t", OWN_TAG]
    done = subprocess.run(
        command, env=podman.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    yield OWN_TAG, folder
    podman("image", "rm", "--force", OWN_TAG)


@pytest.fixture(scope="session")
def packager_map(podman: Podman, own_map: tuple[str, Path]) -> Iterator[str]:
    """Built by `monai-deploy package` as `make map` does, from the same wheels."""
    command = [sys.executable, str(ROOT / "scripts" / "map.py"), "--engine", "podman"]
    command += ["--base-image", podman.make_base(), "--wheels", str(own_map[1] / "wheels")]
    done = subprocess.run(
        [*command, "-t", "viscera-test:ci"],
        env=podman.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout.splitlines()[-1])
    yield PACKAGER_TAG
    podman("image", "rm", "--force", PACKAGER_TAG)


@pytest.fixture(scope="session", params=["viscera package", "monai-deploy package"])
def image(request: pytest.FixtureRequest) -> str:
    """Each of the images in turn."""
    if request.param == "viscera package":
        own: tuple[str, Path] = request.getfixturevalue("own_map")
        return own[0]
    packager: str = request.getfixturevalue("packager_map")
    return packager


@pytest.fixture(scope="session")
def outside(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `viscera demo` leaves: a generated CT in `phantom`, and its results beside it."""
    folder = tmp_path_factory.mktemp("outside")
    command = [str(VISCERA), "demo", "-q", "-o", str(folder)]
    subprocess.run(command, env=podman.environment, check=True)
    return folder
