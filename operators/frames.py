"""The frames of an instance, each with the header that a single-frame image would have."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from operators.elements import numbers_of, values_of
from operators.errors import VolumeError
from operators.functional_groups import items_of, single_frame_headers
from operators.series import Frame, Instance

_MULTI_FRAME_CLASSES = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)


def frames_of(instance: Instance) -> tuple[Frame, ...]:
    """The frames of a CT image.

    Parameters
    ----------
    instance
        A single-frame or multi-frame CT image (PS3.3 A.3, A.38, A.70). Of a concatenation
        (C.7.6.16.2.2.4), each instance holds frames of its own.

    Returns
    -------
    tuple of Frame
        In order of their number, at least one. The headers of a multi-frame image's frames share
        elements: they are to be read, not changed.

    Raises
    ------
    VolumeError
        If NumberOfFrames contradicts the kind of image, its functional groups or the length of its
        pixel data, or if functional groups cannot be read or contradict themselves.
    """
    header, name = instance.header, f"image {instance.SOPInstanceUID}"
    if header.SOPClassUID not in _MULTI_FRAME_CLASSES:
        _check_single(header, name)
        return (Frame(instance=instance, number=1, header=header),)
    groups = items_of(header, "PerFrameFunctionalGroupsSequence", name)
    count = _stated_count(header, name)
    if len(groups) != count:
        raise VolumeError(
            f"{name}: expected functional groups for each of {count} frames, found {len(groups)}"
        )
    _check_length(instance, count, name)
    return tuple(
        Frame(instance=instance, number=number, header=frame_header)
        for number, frame_header in enumerate(single_frame_headers(header, name), start=1)
    )


def _check_single(header: Dataset, name: str) -> None:
    found = values_of(header, "NumberOfFrames")
    if found and numbers_of(header, "NumberOfFrames", 1) != (1.0,):
        raise VolumeError(
            f"{name}: expected NumberOfFrames 1 in a single-frame CT image, found {found[0]}"
        )


def _stated_count(header: Dataset, name: str) -> int:
    stated = numbers_of(header, "NumberOfFrames", 1)
    if stated is None or stated[0] < 1 or stated[0] != int(stated[0]):
        found = values_of(header, "NumberOfFrames") or ("none",)
        raise VolumeError(f"{name}: expected a positive NumberOfFrames, found {found[0]}")
    return int(stated[0])


def _check_length(instance: Instance, count: int, name: str) -> None:
    """Refuse uncompressed pixel data of more or fewer frames.

    A deflated file shows its length on inflating only, a compressed one on decoding.
    """
    length = None if instance.pixels is None else instance.pixels.length
    form = [
        numbers_of(instance.header, keyword, 1)
        for keyword in ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel")
    ]
    if length is None or None in form:
        return
    rows, columns, bits, samples = (int(numbers[0]) for numbers in form if numbers is not None)
    size = rows * columns * (bits // 8) * samples
    if size > 0 and length // size != count:
        raise VolumeError(
            f"{name}: expected pixel data of {count} frames, {count * size} bytes, "
            f"found {length} bytes"
        )
