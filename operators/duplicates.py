"""Images that are stored more than once: same place, same pixels, another SOPInstanceUID."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from operators.decoders import FrameFormat
from operators.elements import numbers_of, values_of
from operators.errors import NothingUsableError, PixelDataError
from operators.frame_bytes import lies_in_words, read_frame
from operators.frame_groups import FrameGroup
from operators.series import Frame
from operators.slice_checks import POSITION_TOLERANCE_MM

#: Transfer syntaxes that store the same bytes for the same pixels.
_LITTLE_ENDIAN = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
)
_SIZES = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
#: What else decides on the Hounsfield units that the bytes of a frame stand for.
_MEANING = (
    "PhotometricInterpretation",
    "HighBit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)


def find_copies(group: FrameGroup, *, everywhere: bool = False) -> NDArray[np.bool_]:
    """Find images that are copies of others at their position.

    Pixels are compared as stored, in the same form and with the same rescaling; the same pixels
    in another compression are no copy. Of equal ones the first is not counted as a copy.

    Parameters
    ----------
    group
        Of frames with positions, in the order of preference.
    everywhere
        Compare at every position that is taken more than once; otherwise compare at the lowest of
        them, and at the others only if a copy was found there, so that two acquisitions cost no
        more reading than that of one position.

    Returns
    -------
    numpy.ndarray
        `(n,)` bool, true for the copies.
    """
    copies = np.zeros(len(group.frames), np.bool_)
    places = group.places()
    order = np.argsort(places, kind="stable")
    at_places = np.split(order, np.flatnonzero(np.diff(places[order])) + 1)
    shared = [of.tolist() for of in at_places if len(of) > 1]
    for n, of in enumerate(shared):
        copies[_copies_among(group, of)] = True
        if n == 0 and not everywhere and not copies.any():
            break
    return copies


def _copies_among(group: FrameGroup, of: list[int]) -> list[int]:
    originals: dict[bytes, int] = {}
    copies = []
    for n in of:
        digest = _digest(group.frames[n])
        if digest is None:
            continue
        first = originals.setdefault(digest, n)
        apart_mm = np.linalg.norm(group.positions_mm[n] - group.positions_mm[first])
        if n != first and apart_mm <= POSITION_TOLERANCE_MM:
            copies.append(n)
    return copies


def _digest(frame: Frame) -> bytes | None:
    """Of all that makes the Hounsfield units; None where the pixels cannot be compared.

    Decoding such an image, if it comes to that, says what is wrong with it.
    """
    meta = getattr(frame.instance.header, "file_meta", None)
    sizes = [numbers_of(frame.header, keyword, 1) for keyword in _SIZES]
    numbers = [int(size[0]) for size in sizes if size is not None]
    if meta is None or len(numbers) < len(sizes):
        return None
    rows, columns, allocated, stored, sign = numbers
    try:
        form = FrameFormat(
            rows=rows,
            columns=columns,
            bits_allocated=allocated,
            bits_stored=stored,
            signed=bool(sign),
            as_words=lies_in_words(frame),
        )
        pixels = read_frame(frame, form)
    except (PixelDataError, NothingUsableError):
        return None
    syntax = str(meta.TransferSyntaxUID)
    meaning = [_meaning(frame, keyword) for keyword in _MEANING]
    bytes_of = "little endian" if syntax in _LITTLE_ENDIAN else syntax
    digest = hashlib.sha256(repr((bytes_of, form.as_words, numbers, meaning)).encode())
    digest.update(pixels)
    return digest.digest()


def _meaning(frame: Frame, keyword: str) -> tuple[float, ...] | tuple[str, ...]:
    found = numbers_of(frame.header, keyword, 1)
    return found or tuple(map(str, values_of(frame.header, keyword)))
