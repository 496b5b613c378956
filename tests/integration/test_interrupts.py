"""Signals in the middle of a run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle

ROOT = Path(__file__).parents[2]


def check_report(out: Path, status: str, code: int) -> dict[str, Any]:
    """The report names the ending, and no segmentation or remainder lies beside it."""
    report: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    assert (report["status"], report["exit_code"]) == (status, code)
    assert report["message"]
    assert not list(out.rglob("*.part"))
    assert not list(out.rglob("*.dcm"))
    return report


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupt_during_the_segmentation_is_reported(
    number: signal.Signals,
    tmp_path: Path,
    patient_folder: Path,
    make_tent_bundle: Callable[..., Bundle],
    lean_environment: dict[str, str],
) -> None:
    """As Ctrl-C or the end of a container, while the network is at work on many windows."""
    slow = make_tent_bundle(
        tmp_path / "slow",
        preprocessing={"spacing_mm": 1.0, "low_hu": -200, "high_hu": 600},
        sliding_window={"size": [32, 32, 32], "overlap": 0.8, "batch": 1},
    )
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "-i", patient_folder, "-o", out, "-m", slow.folder],
        cwd=ROOT,
        env=lean_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("segment: "):
                break
        process.send_signal(number)
        _, rest = process.communicate()
    assert process.returncode == 130, "".join(said) + rest
    assert "viscera: interrupted" in rest.splitlines()
    (series,) = check_report(out, "interrupted", 130)["series"]
    assert (series["status"], series["outputs"]) == ("unfinished", {})


#: Sends itself an interrupt as soon as the first of several series is being worked on.
INTERRUPTED_EARLY = """
import os, signal, sys
from app.progress import Lines
from app.run_settings import RunSettings
from app.runner import Runner
from pathlib import Path

folder, out, models = map(Path, sys.argv[1:])

class Interrupting(Lines):
    sent = False

    def __call__(self, stage, share):
        if stage == "segment" and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)
        super().__call__(stage, share)

report = Runner(RunSettings(models=models, device="cpu")).run(folder, out, Interrupting(sys.stderr))
report.write()
sys.exit(report.outcome.exit_code)
"""


def test_an_interrupt_between_short_series_is_never_taken_for_success(
    tmp_path: Path,
    write_patient: Callable[..., Any],
    tent_bundle: Bundle,
    lean_environment: dict[str, str],
) -> None:
    for name in ("one", "two", "three"):
        write_patient(tmp_path / "in" / name, name=name)
    out = tmp_path / "out"
    paths = (str(tmp_path / "in"), str(out), str(tent_bundle.folder))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_EARLY, *paths],
        cwd=ROOT,
        env=lean_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["status"] == "interrupted"
    for series in report["series"]:
        assert (series["status"] == "ok") == ("seg" in series["outputs"])
