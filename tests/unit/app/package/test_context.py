from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from app.errors import PackagingError
from app.package.context import model_names, stage_application, write_context
from app.package.engine import find_engine
from app.package.settings import MapSettings
from models.bundle import Bundle
from models.bundle_folders import DEFAULT_MODEL, SHIPPED


def test_the_stage_is_what_the_packager_is_given(tmp_path: Path) -> None:
    configuration = stage_application(tmp_path, MapSettings())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "app.yaml", "docs", "models"]
    app = tmp_path / "app"
    assert (app / "__main__.py").is_file()
    assert (app / "operators" / "default_rules.json").is_file()
    assert not (app / "models" / "bundles").exists()
    assert not list(app.rglob("__pycache__"))
    (metadata,) = app.glob("viscera-*.dist-info/METADATA")
    assert f"Version: {configuration.version}\n" in metadata.read_text("utf-8")
    assert "torch==" in (app / "requirements.txt").read_text("utf-8")


def test_the_default_model_alone_is_packaged_where_none_is_given(tmp_path: Path) -> None:
    stage_application(tmp_path, MapSettings())
    assert model_names(tmp_path) == [DEFAULT_MODEL]


def test_only_models_with_weights_are_packaged(tmp_path: Path) -> None:
    stage_application(tmp_path, MapSettings(models=SHIPPED))
    assert model_names(tmp_path) == ["abdomen_unetr_3mm", "abdomen_vnet_3mm"]
    assert len(list(SHIPPED.iterdir())) > 2


def test_a_model_of_ones_own_is_packaged(tmp_path: Path, tiny_bundle: Bundle) -> None:
    stage = tmp_path / "stage"
    stage.mkdir()
    stage_application(stage, MapSettings(models=tiny_bundle.folder))
    assert model_names(stage) == ["tiny"]


def test_a_gpu_is_asked_for_where_one_is_wanted(tmp_path: Path) -> None:
    stage_application(tmp_path, MapSettings(gpu=True))
    document = yaml.safe_load((tmp_path / "app.yaml").read_text("utf-8"))
    assert document["resources"]["gpu"] == 1
    assert document["application"]["inputFormats"] == ["file"]
    assert "cupy-cuda13x==" in (tmp_path / "app" / "requirements.txt").read_text("utf-8")


def test_our_own_sections_stay_in_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    base = (Path(str(SHIPPED)).parents[1] / "app" / "app.yaml").read_text("utf-8")
    config.write_text(base + "\nselections: [{name: x}]\n", "utf-8")
    stage = tmp_path / "stage"
    stage.mkdir()
    stage_application(stage, MapSettings(config=config))
    assert (stage / "app.yaml").read_text("utf-8") == config.read_text("utf-8")


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x", "utf-8")
    with pytest.raises(PackagingError, match="to be empty or an older context"):
        write_context(tmp_path, MapSettings())
    assert (tmp_path / "thesis.txt").is_file()


def test_what_cannot_be_packaged_is_told(tmp_path: Path) -> None:
    for number, (settings, words) in enumerate(
        (
            (MapSettings(config=tmp_path / "none.yaml"), "cannot read the configuration"),
            (MapSettings(models=tmp_path / "none"), "expected a folder of models"),
            (MapSettings(models=SHIPPED / "unetr_btcv"), "models with weights"),
            (MapSettings(wheels=tmp_path), "pip cannot download the wheels of the MAP: ERROR"),
        )
    ):
        with pytest.raises(PackagingError, match=words):
            write_context(tmp_path / str(number), settings)


def test_an_engine_that_does_not_answer_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in (("docker", 1), ("podman", 0)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexit {code}\n", "utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_engine().program == tmp_path / "podman"
    with pytest.raises(PackagingError, match="expected docker to build"):
        find_engine("docker")
    shutil.rmtree(tmp_path)
    with pytest.raises(PackagingError, match="expected docker or podman"):
        find_engine()
