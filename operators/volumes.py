"""From the slices of a candidate to one volume in the patient, and labels back to the slices.

Slices that are no regular grid are sampled on the one that `operators.slice_stack` lays through
them: linear in a slice's own plane where it is shifted, and linear along the normal between the
two slices around a plane of the grid. What no slice covers is air.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import LabelMap, Volume
from operators.pixels import LEAST_HU, decode_slices
from operators.series import Candidate, Series
from operators.slice_stack import LARGEST_GAP_MM, SliceStack, stack_slices


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesVolume:
    """A candidate as a volume.

    Parameters
    ----------
    candidate
        What the slices belong to.
    volume
        HU on the grid of the stack.
    stack
        The slices, in order, and how they lie on the grid.
    """

    candidate: Candidate
    volume: Volume
    stack: SliceStack

    @property
    def series(self) -> Series:
        """The series of the slices."""
        return self.candidate.series


def build_volume(candidate: Candidate, largest_gap_mm: float = LARGEST_GAP_MM) -> SeriesVolume:
    """Decode a candidate into a volume.

    Slices are decoded in order, and memory holds the volume and a few slices at most, however
    irregular they are.

    Parameters
    ----------
    candidate
        CT images that may form one volume.
    largest_gap_mm
        As `stack_slices` takes it.

    Returns
    -------
    SeriesVolume
        HU as int16 `(D, H, W)`; k runs along the slice normal, i along the rows, j down the
        columns, as the images are stored.

    Raises
    ------
    VolumeError
        If the slices form no volume.
    PixelDataError
        If the pixels of a slice cannot be had.
    """
    stack = stack_slices(candidate.frames, largest_gap_mm)
    slices = decode_slices(stack.frames)
    planes = slices if stack.is_grid else _resampled(stack, slices)
    first = next(planes)  # headers may promise pixels that no file holds, so memory comes after
    hu = np.empty(stack.grid.shape, np.int16)
    for into, plane in zip(hu, chain([first], planes), strict=True):
        into[...] = plane
    return SeriesVolume(candidate=candidate, volume=Volume(hu=hu, geometry=stack.grid), stack=stack)


def labels_on_slices(label_map: LabelMap, stack: SliceStack) -> NDArray[np.uint8]:
    """The labels at each pixel of the source slices, from the nearest voxel of the grid.

    Parameters
    ----------
    label_map
        Labels on `stack.grid`.
    stack
        The slices.

    Returns
    -------
    `(n, H, W)` uint8, one plane per slice of the stack.
    """
    if stack.is_grid:
        return label_map.labels
    height, width = stack.size
    depth = stack.grid.shape[0]
    labels = np.empty((len(stack.frames), height, width), np.uint8)
    for n, (k, j, i) in enumerate(np.rint(stack.indices).astype(int)):
        plane = label_map.labels[min(max(k, 0), depth - 1)]
        labels[n] = plane[j : j + height, i : i + width]
    return labels


def _resampled(
    stack: SliceStack, slices: Iterator[NDArray[np.int16]]
) -> Iterator[NDArray[np.int16]]:
    """Planes of the grid in order of k, from slices that come in order; holds two of them."""
    at = stack.indices
    placed = (
        _placed(plane, (j, i), stack.grid.shape[1:])
        for plane, (_, j, i) in zip(slices, at, strict=True)
    )
    below = above = next(placed)
    n = 0  # the slice that `above` is
    for k in range(stack.grid.shape[0]):
        while at[n, 0] < k and n + 1 < len(at):
            below, above = above, next(placed)
            n += 1
        share = 1.0 if n == 0 else float((k - at[n - 1, 0]) / (at[n, 0] - at[n - 1, 0]))
        yield above if share >= 1 else _between(below, above, share)


def _between(below: NDArray[np.int16], above: NDArray[np.int16], share: float) -> NDArray[np.int16]:
    mixed = below * np.float32(1 - share) + above * np.float32(share)
    return np.rint(mixed).astype(np.int16)


def _placed(
    plane: NDArray[np.int16], corner: tuple[float, float], shape: tuple[int, ...]
) -> NDArray[np.int16]:
    """A slice on the plane of the grid, its first pixel at `corner` (j, i)."""
    if plane.shape == shape and corner == (0, 0):
        return plane
    moved: NDArray[np.float32] = ndimage.affine_transform(
        plane.astype(np.float32),
        np.ones(2),
        offset=[-corner[0], -corner[1]],
        output_shape=shape,
        order=1,
        mode="constant",
        cval=LEAST_HU,
    )
    return np.rint(moved).astype(np.int16)
