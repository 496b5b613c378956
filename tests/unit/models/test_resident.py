from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.bundle_folders import SHIPPED
from models.errors import BundleError
from models.resident import ResidentModels


def test_a_model_is_loaded_once_whether_it_is_named_or_the_only_one(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "abdomen_vnet_3mm", tmp_path / "abdomen_vnet_3mm")
    models = ResidentModels(tmp_path, device="cpu")
    assert models.loaded == ()
    first = models.segmenter()
    assert models.segmenter("abdomen_vnet_3mm") is models.segmenter() is first
    assert models.loaded == (first,)


def test_each_name_is_a_network_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(SHIPPED / "abdomen_vnet_3mm", tmp_path / name)
    models = ResidentModels(tmp_path, "two", "cpu")
    assert models.segmenter().bundle.name == "two"
    assert models.segmenter("one") is not models.segmenter("two")
    assert [segmenter.bundle.name for segmenter in models.loaded] == ["two", "one"]


def test_an_unknown_model_stays_unknown(tmp_path: Path) -> None:
    models = ResidentModels(device="cpu")
    for _ in range(2):
        with pytest.raises(BundleError, match="no_such_model"):
            models.segmenter("no_such_model")
    assert models.loaded == ()
