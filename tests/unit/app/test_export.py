from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from app.export import FORMATS, add_command
from models.errors import BundleError
from operators.errors import OutputError
from tests.unit.models.exporting.small_bundle import write_bundle


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    parsed = parser.parse_args(["export", *arguments])
    code: int = parsed.command(parsed)
    return code


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_written_and_its_difference_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    write_bundle(tmp_path / "models" / "two_organs")
    out = tmp_path / "out"
    code = run(
        "--model", "two_organs", "-m", str(tmp_path / "models"), "--format", form, "-o", str(out)
    )
    assert code == 0
    assert out.exists()
    told = capsys.readouterr().out
    assert "two_organs 0.3.0; largest difference " in told
    assert "over 4 windows" in told


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write_bundle(tmp_path / "models" / "two_organs")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run(
            "-m",
            str(tmp_path / "models"),
            "--format",
            "torchscript",
            "-o",
            str(tmp_path / "file" / "x"),
        )


def test_an_unknown_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a model named 'nobody'"):
        run("--model", "nobody", "--format", "onnx", "-o", str(tmp_path / "x"))
