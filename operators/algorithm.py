"""What made the labels of a segmentation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from operators.errors import OutputError
from operators.uids import derived_uid


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """What made the labels.

    Parameters
    ----------
    name, version, manufacturer
        1 to 64 characters each (LO).
    model_sha256
        Digest of the weights, 64 hexadecimal digits; every training has its own DeviceUID.
    """

    name: str
    version: str
    manufacturer: str
    model_sha256: str

    def __post_init__(self) -> None:
        for text in (self.name, self.version, self.manufacturer):
            if not 1 <= len(text) <= 64 or "\\" in text:
                raise OutputError(f"expected 1 to 64 characters without backslash, found {text!r}")
        if not re.fullmatch("[0-9a-f]{64}", self.model_sha256):
            raise OutputError(
                f"expected 64 hexadecimal digits of a SHA-256, found {self.model_sha256!r}"
            )

    @property
    def DeviceUID(self) -> str:
        """One UID per program, version and set of weights."""
        return derived_uid("device", self.manufacturer, self.name, self.version, self.model_sha256)
