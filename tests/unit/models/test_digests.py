"""Digests of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from models.digests import BLOCK_BYTES, sha256_of_file


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_file_of_any_length_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = bytes(n % 251 for n in range(size))
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_an_absent_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        sha256_of_file(tmp_path / "absent")
