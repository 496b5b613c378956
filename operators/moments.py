"""Dates and times of a header as numbers that can be put in order (PS3.5 section 6.2)."""

from __future__ import annotations

import re
from typing import Any

from pydicom import Dataset

from operators.elements import values_of

#: Digits before the fraction of a second, by value representation.
MOMENT_DIGITS = {"DA": 8, "TM": 6, "DT": 14}

_FRACTION_DIGITS = 6


def moment(value: Any, vr: str) -> int | None:
    """A DA, TM or DT as a whole number, larger where later; None where it is none.

    Numbers of one value representation can be compared. What is left out counts as zero, and the
    offset from UTC is ignored: it is the same on one scanner.
    """
    text = str(value).strip().replace(":", "")
    if vr == "DA":
        text = re.sub(r"^(\d{4})\.(\d\d)\.", r"\1\2", text)  # as ACR-NEMA wrote dates
    found = re.fullmatch(r"([0-9]{2,14})(?:\.([0-9]{1,6}))?([+-][0-9]{4})?", text)
    if found is None or len(found[1]) > MOMENT_DIGITS[vr]:
        return None
    fraction = found[2] or ""
    return int(found[1].ljust(MOMENT_DIGITS[vr], "0") + fraction.ljust(_FRACTION_DIGITS, "0"))


def acquisition_moment(header: Dataset) -> int | None:
    """When an image was acquired; None where no AcquisitionDateTime or -Time tells."""
    for value in values_of(header, "AcquisitionDateTime")[:1]:
        return moment(value, "DT")
    for time in values_of(header, "AcquisitionTime")[:1]:
        date = "".join(str(d) for d in values_of(header, "AcquisitionDate")[:1])
        return moment(f"{date or '00010101'}{time}".replace(":", ""), "DT")
    return None
