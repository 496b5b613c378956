"""The image of the Dockerfile: the node in a container, as modalities and orchestrators meet it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from app.node.serving import STOP_TIMEOUT_S
from app.package.wheels import TORCH_CPU_INDEX
from models.bundle import Bundle
from operators.seg_reading import read_label_map
from tests.integration.node.programs import free_port, program, running
from tests.integration.package.containers import ROOT, Podman

TAG = "localhost/viscera-test-service:ci"
#: For the node to start and to work on a small study, on a busy machine.
LONGEST_WAIT_S = 120.0
#: As strict as an orchestrator may be.
HARDENED = ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]


def download_wheels(folder: Path) -> None:
    """All that the Dockerfile installs, in the versions installed here, PyTorch without CUDA."""
    import tomllib  # which the Python of the base image has, and with it this one

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    (torch,) = (name for name in wanted if name.startswith("torch=="))
    constraints = folder.with_name("constraints.txt")
    installed = (f"{d.name}=={d.version}\n" for d in distributions() if d.name != "viscera")
    constraints.write_text("".join(line for line in installed if not line.startswith("torch==")))
    pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-d", folder]
    index = ["--extra-index-url", TORCH_CPU_INDEX, "--retries", "1", "--timeout", "15"]
    subprocess.run([*pip, *index, "--no-deps", f"{torch}+cpu"], check=True)
    wanted[wanted.index(torch)] = f"{torch}+cpu"
    subprocess.run([*pip, "--find-links", folder, "-c", constraints, *wanted], check=True)


@pytest.fixture(scope="session")
def image(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Built without network: pip is told of a folder of wheels as of any other index."""
    folder = tmp_path_factory.mktemp("service")
    wheels = folder / "wheels"
    wheels.mkdir()
    download_wheels(wheels)
    settings = folder / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n", "utf-8")
    command = ["build", "--format", "docker", "--network", "none", "--layers=false", "--force-rm"]
    mounts = ["-v", f"{wheels}:/wheels:ro", "-v", f"{settings}:/etc/pip.conf:ro"]
    base = ["--build-arg", f"BASE_IMAGE={podman.make_base()}"]
    done = podman(*command, *mounts, *base, "-t", TAG, str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    yield TAG
    podman("image", "rm", "--force", TAG)


def for_all(folder: Path, mode: int = 0o755) -> Path:
    """Let the container's user in, whom pytest's folders keep out."""
    folder.chmod(mode)
    return folder


@dataclass(frozen=True)
class ServiceContainer:
    """A node in a container that shares the network of this machine."""

    podman: Podman
    name: str
    port: int

    def inspect(self) -> Any:
        (found,) = json.loads(self.podman("inspect", self.name).stdout)
        return found

    def until(self, look: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        give_up_at = time.monotonic() + LONGEST_WAIT_S
        while time.monotonic() < give_up_at and self.inspect()["State"]["Running"]:
            if found := look():
                return found
            time.sleep(0.3)
        pytest.fail(f"it did not come to this: {self.log}")

    @property
    def log(self) -> str:
        done = self.podman("logs", self.name)
        return done.stdout + done.stderr

    def wait_healthy(self) -> None:
        """As an engine with systemd does by itself."""
        self.until(lambda: self.podman("healthcheck", "run", self.name).returncode == 0)

    def stop(self) -> int:
        """End it as an engine does; returns its exit status, 137 if it had to be killed."""
        self.podman("stop", "--time", str(round(STOP_TIMEOUT_S) + 15), self.name)
        status: int = self.inspect()["State"]["ExitCode"]
        return status


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """DCMTK's storescp: its port, and the folder where it keeps what it gets."""
    folder = tmp_path_factory.mktemp("pacs")
    port = free_port()
    with running([program("storescp"), "-aet", "PACS", "-od", folder, port], port, folder):
        yield port, folder


@pytest.fixture(scope="module")
def node(
    podman: Podman,
    image: str,
    pacs: tuple[int, Path],
    tent_bundle: Bundle,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServiceContainer]:
    """With the default command, and only the settings and the model from outside."""
    peer = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs[0]}
    settings = {
        "state": "/var/lib/viscera",
        "models": "/srv/models",
        "store": {"min_free_bytes": 0},
        "workflows": {"VISCERA": {"destinations": ["pacs"], "any_anatomy": True}},
        "destinations": {"pacs": peer},
        "completion": {"closed_s": 0.3},
        "workers": {"count": 1, "threads": 1},
    }
    config = tmp_path_factory.mktemp("settings") / "node.yaml"
    config.write_text(json.dumps(settings), "utf-8")
    found = ServiceContainer(podman, f"viscera-test-{config.parent.name}", free_port())
    mounts = ["-v", f"{config}:/etc/viscera/node.yaml:ro"]
    mounts += ["-v", f"{for_all(tent_bundle.folder.parent)}:/srv/models:ro"]
    ports = ["-e", f"VISCERA_NODE__LISTENER__PORT={found.port}"]
    ports += ["-e", f"VISCERA_NODE__HEALTH__PORT={free_port()}", "--network", "host"]
    done = podman("run", "-d", "--name", found.name, *HARDENED, *mounts, *ports, image)
    assert done.returncode == 0, done.stderr
    try:
        found.wait_healthy()
        yield found
    finally:
        podman("rm", "--force", "--volumes", "--time", "0", found.name)


def test_a_study_sent_to_the_container_comes_back_as_a_segmentation(
    node: ServiceContainer,
    pacs: tuple[int, Path],
    write_patient: Any,
    organs: Any,
    tmp_path: Path,
) -> None:
    patient = write_patient(tmp_path, name="container")
    files = sorted(tmp_path.rglob("*.dcm"))
    send = [program("storescu"), "-aec", "VISCERA", "127.0.0.1", str(node.port), *map(str, files)]
    assert subprocess.run(send, check=False).returncode == 0, node.log

    def jobs() -> Any:
        command = ["viscera", "jobs", "--config", "/etc/viscera/node.yaml", "--all", "--json"]
        return json.loads(node.podman("exec", node.name, *command).stdout or "[]")

    node.until(lambda: [job["status"] for job in jobs()] == ["delivered"])
    (received,) = (path for path in pacs[1].iterdir() if path.name != "log.txt")
    sent, made = pydicom.dcmread(files[0]), pydicom.dcmread(received)
    assert (made.Modality, made.StudyInstanceUID) == ("SEG", sent.StudyInstanceUID)
    labels, names = read_label_map(received, patient.volume.geometry)
    numbers = {label: number for number, label in names.items()}
    for name, organ in organs.items():
        found = labels.centroid_lps(numbers[organ.label])
        np.testing.assert_allclose(found, patient.centroid_lps(name), atol=1.5)


def test_it_is_healthy_and_all_its_processes_are_those_of_an_ordinary_user(
    node: ServiceContainer,
) -> None:
    assert node.inspect()["State"]["Health"]["Status"] == "healthy"
    pids = node.podman("top", node.name, "hpid").stdout.split()[1:]
    assert len(pids) >= 2, "the node and a worker"
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^Uid:\t1000\t1000\t1000\t1000$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)


def test_its_health_check_tells_the_reasons_and_fails_where_nothing_answers(
    node: ServiceContainer,
) -> None:
    kind, *command = node.inspect()["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    well = node.podman("exec", node.name, *command)
    assert well.returncode == 0
    assert json.loads(well.stdout)["checks"]["disk"]["ok"] is True
    elsewhere = ["-e", f"VISCERA_NODE__HEALTH__PORT={free_port()}"]
    assert node.podman("exec", *elsewhere, node.name, *command).returncode == 1


def test_sigterm_ends_it_in_order_and_the_next_start_goes_on_with_its_state(
    node: ServiceContainer,
) -> None:
    assert node.stop() == 0, node.log
    node.podman("start", node.name)
    node.wait_healthy()
    command = ["viscera", "status", "--config", "/etc/viscera/node.yaml", "--json"]
    counts = json.loads(node.podman("exec", node.name, *command).stdout)
    assert counts["delivered"] == 1
    assert node.stop() == 0, node.log


def test_the_image_says_how_it_is_to_be_run_and_is_below_2_gb(podman: Podman, image: str) -> None:
    (found,) = json.loads(podman("image", "inspect", image).stdout)
    config = found["Config"]
    assert (config["User"], config["StopSignal"]) == ("1000:1000", "SIGTERM")
    assert list(config["ExposedPorts"]) == ["11112/tcp"]
    assert list(config["Volumes"]) == ["/var/lib/viscera"]
    print(f"the service image has {found['Size'] / 1e9:.2f} GB")
    assert found["Size"] < 2e9


def test_without_settings_it_ends_and_names_the_file_it_looked_for(
    podman: Podman, image: str
) -> None:
    done = podman.run(image, options=HARDENED)
    assert done.returncode == 23
    assert "/etc/viscera/node.yaml" in done.stderr


def test_it_segments_a_folder_too_as_any_user(
    podman: Podman, image: str, patient_folder: Path, tent_bundle: Bundle, tmp_path: Path
) -> None:
    mounts = ["-v", f"{for_all(patient_folder)}:/in:ro"]
    mounts += ["-v", f"{for_all(tmp_path, 0o777)}:/out"]
    mounts += ["-v", f"{tent_bundle.folder}:/model:ro", "--user", "12345:54321"]
    arguments = ["segment", "/in", "-o", "/out", "-m", "/model", "--any-anatomy", "-q"]
    done = podman.run(image, *arguments, options=[*HARDENED, *mounts])
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*/segmentation.dcm"))) == 1
