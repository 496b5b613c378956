from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.run_settings import RunSettings
from app.runner import Runner, read_rules
from models.bundle import Bundle
from models.errors import BundleError
from operators.errors import RulesError
from operators.rules import default_rules, parse_rules


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    runner = Runner(RunSettings(models=tmp_path / "nowhere"))
    with pytest.raises(BundleError):
        assert runner.models.segmenter()


def test_the_network_is_loaded_once(liver_bundle: Bundle) -> None:
    runner = Runner(RunSettings(models=liver_bundle.folder, device="cpu"))
    first = runner.models.segmenter()
    liver_bundle.weights.unlink()
    assert runner.models.segmenter() is first
    assert first.bundle.sha256 == liver_bundle.sha256


def test_a_model_that_came_late_is_found_by_the_next_run(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle
) -> None:
    hidden = liver_bundle.folder.rename(tmp_path / "hidden")
    runner = Runner(RunSettings(models=liver_bundle.folder, device="cpu"))
    report = runner.run(ct_folder, tmp_path / "out")
    assert (report.outcome.status, report.segmenters) == ("bad_model", ())
    hidden.rename(liver_bundle.folder)
    report = runner.run(ct_folder, tmp_path / "out")
    assert report.outcome.status == "ok"
    assert report.segmenters == (runner.models.segmenter(),)


def test_bad_rules_are_told_before_the_model_is_loaded(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle
) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('{"selections": [{"name": "a", "conditions": {"Modalty": "CT"}}]}')
    runner = Runner(RunSettings(models=liver_bundle.folder, rules=rules))
    report = runner.run(ct_folder, tmp_path / "out")
    assert report.outcome.status == "bad_rules"
    assert "selections[0].conditions.Modalty" in report.message
    assert report.segmenters == ()


def test_the_default_rules_apply_where_none_are_named() -> None:
    assert read_rules(None) == default_rules()


def test_a_configuration_counts_only_where_it_has_rules_and_no_file_is_named(
    tmp_path: Path,
) -> None:
    config, rules = tmp_path / "app.yaml", tmp_path / "rules.json"
    config.write_text("application: {title: x}")
    assert read_rules(None, config) == default_rules()
    config.write_text("application: {title: x}\nselections: [{conditions: {Modality: CT}}]")
    rules.write_text('{"selections": [{"conditions": {"Modality": "MR"}}]}')
    assert read_rules(None, config) == parse_rules(
        {"selections": [{"conditions": {"Modality": "CT"}}]}
    )
    assert read_rules(rules, config) == parse_rules(rules.read_text())
    config.write_text("selections: []")
    with pytest.raises(RulesError, match="at least one"):
        read_rules(None, config)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"[]"])
def test_a_rules_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "rules.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RulesError):
        read_rules(path)


class Faulty:
    """A defect in the middle of a run."""

    closed = False

    def __call__(self, stage: str, share: float) -> None:
        if stage == "segment":
            raise ZeroDivisionError("a defect")

    def close(self) -> None:
        self.closed = True


def test_a_defect_comes_out_as_itself_after_the_report_is_written(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle
) -> None:
    progress = Faulty()
    runner = Runner(RunSettings(models=liver_bundle.folder, device="cpu"))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        runner.run(ct_folder, tmp_path / "out", progress)
    assert progress.closed
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert (report["status"], report["exit_code"]) == ("internal_error", 1)
    assert report["message"] == "a defect of the program: ZeroDivisionError"
    assert len(report["selection"]) == 1
    (series,) = report["series"]
    assert series["outputs"] == {}
    assert (series["status"], series["message"]) == ("unfinished", "")


def test_a_report_that_cannot_be_written_does_not_hide_the_defect(
    tmp_path: Path, ct_folder: Path, liver_bundle: Bundle
) -> None:
    out = tmp_path / "out"

    class Sabotage(Faulty):
        def __call__(self, stage: str, share: float) -> None:
            if out.is_dir():
                out.rmdir()
                out.write_text("a file, not a folder")
            super().__call__(stage, share)

    runner = Runner(RunSettings(models=liver_bundle.folder, device="cpu"))
    with pytest.raises(ZeroDivisionError):
        runner.run(ct_folder, out, Sabotage())
