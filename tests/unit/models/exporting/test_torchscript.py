from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import BundleError
from models.exporting import comparison
from models.exporting.torchscript import export_torchscript
from models.interchange.reading import read_foreign
from tests.unit.models.exporting.small_bundle import KINDS, labels_of, write_bundle, write_kind


@pytest.mark.parametrize("kind", KINDS)
def test_torchscript_segments_identically(kind: str, tmp_path: Path) -> None:
    bundle = write_kind(kind, tmp_path / "two_organs")
    outcome = export_torchscript(bundle, tmp_path / "out" / "model.ts")
    assert outcome.windows == 4
    assert outcome.largest <= 1e-5
    again = read_foreign(tmp_path / "out" / "model.ts")
    assert (again.name, again.version) == ("two_organs", "0.3.0")
    assert again.segments == bundle.segments
    assert again.preprocessing == bundle.preprocessing
    assert again.single_pieces == bundle.single_pieces
    expected = labels_of(bundle)
    assert 0 < (expected == 5).mean() < 1
    np.testing.assert_array_equal(labels_of(again), expected)


def test_what_is_refused_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    monkeypatch.setattr(comparison, "TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="found a difference of"):
        export_torchscript(bundle, tmp_path / "model.ts")
    assert [path.name for path in tmp_path.iterdir()] == ["two_organs"]


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    bundle.weights.unlink()
    with pytest.raises(BundleError, match="no weights"):
        export_torchscript(bundle, tmp_path / "model.ts")
    assert not (tmp_path / "model.ts").exists()
