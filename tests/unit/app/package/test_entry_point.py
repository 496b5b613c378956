"""The program that a container starts, run here as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.package import entry_point

#: A job in the background of a shell inherits that SIGINT is ignored.
PROGRAM = """
import os, pathlib, signal, sys, time
if sys.argv[1:] == ["wait"]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    print("ready", flush=True)
    time.sleep(60)
out = pathlib.Path(os.environ["HOLOSCAN_OUTPUT_PATH"])
(out / "1.2.3").mkdir()
(out / "1.2.3" / "segmentation.dcm").write_bytes(b"seg")
print(os.environ["FROM_MANIFEST"], sys.argv[1:])
sys.exit(17)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    (tmp_path / "out").mkdir()
    manifest = {
        "command": json.dumps([sys.executable, str(tmp_path / "program.py")]),
        "environment": {"FROM_MANIFEST": "default", "PATH": "kept as it is"},
    }
    (tmp_path / "app.json").write_text(json.dumps(manifest), "utf-8")
    (tmp_path / "pkg.json").write_text('{"version": "1.0.0"}', "utf-8")
    return {
        "PATH": os.environ["PATH"],
        "HOLOSCAN_APP_MANIFEST_PATH": str(tmp_path / "app.json"),
        "HOLOSCAN_PKG_MANIFEST_PATH": str(tmp_path / "pkg.json"),
        "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out"),
    }


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, entry_point.__file__, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_arguments_reach_the_application_and_its_exit_code_comes_back(
    environment: dict[str, str],
) -> None:
    done = run(environment, "--model", "a name")
    assert done.returncode == 17
    assert done.stdout == "default ['--model', 'a name']\n"


def test_a_command_of_the_shell_is_understood_too(
    environment: dict[str, str], tmp_path: Path
) -> None:
    manifest = {"command": f"{sys.executable} '{tmp_path / 'program.py'}'"}
    (tmp_path / "app.json").write_text(json.dumps(manifest), "utf-8")
    assert run({**environment, "FROM_MANIFEST": "set"}).stdout == "set []\n"


def test_flat_names_the_files_after_their_series(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert run(environment, "flat").returncode == 17
    assert (tmp_path / "out" / "1.2.3.dcm").read_bytes() == b"seg"
    assert (tmp_path / "out" / "1.2.3" / "segmentation.dcm").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_application(environment: dict[str, str], number: signal.Signals) -> None:
    command = [sys.executable, entry_point.__file__, "wait"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait() == 128 + number


def test_one_manifest_is_shown_as_json_alone(environment: dict[str, str]) -> None:
    assert json.loads(run(environment, "show", "pkg").stdout) == {"version": "1.0.0"}
    both = run(environment, "show").stdout
    assert both.index("app.json") < both.index("pkg.json")
    assert run(environment, "show", "all").returncode == 1


def test_the_environment_is_in_order(environment: dict[str, str]) -> None:
    names = [line.partition("=")[0] for line in run(environment, "env").stdout.splitlines()]
    assert names == sorted(names)
    assert set(environment) <= set(names)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on this machine, and the folder that stands for what is mounted."""
    for variable, name in (
        ("APPLICATION", "opt/app"),
        ("MODEL_PATH", "opt/models"),
        ("DOCS_PATH", "opt/docs"),
    ):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text(name, "utf-8")
        monkeypatch.setenv(f"HOLOSCAN_{variable}", str(tmp_path / name))
    for name in ("APP_MANIFEST", "PKG_MANIFEST", "CONFIG"):
        (tmp_path / name).write_text(name, "utf-8")
        monkeypatch.setenv(f"HOLOSCAN_{name}_PATH", str(tmp_path / name))
    monkeypatch.setattr(entry_point, "EXPORT", tmp_path / "export")
    return tmp_path / "export"


def held(folder: Path) -> Sequence[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_everything_is_extracted_into_one_folder(package: Path) -> None:
    package.mkdir()
    assert entry_point.main(["extract"]) == 0
    assert held(package) == [
        "app/sub/file",
        "config/APP_MANIFEST",
        "config/CONFIG",
        "config/PKG_MANIFEST",
        "docs/sub/file",
        "models/sub/file",
    ]


def test_only_what_is_mounted_is_extracted(package: Path) -> None:
    for name in ("models", "config"):
        (package / name).mkdir(parents=True)
    assert entry_point.main(["extract"]) == 0
    assert {name.partition("/")[0] for name in held(package)} == {"models", "config"}


def test_nowhere_to_extract_to_is_an_error(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry_point.main(["extract"]) == 1
    assert "expected a folder mounted at" in capsys.readouterr().err


def test_help_tells_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry_point.main(["help"]) == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("show", "env", "extract", "flat", "help"))
