"""Folders that an orchestrator names by variables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main_map


@pytest.mark.parametrize("older", [True, False])
def test_the_first_app_sdks_variables_beat_those_that_a_map_sets(
    older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MAP always has HOLOSCAN_INPUT_PATH, so MONAI_INPUTPATH is there only on purpose."""
    for name in ("in", "holoscan", "monai"):
        (tmp_path / name).mkdir()
    monkeypatch.delenv("HOLOSCAN_MODEL_PATH", raising=False)
    monkeypatch.delenv("HOLOSCAN_CONFIG_PATH", raising=False)
    monkeypatch.delenv("MONAI_MODELPATH", raising=False)
    monkeypatch.setenv("HOLOSCAN_INPUT_PATH", str(tmp_path / "in"))
    monkeypatch.setenv("HOLOSCAN_OUTPUT_PATH", str(tmp_path / "holoscan"))
    monkeypatch.setenv("MONAI_INPUTPATH", str(tmp_path / "in"))
    monkeypatch.setenv("MONAI_OUTPUTPATH", str(tmp_path / "monai") if older else "")
    assert main_map([]) == 10
    written = tmp_path / ("monai" if older else "holoscan") / "report.json"
    assert json.loads(written.read_text("utf-8"))["status"] == "unreadable_input"
