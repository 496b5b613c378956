from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from app.cli import main, main_map
from models.bundle import Bundle

NAMES = ("HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH", "HOLOSCAN_MODEL_PATH", "HOLOSCAN_WORKDIR")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def status(folder: Path) -> str:
    found: str = json.loads((folder / "report.json").read_text("utf-8"))["status"]
    return found


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"viscera {version('viscera')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment"],
        ["segment", "folder"],
        ["segment", "folder", "-o", "out", "--fast"],
        ["train", "--data", "data"],
        ["demo", "--seed", "one"],
    ],
)
def test_wrong_arguments_end_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: viscera" in capsys.readouterr().err


def test_a_map_needs_its_folders_from_somewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main_map(["-i", "in"])
    assert end.value.code == 2
    assert "HOLOSCAN_OUTPUT_PATH" in capsys.readouterr().err


def test_a_map_runs_on_the_environment_alone(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = (ct_folder, tmp_path / "out", liver_bundle.folder.parent)
    for name, value in zip(NAMES, values, strict=False):
        monkeypatch.setenv(name, str(value))
    assert main_map([]) == 0
    assert status(tmp_path / "out") == "ok"


def test_a_map_takes_the_rules_of_its_configuration_file(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "app.yaml"
    monkeypatch.setenv("HOLOSCAN_CONFIG_PATH", str(config))
    arguments = ["-i", str(ct_folder), "-m", str(liver_bundle.folder), "-o"]
    config.write_text("selections: [{where: [{slices: '> 8'}]}]")
    assert main_map([*arguments, str(tmp_path / "none")]) == 11
    assert status(tmp_path / "none") == "nothing_selected"
    config.write_text("selections: [{where: [{slices: 8}]}]\nselections: []")
    assert main_map([*arguments, str(tmp_path / "bad")]) == 2
    assert status(tmp_path / "bad") == "bad_rules"


def test_flags_of_a_map_beat_the_environment_one_by_one(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES[:3]:
        monkeypatch.setenv(name, str(tmp_path / "wrong"))
    flags = {"-i": ct_folder, "-o": tmp_path / "out", "-m": liver_bundle.folder}
    assert main_map([part for flag, path in flags.items() for part in (flag, str(path))]) == 0
    assert not (tmp_path / "wrong").exists()
    assert main_map(["-i", str(ct_folder), "-o", str(tmp_path / "two")]) == 14
    assert status(tmp_path / "two") == "bad_model"


def test_relative_paths_of_a_map_start_from_the_current_folder(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A work folder is taken, since the App SDK passes one, and left alone."""
    (tmp_path / "input").symlink_to(ct_folder)
    (tmp_path / "var").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = ["-i", "input", "-o", "output", "-w", str(tmp_path / "var")]
    assert main_map([*arguments, "-m", str(liver_bundle.folder)]) == 0
    assert status(tmp_path / "output") == "ok"
    assert list((tmp_path / "var").iterdir()) == []


def test_app_sdk_spellings_are_understood(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle
) -> None:
    paths = ["--input", str(ct_folder), "--output", str(tmp_path), "--models", "x"]
    paths[-1] = str(liver_bundle.folder)
    assert main_map([*paths, "--log-level", "warn", "--device", "cpu"]) == 0
    paths[-2] = "--model_path"
    assert main_map([*paths, "-l", "DEBUG"]) == 0


def test_results_go_to_standard_output_and_progress_to_standard_error(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the process, so that words of the engine beneath would show too."""
    arguments = ["segment", str(ct_folder), "-o", str(tmp_path), "-m", str(liver_bundle.folder)]
    assert main(arguments) == 0
    streams = capfd.readouterr()
    assert streams.out.startswith("Series:\n  chosen  2.25.")
    assert streams.out.endswith("status   ok\n")
    assert "write SEG: 100 %\n" in streams.err
    assert "viscera:" not in streams.err


def test_quiet_leaves_only_the_error(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    models = str(liver_bundle.folder)
    assert main(["segment", str(ct_folder), "-o", str(tmp_path), "-m", models, "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    liver_bundle.weights.unlink()
    assert main(["segment", str(ct_folder), "-o", str(tmp_path), "-m", models, "-q"]) == 14
    streams = capfd.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("viscera: all_liver: no weights")
    assert len(streams.err.splitlines()) == 1


def test_a_defect_shows_where_but_never_quotes_and_asks_for_a_report(
    tmp_path: Path,
    ct_folder: Path,
    liver_bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def faulty(quiet: bool) -> Callable[[str, float], Any]:
        raise ZeroDivisionError("".join(("Sur", "name")))

    monkeypatch.setattr("app.cli.make_progress", faulty)
    models = str(liver_bundle.folder)
    assert main(["segment", str(ct_folder), "-o", str(tmp_path), "-m", models]) == 1
    error = capsys.readouterr().err
    assert "in faulty" in error
    assert "Surname" not in error
    assert "ZeroDivisionError" in error
    assert "please report it" in error.splitlines()[-1]


def test_an_error_of_training_is_a_sentence(
    tmp_path: Path, liver_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "none.json"
    models = str(liver_bundle.folder)
    arguments = ["evaluate", "--data", str(tmp_path), "-m", models, "--config", str(config)]
    assert main(arguments) == 20
    assert capsys.readouterr().err.startswith(f"viscera: {config}: expected a JSON object, found ")
