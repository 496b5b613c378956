"""What `make map` hands to an engine, laid out and run as in the container, without an engine.

holoscan-cli's packager, the adapter between it and the engine and pip are real; the engine is a
program that keeps the context of the build, and the wheels hold nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.integration.package.containers import ROOT, VISCERA

#: Answers what `find_engine` and the packager ask, and keeps what would be built.
ENGINE = f"""#!{sys.executable}
import os, shutil, sys
if sys.argv[1] == "build":
    shutil.copytree(sys.argv[-1], os.environ["KEPT"])
elif "--format" in sys.argv:
    print(1540000000)
elif sys.argv[1:3] == ["image", "inspect"]:
    print("[{{}}]")
"""
#: Refuses to import what the MAP leaves out; Python runs a module of this name at its start.
SITE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
"""
#: Importable names of the distributions that a CPU variant leaves out.
ABSENT = {
    *("aiohttp", "cuda", "cupy", "cupyx", "cupy_backends", "dbos", "holoscan_cli", "matplotlib"),
    *("perf_analyzer", "prometheus_client", "psycopg", "pydantic", "pynetdicom"),
    *("python_on_whales", "sqlalchemy"),
}


def needed(folder: Path) -> dict[str, str]:
    """Asked of a process elsewhere: metadata of an old build may lie in the checkout."""
    code = "import json, app.package.wheels as w; print(json.dumps(w.needed_distributions(False)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    versions: dict[str, str] = json.loads(done.stdout)
    return {**versions, "torch": versions["torch"].partition("+")[0] + "+cpu"}


def write_empty_wheel(folder: Path, name: str, version: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        info = f"{stem}.dist-info"
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", head)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in needed(folder).items():
        write_empty_wheel(folder, name, version)
    return folder


@pytest.fixture(scope="module")
def context(
    wheels: Path, tmp_path_factory: pytest.TempPathFactory, lean_environment: dict[str, str]
) -> Path:
    """The folder that `make map` would build from."""
    work = tmp_path_factory.mktemp("packager")
    programs = work / "programs"
    programs.mkdir()
    (programs / "podman").write_text(ENGINE, "utf-8")
    (programs / "podman").chmod(0o755)
    kept = work / "context"
    environment = {
        **lean_environment,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "KEPT": str(kept),
    }
    command = [sys.executable, str(ROOT / "scripts" / "map.py"), "--engine", "podman"]
    done = subprocess.run(
        [*command, "--wheels", str(wheels)],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"viscera-x64-workstation-dgpu-linux-amd64:\S+: 1\.54 GB", last)
    return kept


@pytest.fixture(scope="module")
def laid_out(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the context where the Dockerfile's instructions put them, below a folder."""
    root = tmp_path_factory.mktemp("root")
    for source, target in re.findall(
        r"^COPY \./(\S+) +(/\S+)$", (context / "Dockerfile").read_text("utf-8"), re.MULTILINE
    ):
        place = root / target.lstrip("/")
        if (context / source).is_dir():
            shutil.copytree(context / source, place)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(context / source, place)
    return root


def environment_of(context: Path, root: Path) -> Mapping[str, str]:
    """The variables that the Dockerfile sets for the application, with the folders moved."""
    text = (context / "Dockerfile").read_text("utf-8")
    pairs = re.findall(r"\b(HOLOSCAN_\w+)=(/\S+)", text)
    return {name: f"{root}{value}" for name, value in pairs}


def test_the_application_runs_from_the_folders_of_the_map_alone(
    context: Path,
    laid_out: Path,
    patient_folder: Path,
    tent_bundle: Bundle,
    lean_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Python puts /opt/holoscan/app at the head of its path; nothing else of ours is on it.

    What the MAP does not hold cannot be imported here either.
    """
    (tmp_path / "sitecustomize.py").write_text(SITE.replace("{absent}", repr(ABSENT)), "utf-8")
    out = tmp_path / "out"
    environment = {
        **lean_environment,
        **environment_of(context, laid_out),
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "",
        "HOLOSCAN_INPUT_PATH": str(patient_folder),
        "HOLOSCAN_OUTPUT_PATH": str(out),
        "HOLOSCAN_MODEL_PATH": str(tent_bundle.folder.parent),
    }
    app = laid_out / "opt" / "holoscan" / "app"
    done = subprocess.run(
        [sys.executable, str(app)],
        cwd=laid_out / "var" / "holoscan",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["status"] == "ok"
    # it is these files that were loaded, not those of the installation
    for package in ("app", "operators", "models"):
        assert list((app / package / "__pycache__").glob("*.pyc"))


def test_the_entry_point_hands_back_the_exit_code(
    context: Path, laid_out: Path, lean_environment: dict[str, str], tmp_path: Path
) -> None:
    """The manifest's command is run as it stands, its folder apart, on a folder without DICOM."""
    empty = tmp_path / "in"
    empty.mkdir()
    manifest = json.loads((laid_out / "etc/holoscan/app.json").read_text("utf-8"))
    assert json.loads(manifest["command"]) == ["python3", "/opt/holoscan/app"]
    manifest["command"] = json.dumps([sys.executable, f"{laid_out}/opt/holoscan/app"])
    (tmp_path / "app.json").write_text(json.dumps(manifest), "utf-8")
    environment = {
        **lean_environment,
        **environment_of(context, laid_out),
        "HOLOSCAN_APP_MANIFEST_PATH": str(tmp_path / "app.json"),
        "HOLOSCAN_INPUT_PATH": str(empty),
        "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out"),
    }
    done = subprocess.run(
        [sys.executable, str(laid_out / "var" / "holoscan" / "tools")],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 10


def test_the_packager_keeps_what_it_wrote_and_gets_what_it_lacks(context: Path) -> None:
    app = json.loads((context / "map" / "app.json").read_text("utf-8"))
    pkg = json.loads((context / "map" / "pkg.json").read_text("utf-8"))
    assert (app["type"], app["sdk"], app["timeout"]) == ("application", "monai-deploy", 0)
    assert app["input"] == {"path": "input/", "formats": ["file"]}
    assert app["environment"]["HOLOSCAN_DOCS"] == app["environment"]["HOLOSCAN_DOCS_PATH"]
    assert [model["name"] for model in pkg["models"]] == ["abdomen_vnet_3mm"]
    assert pkg["platformConfig"] == "dgpu"


def test_nothing_of_the_dockerfile_needs_the_internet_or_another_system(context: Path) -> None:
    text = (context / "Dockerfile").read_text("utf-8")
    for needless in ("apt", "curl", "python3.12", "--user", "https://"):
        assert needless not in text.replace("--root-user-action", ""), needless
    assert text.rstrip().endswith('ENTRYPOINT ["/var/holoscan/tools"]')
    assert text.index("--mount=type=bind,source=wheels") < text.index("COPY ./app ")


def test_everybody_may_read_the_context(context: Path) -> None:
    ours = [context / name for name in ("app", "models", "docs", "map", "wheels")]
    paths = [path for folder in ours for path in (folder, *folder.rglob("*"))]
    assert [path for path in paths if path.stat().st_mode & 0o044 != 0o044] == []


def test_the_command_writes_the_same_application(
    context: Path, wheels: Path, lean_environment: dict[str, str], tmp_path: Path
) -> None:
    """`viscera package`, for sites without holoscan-cli."""
    folder = tmp_path / "context"
    command = [str(VISCERA), "package", "-o", str(folder), "--wheels", str(wheels)]
    done = subprocess.run(
        command, cwd=tmp_path, env=lean_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("docker build --network none -t viscera-map:")
    for part in ("app", "models", "docs", "wheels", "tools"):
        assert contents(folder / part) == contents(context / part), part
    again = subprocess.run(command, cwd=tmp_path, env=lean_environment, check=False)
    assert again.returncode == 0  # an older context is replaced


def contents(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {path.name: path.read_bytes()}
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
