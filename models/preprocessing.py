"""From a CT on any grid to what a network sees, and its labels exactly back.

The inverse is exact: every label voxel of the result is a voxel of the source grid, its value
decided by the class scores interpolated at that voxel's own centre.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import BundleError
from models.geometry import LabelMap, Volume, VolumeGeometry
from models.intensity import AIR_HU, Window
from models.network_grid import NetworkGrid
from models.orientation import AxisOrder
from models.resampling import apply_slab_wise, axis_matrix, positions, weights

#: HU above which a voxel counts as body (or table) when the empty margin is cut away.
BODY_HU = -400.0
#: Kept around the body on the network's grid, in mm.
MARGIN_MM = 12.0

#: Told the done share of a long step, 0 to 1.
Progress = Callable[[float], None]
#: Told a slice's index in canonical order and its class scores `(C, H, W)`.
ScoresOfSlice = Callable[[int, Tensor], None]
#: Part of an array.
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A volume as the network sees it, and the way back.

    Parameters
    ----------
    image
        `(1, 1, D, H, W)` float32 in the window's range, canonical order.
    source
        Grid of the CT.
    order
        How the source's axes were turned.
    canonical_shape
        The source's shape in canonical order.
    sampled_shape
        Shape at the network's spacing before the empty margin was cut away.
    step
        Source voxels from one sample to the next, in canonical order.
    corner
        Index of the image's first voxel among the samples.
    """

    image: Tensor = field(repr=False)
    source: VolumeGeometry
    order: AxisOrder
    canonical_shape: tuple[int, int, int]
    sampled_shape: tuple[int, int, int]
    step: tuple[float, float, float]
    corner: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Settings that travel with the weights.

    Parameters
    ----------
    grid
        The network's voxels.
    window
        HU range it sees, and what that becomes.
    crop
        Whether the empty margin around the body is cut away.
    """

    grid: NetworkGrid
    window: Window
    crop: bool = True

    def __post_init__(self) -> None:
        if self.crop and self.grid.spacing_mm is None:
            raise BundleError("expected no crop where volumes are resized to one shape")

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Preprocessing:
        """Read `preprocessing` of a bundle's `configs/inference.json`."""
        grid = NetworkGrid.from_json(entry)
        crop = bool(entry.get("crop", grid.spacing_mm is not None))
        return cls(grid=grid, window=Window.from_json(entry), crop=crop)

    def prepare(self, volume: Volume) -> Prepared:
        """Turn, resample, cut the empty margin, and scale."""
        order = AxisOrder.closest(volume.geometry)
        canonical = order.geometry(volume.geometry)
        array = order.apply(volume.hu)
        sampling = self.grid.over(array.shape, canonical.spacing_mm)
        matrices = [
            axis_matrix(size, target, each)
            for size, target, each in zip(array.shape, sampling.shape, sampling.step, strict=True)
        ]
        hu = apply_slab_wise(array, matrices).clamp_min(AIR_HU)
        box = self._box(hu)
        image = self.window.apply(hu[box])[None, None]
        return Prepared(
            image=image,
            source=volume.geometry,
            order=order,
            canonical_shape=canonical.shape,
            sampled_shape=sampling.shape,
            step=sampling.step,
            corner=(box[0].start, box[1].start, box[2].start),
        )

    def _box(self, hu: Tensor) -> Box:
        if not self.crop or self.grid.spacing_mm is None:
            return slice(0, hu.shape[0]), slice(0, hu.shape[1]), slice(0, hu.shape[2])
        depth_mm, height_mm, width_mm = self.grid.spacing_mm
        margin = (
            round(MARGIN_MM / depth_mm),
            round(MARGIN_MM / height_mm),
            round(MARGIN_MM / width_mm),
        )
        return body_box(hu, margin)


def body_box(hu: Tensor, margin: tuple[int, int, int]) -> Box:
    """The box `(k, j, i)` around all voxels above `BODY_HU` plus `margin`; all where none is."""
    body = hu > BODY_HU
    slices = []
    for axis in range(3):
        others = [a for a in range(3) if a != axis]
        present = body.any(dim=others[1]).any(dim=others[0]).nonzero()[:, 0]
        size = hu.shape[axis]
        if len(present) == 0:
            slices.append(slice(0, size))
            continue
        first, last = int(present[0]), int(present[-1])
        slices.append(slice(max(0, first - margin[axis]), min(size, last + 1 + margin[axis])))
    return slices[0], slices[1], slices[2]


def restore(
    scores: Tensor,
    prepared: Prepared,
    numbers: NDArray[np.uint8],
    on_progress: Progress | None = None,
    on_scores: ScoresOfSlice | None = None,
) -> LabelMap:
    """Decide each voxel of the source grid by the class scores interpolated at its centre.

    Parameters
    ----------
    scores
        `(C, D, H, W)` class scores on the grid of `prepared.image`, class 0 background.
    prepared
        The way the image was made.
    numbers
        `(C,)` label to write for each class.
    on_progress
        Told the done share.
    on_scores
        Told the class scores of each slice of the source, in canonical order; they sum to 1.

    Returns
    -------
    Labels on the source grid. Slices are decided one at a time, so scores of all classes at the
    source's resolution exist for one slice only.
    """
    matrices = [
        _back_matrix(
            prepared.canonical_shape[axis],
            prepared.sampled_shape[axis],
            prepared.step[axis],
            prepared.corner[axis],
            scores.shape[1 + axis],
        ).to(scores.device)
        for axis in range(3)
    ]
    along_k, along_j, along_i = matrices
    table = torch.from_numpy(numbers).to(scores.device)
    labels = np.zeros(prepared.canonical_shape, np.uint8)
    depth = labels.shape[0]
    for k in range(depth):
        near = along_k[k].nonzero()[:, 0]  # the one or two score slices around this slice
        plane = torch.einsum("s,cshw->chw", along_k[k, near], scores[:, near].float())
        fine = along_j @ plane @ along_i.T  # (C, H, W) at the source's resolution
        labels[k] = table[fine.argmax(dim=0)].cpu().numpy()
        if on_scores is not None:
            fine[0] += 1 - fine.sum(dim=0)  # what was cut away is background
            on_scores(k, fine)
        if on_progress is not None and (k % 16 == 15 or k + 1 == depth):
            on_progress((k + 1) / depth)
    back = np.ascontiguousarray(prepared.order.invert(labels))
    return LabelMap(labels=back, geometry=prepared.source)


def _back_matrix(size: int, samples: int, step: float, corner: int, kept: int) -> Tensor:
    """Linear weights `(size, kept)` of the kept samples at each source voxel of one axis."""
    # sample s lies at source index (s - (samples - 1) / 2) * step + (size - 1) / 2
    offset = positions(size, samples, step)[0]
    at = (np.arange(size) - offset) / step - corner
    matrix = weights(kept, at, 1.0)
    # beyond a margin that was cut away nothing was looked at: no class scores, background wins
    if corner > 0:
        matrix[at < -0.5] = 0
    if corner + kept < samples:
        matrix[at > kept - 0.5] = 0
    return torch.from_numpy(matrix)
