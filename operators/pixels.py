"""From the pixel data of CT frames to Hounsfield units.

Pixel data is read from where the header's reading found it, one frame at a time, and decoded by
the decoder that `operators.decoders` names for its transfer syntax. `decode_slices` keeps every
core busy with compressed frames: decoders release Python's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from operators.decoders import FrameFormat, decode_frame, decoder_for
from operators.elements import numbers_of, values_of
from operators.errors import NothingUsableError, PixelDataError
from operators.frame_bytes import is_encapsulated, lies_in_words, read_frame
from operators.series import Frame

#: Air outside the reconstruction circle is stored as anything from -1024 down to -32768
#: (PixelPaddingValue, often not declared); all of it becomes this value.
LEAST_HU = -1024
GREATEST_HU = 32767

#: RescaleType (PS3.3 C.11.1.1.2) of Hounsfield units. Old CT images leave it out, and some
#: writers put "unspecified"; anything else (electron density, effective Z) is no HU.
HU_RESCALE_TYPES = frozenset({"HU", "HU_MOD", "US", ""})

#: No CT scanner rescales by more.
_GREATEST_RESCALE = 1e6

#: Frames begun ahead of the one that is asked for, for each thread.
_AHEAD = 2


def decode_slices(frames: Sequence[Frame]) -> Iterator[NDArray[np.int16]]:
    """Decode frames in order, compressed ones on all cores, a few ahead of what is asked for.

    Raises
    ------
    PixelDataError
        As `decode_hu`, for the first frame in order that fails; those behind it are given up.
    """
    if not any(is_encapsulated(f.instance.header.file_meta.TransferSyntaxUID) for f in frames):
        yield from map(decode_hu, frames)  # quicker done than handed over
        return
    workers = len(os.sched_getaffinity(0))
    left = iter(frames)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[NDArray[np.int16]]] = deque()
        try:
            for frame in islice(left, _AHEAD * workers):
                waiting.append(pool.submit(decode_hu, frame))
            while waiting:
                yield waiting.popleft().result()
                for frame in islice(left, 1):
                    waiting.append(pool.submit(decode_hu, frame))
        finally:
            for future in waiting:
                future.cancel()


def decode_hu(frame: Frame) -> NDArray[np.int16]:
    """Read, decode and rescale one frame.

    Its own RescaleSlope and RescaleIntercept are applied and the result is rounded to the nearest
    integer. Values below -1024 HU, which nothing in a patient has, become -1024, and so does
    padding (PixelPaddingValue, PixelPaddingRangeLimit; PS3.3 C.7.5.1.1.2) that reaches the border
    of the image, whatever it would be in HU.

    Parameters
    ----------
    frame
        Of a MONOCHROME2 CT image (PS3.3 A.3, A.38), in any transfer syntax of `decoders`.

    Returns
    -------
    numpy.ndarray
        `(H, W)` int16, in HU.

    Raises
    ------
    PixelDataError
        If the pixels are absent, cut short, not decodable or no Hounsfield units.
    """
    try:
        form = _form(frame)
        slope, intercept = _rescale(frame.header)
        syntax = frame.instance.header.file_meta.TransferSyntaxUID
        decoder_for(syntax)  # before bytes are looked for that nobody could decode
        stored = decode_frame(read_frame(frame, form), syntax, form)
    except (PixelDataError, NothingUsableError) as exc:
        raise PixelDataError(f"image {frame.name}: {exc}") from exc
    hu = _rescaled(stored, slope, intercept)
    padding = _padding(frame.header, stored)
    if padding is not None:
        hu[padding] = LEAST_HU
    return hu


def _form(frame: Frame) -> FrameFormat:
    header = frame.header

    def expect(keyword: str, *allowed: object) -> None:
        values = values_of(header, keyword)
        if len(values) != 1 or values[0] not in allowed:
            found = "\\".join(map(str, values)) or "nothing"
            raise PixelDataError(
                f"expected {keyword} {' or '.join(map(str, allowed))}, found {found}"
            )

    expect("PhotometricInterpretation", "MONOCHROME2")
    expect("SamplesPerPixel", 1)
    expect("PixelRepresentation", 0, 1)
    expect("BitsAllocated", 8, 16, 32)
    allocated = int(header.BitsAllocated)
    stored = int((numbers_of(header, "BitsStored", 1) or (0.0,))[0])
    if not 1 <= stored <= allocated:
        raise PixelDataError(f"expected BitsStored 1 to {allocated}, found {stored}")
    if values_of(header, "HighBit"):
        expect("HighBit", stored - 1)
    return FrameFormat(
        rows=int(header.Rows),
        columns=int(header.Columns),
        bits_allocated=allocated,
        bits_stored=stored,
        signed=bool(header.PixelRepresentation),
        as_words=lies_in_words(frame),
    )


def _rescale(header: Dataset) -> tuple[float, float]:
    slope = numbers_of(header, "RescaleSlope", 1)
    intercept = numbers_of(header, "RescaleIntercept", 1)
    kind = str(next(iter(values_of(header, "RescaleType")), ""))
    if (
        slope is None
        or intercept is None
        or slope[0] == 0
        or max(abs(slope[0]), abs(intercept[0])) > _GREATEST_RESCALE
    ):
        raise PixelDataError(
            "expected RescaleSlope and RescaleIntercept, found "
            f"{values_of(header, 'RescaleSlope')} and {values_of(header, 'RescaleIntercept')}"
        )
    if kind not in HU_RESCALE_TYPES:
        raise PixelDataError(f"expected Hounsfield units, found RescaleType {kind}")
    return slope[0], intercept[0]


def _rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.int16]:
    if slope == 1 and intercept == round(intercept):
        least, greatest = int(stored.min()) + intercept, int(stored.max()) + intercept
        if least >= -32768 and greatest <= GREATEST_HU and abs(intercept) <= GREATEST_HU:
            # modular arithmetic: the sum fits, so it does not matter that a term may not
            small = stored.astype(np.int16)
            small += np.int16(intercept)
            return np.maximum(small, LEAST_HU, out=small)
    hu = stored.astype(np.float64)
    hu *= slope
    hu += intercept
    np.rint(hu, out=hu)
    np.clip(hu, LEAST_HU, GREATEST_HU, out=hu)
    return hu.astype(np.int16)


def _padding(header: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where padding reaches the border; None where there is none.

    Only there is it outside the field of view: some writers declare 0, and within the patient 0
    is water.
    """
    first = numbers_of(header, "PixelPaddingValue", 1)
    if first is None:
        return None
    last = numbers_of(header, "PixelPaddingRangeLimit", 1) or first
    least, greatest = sorted((first[0], last[0]))
    padding = (stored >= least) & (stored <= greatest)
    if not padding.any():
        return None
    regions, _ = ndimage.label(padding)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    outside: NDArray[np.bool_] = np.isin(regions, np.unique(edge[edge > 0]))
    return outside if outside.any() else None
