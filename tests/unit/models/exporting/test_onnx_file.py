from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import BundleError
from models.exporting import comparison
from models.exporting.comparison import example
from models.exporting.onnx_file import export_onnx
from tests.unit.models.exporting.small_bundle import KINDS, write_bundle, write_kind

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_same_logits_and_says_what_it_is(kind: str, tmp_path: Path) -> None:
    bundle = write_kind(kind, tmp_path / "two_organs")
    outcome = export_onnx(bundle, tmp_path / "model.onnx")
    assert outcome.largest <= outcome.allowed
    assert [path.name for path in tmp_path.glob("*model*")] == ["model.onnx"]
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    properties = session.get_modelmeta().custom_metadata_map
    assert properties["name"] == "two_organs"
    assert properties["version"] == "0.3.0"
    assert properties["weights_sha256"] == bundle.sha256
    inference = json.loads(properties["inference"])
    assert inference["preprocessing"] == bundle.inference["preprocessing"]
    assert json.loads(properties["labels"])["segments"][0]["number"] == 5
    windows = example(bundle, batch=3, seed=9)
    (found,) = session.run(None, {"image": windows.numpy()})
    with torch.inference_mode():
        expected = bundle.load_network()(windows)
    np.testing.assert_allclose(found, expected.numpy(), atol=outcome.allowed)


def test_what_is_refused_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    monkeypatch.setattr(comparison, "TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="found a difference of"):
        export_onnx(bundle, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["two_organs"]


def test_without_the_packages_it_is_told_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleError, match=r"needs the package onnxruntime.*\[export\]"):
        export_onnx(bundle, tmp_path / "model.onnx")
