"""The ways the program is started, and what it shows meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from app.cli import main, main_map
from models.bundle import Bundle

ROOT = Path(__file__).parents[2]
VISCERA = Path(sys.executable).with_name("viscera")


def content(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text("utf-8"))
    return report


def test_python_m_app_takes_flags_before_the_environment(
    tmp_path: Path, patient_folder: Path, tent_bundle: Bundle, lean_environment: dict[str, str]
) -> None:
    """A process without a terminal: plain lines on standard error, the summary on output."""
    environment = {
        "HOLOSCAN_INPUT_PATH": str(tmp_path / "nowhere"),
        "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "unwanted"),
        "HOLOSCAN_MODEL_PATH": str(tmp_path / "no models"),
    }
    out = tmp_path / "out"
    paths = ["-i", str(patient_folder), "-o", str(out), "-m", str(tent_bundle.folder.parent)]
    done = subprocess.run(
        [sys.executable, "-m", "app", *paths],
        cwd=ROOT,
        env={**lean_environment, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert content(out)["status"] == "ok"
    assert not (tmp_path / "unwanted").exists()
    lines = done.stderr.splitlines()
    for stage in ("load", "select", "volume", "segment", "write SEG"):
        assert f"{stage}: 0 %" in lines
        assert f"{stage}: 100 %" in lines
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr
    assert "status   ok" in done.stdout.splitlines()


def test_the_environment_names_what_flags_do_not(
    tmp_path: Path,
    patient_folder: Path,
    tent_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("HOLOSCAN_INPUT_PATH", str(patient_folder))
    monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", str(tmp_path / "unwanted"))
    monkeypatch.setenv("HOLOSCAN_MODEL_PATH", str(tent_bundle.folder.parent))
    assert main_map(["-o", str(out)]) == 0
    assert content(out)["models"][0]["name"] == "tents"
    assert not (tmp_path / "unwanted").exists()


def test_quiet_prints_nothing(
    tmp_path: Path, patient_folder: Path, tent_bundle: Bundle, lean_environment: dict[str, str]
) -> None:
    out, models = tmp_path / "out", str(tent_bundle.folder)
    command = [str(VISCERA), "segment", str(patient_folder), "-o", str(out), "-m", models]
    done = subprocess.run(
        [*command, "--quiet"], env=lean_environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert content(out)["status"] == "ok"


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(
    tmp_path: Path, patient_folder: Path, tent_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                block = os.read(leader, 4096)
            except OSError:  # Linux answers so once the other end is closed
                return
            shown.extend(block)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        models = str(tent_bundle.folder)
        code = main(["segment", str(patient_folder), "-o", str(tmp_path), "-m", models])
        monkeypatch.undo()
    reader.join()
    os.close(leader)
    assert code == 0
    lines = shown.decode().split("\r")
    for stage in ("segment", "write SEG"):
        drawn = [line for line in lines if line.startswith(stage)]
        assert any("\u2588" in line and "100 %" in line for line in drawn), stage
    assert "\n" not in shown.decode()  # one line, drawn again and again
    assert "".join(lines[-2:]).strip() == ""  # and wiped at the end
