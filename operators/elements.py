"""Elements of a header, whatever is wrong with them."""

from __future__ import annotations

import math
import struct
import zlib
from functools import lru_cache
from typing import Any

from pydicom import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

#: What pydicom raises on damaged bytes, on reading a file or later on reading one of its elements.
DAMAGED_DICOM_ERRORS = (
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NameError,  # pydicom 3.0.2 meets a truncated sequence with an unbound variable
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def values_of(header: Dataset, element: str | BaseTag) -> tuple[Any, ...]:
    """The values of an element; none where it is absent, empty, a sequence or nonsense.

    Parameters
    ----------
    header
        A data set.
    element
        DICOM keyword or tag. Text comes without padding.
    """
    try:
        found = header.get(_tag_of(element))
        if found is None or found.VR == "SQ":
            return ()
        value = found.value
    # elements are parsed on first use, so a bad one shows only here; a sequence may end in OSError
    except (*DAMAGED_DICOM_ERRORS, OSError):
        return ()
    if type(value) is str:  # the commonest by far
        text = value.strip(" \0")
        return (text,) if text else ()
    values = tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)
    values = tuple(v.strip(" \0") if type(v) is str else v for v in values)
    return () if all(v is None or str(v) == "" for v in values) else values


@lru_cache(maxsize=1024)
def _tag_of(element: str | BaseTag) -> BaseTag:
    return Tag(element)


def numbers_of(header: Dataset, element: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers of an element, or None."""
    values = values_of(header, element)
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
