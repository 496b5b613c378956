"""What a network's classes mean: names, codes and colours of the segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import BundleError


@dataclass(frozen=True, kw_only=True)
class Code:
    """A coded concept (DICOM PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str

    @classmethod
    def from_json(cls, entry: Mapping[str, str]) -> Code:
        return cls(value=entry["value"], scheme=entry["scheme"], meaning=entry["meaning"])


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One organ.

    Parameters
    ----------
    number
        Its value in label maps and its SegmentNumber, from 1.
    name
        Key in snake case, such as `kidney_left`.
    label
        Text for people, SegmentLabel (LO, at most 64 characters).
    category, type, modifier
        SegmentedPropertyCategory, SegmentedPropertyType and its laterality, where there is one.
    rgb
        Recommended display colour, sRGB, 0 to 255.
    """

    number: int
    name: str
    label: str
    category: Code
    type: Code
    modifier: Code | None
    rgb: tuple[int, int, int]

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 254:
            raise BundleError(f"expected a segment number of 1 to 254, found {self.number}")
        if not 1 <= len(self.label) <= 64:
            raise BundleError(f"expected a label of 1 to 64 characters, found {self.label!r}")
        if len(self.rgb) != 3 or not all(0 <= value <= 255 for value in self.rgb):
            raise BundleError(f"expected three colour values of 0 to 255, found {self.rgb}")

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Segment:
        """Read one entry of a bundle's `configs/labels.json`."""
        try:
            modifier = entry.get("modifier")
            red, green, blue = entry["rgb"]
            return cls(
                number=int(entry["number"]),
                name=str(entry["name"]),
                label=str(entry["label"]),
                category=Code.from_json(entry["category"]),
                type=Code.from_json(entry["type"]),
                modifier=None if modifier is None else Code.from_json(modifier),
                rgb=(int(red), int(green), int(blue)),
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise BundleError(f"a segment's entry is incomplete or malformed: {exc!r}") from exc
