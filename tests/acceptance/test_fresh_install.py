"""What a new user does: install into an empty environment, run the command, read the result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "app", "operators", "models", "scripts")
#: What the starter model finds at the least.
ORGANS = {"Liver", "Spleen", "Left kidney", "Right kidney", "Stomach"}
#: Documented in the README: the input holds nothing usable.
EXIT_UNREADABLE_INPUT = 10


@dataclass(frozen=True)
class Installation:
    """A copy of the sources and the environment that `scripts/bootstrap.py` made from it."""

    source: Path
    venv: Path

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment, without what could lead to another installation."""
        dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHON", "TORCH")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return {**kept, "VENV": str(self.venv)}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command outside the sources, so that only what is installed can be imported."""
        return subprocess.run(
            command,
            cwd=self.venv,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def bootstrap(self, **environment: str) -> subprocess.CompletedProcess[str]:
        script = str(self.source / "scripts" / "bootstrap.py")
        return self.run(sys.executable, script, "--wheel", **environment)

    def viscera(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.venv / "bin" / "viscera"), *arguments)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    source = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    # pip runs in the environment's folder, so it must be there; the bootstrap takes an empty one
    installation = Installation(source=source, venv=tmp_path_factory.mktemp("venv"))
    result = installation.bootstrap()
    assert result.returncode == 0, result.stderr
    return installation


def test_the_installed_packages_are_the_wheels_own(installed: Installation) -> None:
    statement = "import app, operators, models; print(app.__file__, models.__file__)"
    result = installed.run(str(installed.venv / "bin" / "python"), "-c", statement)
    assert result.returncode == 0, result.stderr
    assert all(path.startswith(str(installed.venv)) for path in result.stdout.split())


def test_the_packages_fit_each_other_and_our_names_are_ours(installed: Installation) -> None:
    python = str(installed.venv / "bin" / "python")
    check = installed.run(python, "-m", "pip", "check")
    assert check.returncode == 0, check.stdout
    statement = "from app.packages import check_packages; check_packages()"
    assert installed.run(python, "-c", statement).returncode == 0


def test_holoscans_late_installation_is_done(installed: Installation) -> None:
    """It happens when Python first starts, and would fail for a user who may not write there."""
    (info,) = installed.venv.glob("lib/python3*/site-packages/holoscan_cu13-*.dist-info")
    # the other tests start Python too: what counts is that it came before the end of the bootstrap
    finished = (info / "axle.done").stat().st_mtime_ns
    assert finished <= (installed.venv / "viscera-installed").stat().st_mtime_ns


def test_holoscan_is_imported_without_warnings(
    installed: Installation,
) -> None:
    statement = (
        "from operators.holoscan_runtime import prepare; prepare(); prepare(); "
        "import holoscan; print(holoscan.__version__)"
    )
    result = installed.run(str(installed.venv / "bin" / "python"), "-W", "error", "-c", statement)
    assert (result.returncode, result.stdout) == (0, "4.6.0\n"), result.stderr


def test_a_second_installation_does_nothing(installed: Installation) -> None:
    """Shown by taking the package index away."""
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    result = installed.bootstrap(**nowhere)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_changed_project_is_installed_again(installed: Installation) -> None:
    """Shown by an index that holds nothing: the attempt to install fails, and says so."""
    project = installed.source / "pyproject.toml"
    before = project.read_text("utf-8")
    stamp = installed.venv / "viscera-installed"
    stamp_before = stamp.read_text("utf-8")
    project.write_text(before + "\n# changed\n", "utf-8")
    try:
        result = installed.bootstrap(PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
        assert result.returncode != 0
        assert "installing viscera" in result.stderr
        assert not stamp.exists()  # so that the next call tries again
    finally:
        project.write_text(before, "utf-8")
        stamp.write_text(stamp_before, "utf-8")


def test_the_demo_segments_a_generated_phantom(installed: Installation, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = installed.viscera("demo", "-o", str(out))
    assert result.returncode == 0, result.stderr
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["status"] == "ok"
    (path,) = (file for file in out.rglob("*.dcm") if is_segmentation(file))
    segmentation = highdicom.seg.segread(path)
    labels = {segment.SegmentLabel for segment in segmentation.SegmentSequence}
    assert labels >= ORGANS
    volume = segmentation.get_volume(combine_segments=True, skip_overlap_checks=True)
    assert set(np.unique(volume.array)) - {0}
    assert list(out.rglob("*.png"))


def is_segmentation(file: Path) -> bool:
    return bool(
        pydicom.dcmread(file, stop_before_pixels=True).SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    )


def test_an_empty_folder_ends_with_its_own_exit_code(
    installed: Installation, tmp_path: Path
) -> None:
    empty, out = tmp_path / "in", tmp_path / "out"
    empty.mkdir()
    result = installed.viscera("segment", str(empty), "-o", str(out))
    assert result.returncode == EXIT_UNREADABLE_INPUT
    assert json.loads((out / "report.json").read_text("utf-8"))["status"] == "unreadable_input"
    assert list(out.rglob("*.dcm")) == []
