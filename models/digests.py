"""Digests of files: what says that weights or data are the ones that were meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK_BYTES = 1 << 20


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, block by block; raises OSError where it is not readable."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
