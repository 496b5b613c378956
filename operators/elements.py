"""Elements of a header, whatever is wrong with them."""

from __future__ import annotations

import math
import struct
import zlib
from functools import lru_cache
from typing import Any

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
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


#: VRs of text in the default repertoire without meaning in their spaces (PS3.5 6.2).
_ASCII_TEXT = frozenset({"CS", "UI", "DA", "TM", "AS"})


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
        tag = _tag_of(element)
        quick = _plain_values(header, tag)
        if quick is not None:
            return quick
        found = header.get(tag)
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


def _plain_values(header: Dataset, tag: BaseTag) -> tuple[Any, ...] | None:
    """What `values_of` returns for ASCII text and short integers, without pydicom's elements.

    Making those takes most of the time of reading headers. None leaves an element to pydicom.
    """
    raw = header._dict.get(tag)
    if type(raw) is not RawDataElement or type(raw.value) is not bytes:
        return None
    if raw.VR in _ASCII_TEXT and raw.value.isascii():
        texts = tuple(text.strip(" \0") for text in raw.value.decode("ascii").split("\\"))
        return texts if any(texts) else ()
    if raw.VR == "US" and len(raw.value) == 2:
        return (int.from_bytes(raw.value, "little" if raw.is_little_endian else "big"),)
    return None


def _decimals(header: Dataset, tag: BaseTag) -> tuple[bytes, ...] | None:
    """The texts of a decimal or integer string that pydicom has not parsed yet, else None."""
    raw = header._dict.get(tag)
    if type(raw) is not RawDataElement or raw.VR not in ("DS", "IS") or not raw.value:
        return None
    texts = raw.value.split(b"\\")
    return tuple(text.strip(b" \0") for text in texts)


@lru_cache(maxsize=1024)
def _tag_of(element: str | BaseTag) -> BaseTag:
    return Tag(element)


def numbers_of(header: Dataset, element: str, count: int) -> tuple[float, ...] | None:
    """Exactly `count` finite numbers of an element, or None."""
    try:
        values: tuple[Any, ...] | None = _decimals(header, _tag_of(element))
        if values is None:
            values = values_of(header, element)
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
