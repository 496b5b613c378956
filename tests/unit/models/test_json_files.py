"""JSON objects in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import BundleError, TrainingError
from models.json_files import read_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"liver": "Größe"}', encoding="utf-8")
    assert read_object(tmp_path / "a.json", TrainingError) == {"liver": "Größe"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"[1]", "found list"),
        (b"{", "found Expecting"),
        (b'"\xff"', "found 'utf-8' codec"),
        (b"[" * 200_000, "found maximum recursion depth"),
        (b"9" * 5000, "found Exceeds the limit"),
    ],
)
def test_anything_else_is_told_with_its_path(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=rf"a\.json: expected a JSON object, {found}"):
        read_object(path, BundleError)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"a\.json: expected a JSON object, found .*No such"):
        read_object(tmp_path / "a.json", TrainingError)
