from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.errors import PackagingError
from app.package import layout
from app.package.manifests import (
    MapConfiguration,
    app_manifest,
    completed,
    monai_manifest,
    package_manifest,
    read_configuration,
)
from operators.rules import default_rules, parse_rules

NAME = Path("app.yaml")
PACKAGER = """
application: {title: organs, version: 1.2.3, input-formats: [file], output-formats: [file, screen]}
resources: {cpu: 1, gpu: 1, memory: 2Gi}
"""
SPECIFICATION = PACKAGER.replace("input-formats", "inputFormats").replace(
    "output-formats", "outputFormats"
)
CONFIGURATION = MapConfiguration("organs", "1.2.3", ("file",), ("file", "screen"), {"gpu": 1})


@pytest.mark.parametrize("text", [PACKAGER, SPECIFICATION])
def test_both_spellings_of_formats_are_understood(text: str) -> None:
    found = read_configuration(text, NAME)
    assert (found.input_formats, found.output_formats) == (("file",), ("file", "screen"))
    assert (found.title, found.version) == ("organs", "1.2.3")
    assert found.resources == {"cpu": 1, "gpu": 1, "memory": "2Gi"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "YAML"),
        ("resources: {}", "`application`"),
        ("application: {title: x, version: 1.0.0}", "`resources`"),
        ("application: {title: x, version: 1.0}\nresources: {}", "application.version, found 1.0"),
        (PACKAGER.replace("[file]", "file"), "inputFormats, found 'file'"),
    ],
)
def test_an_unusable_configuration_is_told(text: str, words: str) -> None:
    with pytest.raises(PackagingError, match=words):
        read_configuration(text, NAME)


def test_the_applications_manifest_has_what_the_specification_asks_for() -> None:
    manifest = app_manifest(CONFIGURATION, "4.0.0")
    assert manifest["type"] == "application"
    assert json.loads(manifest["command"]) == ["python3", layout.APP]
    assert manifest["output"]["format"] == "file"
    assert manifest["output"]["formats"] == ["file", "screen"]
    asked = {"INPUT_PATH", "OUTPUT_PATH", "WORKDIR", "MODEL_PATH", "CONFIG_PATH", "DOCS", "LOGS"}
    assert {f"HOLOSCAN_{name}" for name in asked} <= set(manifest["environment"])


def test_models_are_an_array_in_order() -> None:
    assert package_manifest(CONFIGURATION, ["b", "a"])["models"] == [
        {"name": "a", "path": "a"},
        {"name": "b", "path": "b"},
    ]


def test_the_older_manifest_has_a_command_of_the_shell() -> None:
    manifest = monai_manifest(CONFIGURATION, "4.0.0")
    assert manifest["command"] == "/var/holoscan/tools flat"
    assert manifest["environment"]["MONAI_INPUTPATH"] == "/var/holoscan/input"


def test_the_packagers_manifest_is_completed_and_else_kept() -> None:
    written = {
        "command": "theirs",
        "input": {"path": "input/", "formats": None},
        "readiness": None,
        "models": {"a": "/opt/holoscan/models/a"},
        "added": 1,
    }
    full = {
        "command": "ours",
        "type": "application",
        "input": {"path": "elsewhere", "formats": ["file"]},
        "readiness": None,
        "models": [{"name": "a", "path": "a"}],
    }
    assert completed(written, full) == {
        "command": "theirs",
        "type": "application",
        "input": {"path": "input/", "formats": ["file"]},
        "readiness": None,
        "models": [{"name": "a", "path": "a"}],
        "added": 1,
    }


def test_the_configuration_that_comes_with_the_program_is_of_its_version() -> None:
    root = Path(__file__).parents[4]
    found = read_configuration((root / "app" / "app.yaml").read_text("utf-8"), NAME)
    assert f'version = "{found.version}"' in (root / "pyproject.toml").read_text("utf-8")
    assert found.title == "viscera"


def test_the_rules_of_our_own_app_yaml_are_the_default_ones() -> None:
    text = (Path(__file__).parents[4] / "app.yaml").read_text("utf-8")
    assert parse_rules(text) == default_rules()
