"""Models of other makers, exported and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.exporting.monai_folder import export_monai
from models.exporting.onnx_file import export_onnx
from models.exporting.torchscript import export_torchscript
from models.interchange.foreign import ForeignBundle
from models.interchange.reading import read_foreign
from tests.unit.models.exporting.small_bundle import labels_of
from tests.unit.models.interchange.foreign_folders import (
    plans,
    write_nnunet,
    write_zoo_bundle,
    zoo_inference,
)

KINDS = ("zoo", "zoo_scripted", "nnunet")


def foreign(kind: str, folder: Path) -> ForeignBundle:
    if kind == "nnunet":
        write_nnunet(folder, plans(spacing=[6.0, 5.0, 5.0]))
    else:
        inference = zoo_inference(spacing=[5.0, 5.0, 6.0])
        inference["inferer"]["roi_size"] = [48, 32, 16]
        write_zoo_bundle(folder, inference, scripted=kind == "zoo_scripted")
    return read_foreign(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_as_torchscript_and_monai_folder_they_segment_identically(
    tmp_path: Path, kind: str
) -> None:
    bundle = foreign(kind, tmp_path / "model")
    export_torchscript(bundle, tmp_path / "model.ts")
    export_monai(bundle, tmp_path / "monai")
    expected = labels_of(bundle)
    np.testing.assert_array_equal(labels_of(read_foreign(tmp_path / "model.ts")), expected)
    np.testing.assert_array_equal(labels_of(read_foreign(tmp_path / "monai")), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_as_onnx_they_give_the_same_logits(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("onnxruntime")
    outcome = export_onnx(foreign(kind, tmp_path / "model"), tmp_path / "model.onnx")
    assert outcome.largest <= outcome.allowed
