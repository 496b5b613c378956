"""UIDs that follow from what went in, so that a repeated run names its results alike."""

from __future__ import annotations

import hashlib


def derived_uid(*parts: str) -> str:
    """Derive a UID from an ordered list of texts.

    Parameters
    ----------
    parts
        What the UID stands for, at least one text. Order counts, and each part keeps its borders:
        `("ab", "c")` and `("a", "bc")` give different UIDs.

    Returns
    -------
    str
        `2.25.` and the decimal value of a UUID (DICOM PS3.5 B.2), at most 44 characters. The UUID
        is of version 8 (RFC 9562), made of the first 122 bits of a SHA-256.

    Raises
    ------
    ValueError
        Without any part.
    """
    if not parts:
        raise ValueError("expected at least one part to derive a UID from, found none")
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))  # the length marks where a part ends
        digest.update(encoded)
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~(0xF << 76) | (0x8 << 76)  # version
    number = number & ~(0x3 << 62) | (0x2 << 62)  # variant
    return f"2.25.{number}"
