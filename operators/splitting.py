"""The parts of a series that may form a volume each.

1. Frames that cannot lie in one volume are separated (`operators.frame_groups`).
2. Copies of images are left out (`operators.duplicates`).
3. What was acquired or reconstructed more than once is told apart (`operators.acquisitions`).

Parts may lack slices or hold a single image; whether one is a volume is not decided here. Nothing
depends on the order or the names of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from operators.acquisitions import tell_apart
from operators.duplicates import find_copies
from operators.frame_groups import FrameGroup, group_frames, unique_names
from operators.frames import frames_of
from operators.series import Candidate, Instance, Series

_Part = tuple[FrameGroup, tuple[str, ...]]  # frames, and notes on how they came to be


def split_series(series: Series, images: tuple[Instance, ...]) -> tuple[Candidate, ...]:
    """Separate the images of a series into candidate volumes.

    Only headers are read, but for pixels at positions that are taken more than once.

    Parameters
    ----------
    series
        The series.
    images
        Its CT images, at least one, in any order.

    Returns
    -------
    tuple of Candidate
        At least one. The most numerous kind of image comes first, and parts of one kind in order
        of what tells them apart. Where images repeat positions and nothing tells them apart they
        stay together, and a note says so.

    Raises
    ------
    VolumeError
        If a multi-frame image contradicts itself (`operators.frames`).
    """
    frames = sorted(
        (frame for image in images for frame in frames_of(image)),
        key=lambda frame: (frame.SOPInstanceUID, frame.number),
    )
    groups = group_frames(frames)
    parts = [part for group in groups for part in _parts(group)]
    several = (f"the series holds {len(groups)} kinds of images that form no volume together",)
    return tuple(
        Candidate(
            series=series,
            frames=group.frames,
            part=name,
            notes=(several if len(groups) > 1 else ()) + notes,
        )
        for name, (group, notes) in zip(
            unique_names([group.name for group, _ in parts]), parts, strict=True
        )
    )


def _parts(group: FrameGroup) -> Iterator[_Part]:
    if not _repeats(group):
        yield from _told_apart(group, ())
        return
    copies = find_copies(group)
    rest = group.take(~copies)
    # blank slices look like copies, so where copies explain some repeated positions only, other
    # explanations come first
    if _repeats(rest) and tell_apart(group) is not None:
        yield from _told_apart(group, ())
        return
    if not copies.any():
        copies = find_copies(group, everywhere=True)
        rest = group.take(~copies)
    count = int(copies.sum())
    note = f"{count} {'images are copies' if count > 1 else 'image is a copy'} of others, left out"
    yield from _told_apart(rest, (note,) if count else ())


def _told_apart(group: FrameGroup, notes: tuple[str, ...]) -> Iterator[_Part]:
    """The parts, the parts of the parts and so on: what no longer repeats may still interleave."""
    partition = tell_apart(group)
    if partition is None:
        left = (f"{_extent(group)}, and nothing tells them apart",) if _repeats(group) else ()
        yield group, notes + left
        return
    note = f"{_extent(group)}: told apart by {partition.by} into {len(partition.names)} parts"
    for n, name in enumerate(partition.names):
        part = group.take(partition.part_of == n)
        named = replace(part, name=", ".join(filter(None, (group.name, name))))
        yield from _told_apart(named, (*notes, note))


def _repeats(group: FrameGroup) -> bool:
    return int(group.places().max()) + 1 < len(group.frames)


def _extent(group: FrameGroup) -> str:
    count = int(group.places().max()) + 1
    return f"{len(group.frames)} images at {count} {'position' if count == 1 else 'positions'}"
