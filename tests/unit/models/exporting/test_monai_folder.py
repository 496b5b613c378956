from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.errors import BundleError
from models.exporting import comparison
from models.exporting.monai_folder import export_monai
from models.interchange.reading import read_foreign
from tests.unit.models.exporting.small_bundle import KINDS, labels_of, write_bundle, write_kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_monai_folder_segments_identically(kind: str, tmp_path: Path) -> None:
    bundle = write_kind(kind, tmp_path / "two_organs")
    export_monai(bundle, tmp_path / "monai")
    again = read_foreign(tmp_path / "monai")
    assert again.segments == bundle.segments
    assert again.preprocessing == bundle.preprocessing
    assert again.sliding_window == bundle.sliding_window
    assert again.is_scripted == (bundle.dimensions == 2)
    np.testing.assert_array_equal(labels_of(again), labels_of(bundle))
    assert (tmp_path / "monai/docs/README.md").read_text() == "# Two organs\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["monai", "two_organs"]


def test_what_is_refused_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    monkeypatch.setattr(comparison, "TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="found a difference of"):
        export_monai(bundle, tmp_path / "monai")
    assert [path.name for path in tmp_path.iterdir()] == ["two_organs"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    with pytest.raises(BundleError, match="expected a new or empty folder"):
        export_monai(bundle, tmp_path / "two_organs")
    assert Bundle.read(tmp_path / "two_organs").sha256 == bundle.sha256
