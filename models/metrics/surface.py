"""Agreement of surfaces in millimetres: Hausdorff distance and normalised surface distance.

The definition is that of Nikolov et al. 2021 (doi 10.2196/26151), known from the package
`surface-distance` and MONAI's `use_subvoxels`: a surface runs between voxel centres, through each
2 x 2 x 2 block whose voxels do not all agree. It has one element there, at the block's middle, with
the area that marching cubes give on the real spacing. The other definition in use, the outermost
voxels of the mask, lies half a voxel inside, gives a coarse slice direction as many votes per mm2
as it pleases, and finds no inside in masks one voxel thin.

A volume of one slice is measured as a picture: contours through 2 x 2 blocks, weighted by length.

Where the truth is unknown, all is taken at its best: a distance is the least it can be, however
the unknown voxels turn out.

- Elements of blocks with an unknown voxel are not measured, those of the prediction neither: the
  cut where an organ meets the unknown is no surface.
- The truth's elements are measured to the whole surface of the prediction, which is known
  everywhere.
- The prediction's elements are measured to the truth's known surface or to the nearest block with
  an unknown voxel, whichever is closer: the true surface may pass there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

#: What rounding may add to a distance in mm, or to a share of an area.
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class SurfaceDistances:
    """How far each element of two surfaces lies from the other surface.

    Parameters
    ----------
    to_prediction_mm, truth_areas
        `(N,)` of the truth's elements; areas in mm2, lengths in mm for a picture.
    to_truth_mm, prediction_areas
        `(M,)` of the prediction's elements.
    """

    to_prediction_mm: NDArray[np.float64] = field(repr=False)
    truth_areas: NDArray[np.float64] = field(repr=False)
    to_truth_mm: NDArray[np.float64] = field(repr=False)
    prediction_areas: NDArray[np.float64] = field(repr=False)

    def hausdorff_mm(self, percentile: float = 95.0) -> float | None:
        """The distance within which `percentile` % of the surface lies, in the worse direction.

        None where no element of either surface is known.
        """
        directions = (
            _percentile(self.to_prediction_mm, self.truth_areas, percentile / 100),
            _percentile(self.to_truth_mm, self.prediction_areas, percentile / 100),
        )
        return max((mm for mm in directions if mm is not None), default=None)

    def agreement(self, tolerance_mm: float) -> float | None:
        """Normalised surface distance: share of both surfaces within a tolerance of the other.

        None where no element of either surface is known.
        """
        near = sum(
            float(areas[distances <= tolerance_mm + ROUNDING].sum())
            for distances, areas in (
                (self.to_prediction_mm, self.truth_areas),
                (self.to_truth_mm, self.prediction_areas),
            )
        )
        whole = float(self.truth_areas.sum() + self.prediction_areas.sum())
        return near / whole if whole > 0 else None


class LabelSurfaces:
    """The surfaces of any number of organs in one truth and one prediction of it.

    Surfaces are compared as points in a tree and not by distance transforms: memory goes with
    their area, and none is spent on the box around two far-off blobs.

    Parameters
    ----------
    truth, prediction
        `(D, H, W)` uint8 label values, of one shape.
    spacing_mm
        In array order.
    unknown
        Value of `truth` at voxels that do not count; None where all do.
    """

    def __init__(
        self,
        truth: NDArray[np.uint8],
        prediction: NDArray[np.uint8],
        spacing_mm: Sequence[float],
        unknown: int | None = None,
    ):
        if len(truth) == 1:
            truth, prediction, spacing_mm = truth[0], prediction[0], spacing_mm[1:]
        self._truth, self._prediction, self._unknown = truth, prediction, unknown
        self._spacing_mm = np.asarray(spacing_mm, np.float64)
        self._areas = _element_areas(tuple(self._spacing_mm.tolist()))
        self._truth_boxes = find_objects(truth)
        self._prediction_boxes = find_objects(prediction)
        self._unknown_tree = self._tree_of_unknown()

    def distances(self, number: int, truth_number: int | None = None) -> SurfaceDistances | None:
        """Compare one organ's surfaces.

        Parameters
        ----------
        number, truth_number
            The organ's value in the prediction and in the truth; the same in both where only one
            is given.

        Returns
        -------
        None where one of the two has no voxel of the organ at a known place.
        """
        truth_number = number if truth_number is None else truth_number
        box = self._box(number, truth_number)
        if box is None:
            return None
        labels = self._truth[box]
        real, found = labels == truth_number, self._prediction[box] == number
        unknown = np.zeros(labels.shape, bool) if self._unknown is None else labels == self._unknown
        if not real.any() or not (found & ~unknown).any():
            return None
        start = np.array([part.start for part in box])
        blocks = _block_codes(unknown) != 0
        truth_points, truth_areas, is_known = self._elements(real, blocks, start)
        truth_points, truth_areas = truth_points[is_known], truth_areas[is_known]
        points, areas, is_known = self._elements(found, blocks, start)
        to_truth = _nearest(cKDTree(truth_points, **_QUICK), points[is_known])
        if self._unknown_tree is not None:
            to_truth = np.minimum(to_truth, _nearest(self._unknown_tree, points[is_known]))
        return SurfaceDistances(
            to_prediction_mm=_nearest(cKDTree(points, **_QUICK), truth_points),
            truth_areas=truth_areas,
            to_truth_mm=to_truth,
            prediction_areas=areas[is_known],
        )

    def _box(self, number: int, truth_number: int) -> tuple[slice, ...] | None:
        """The part of the grid around both, with a voxel to spare; None where one is empty."""
        boxes = (
            _at(self._prediction_boxes, number),
            _at(self._truth_boxes, truth_number),
        )
        if boxes[0] is None or boxes[1] is None:
            return None
        return tuple(
            slice(max(0, min(a.start, b.start) - 1), min(size, max(a.stop, b.stop) + 1))
            for a, b, size in zip(boxes[0], boxes[1], self._truth.shape, strict=True)
        )

    def _elements(
        self, mask: NDArray[np.bool_], unknown_blocks: NDArray[np.bool_], start: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Places in mm `(N, axes)` and areas `(N,)` of a mask's elements; which are known `(N,)`.

        `start` is the grid's index of the mask's first voxel.
        """
        codes = _block_codes(mask)
        edge = (codes != 0) & (codes != len(self._areas) - 1)
        places = (np.argwhere(edge) + start) * self._spacing_mm
        return places, self._areas[codes[edge]], ~unknown_blocks[edge]

    def _tree_of_unknown(self) -> Any:
        """Blocks with known and unknown voxels: none with unknown ones is nearer to what is known.

        None where all is known.
        """
        unknown = None if self._unknown is None else self._truth == self._unknown
        if unknown is None or not unknown.any():
            return None
        codes = _block_codes(unknown)
        edge = (codes != 0) & (codes != len(self._areas) - 1)
        return cKDTree(np.argwhere(edge) * self._spacing_mm, **_QUICK)


#: Grid points are evenly spread: trees need not be balanced to be fast.
_QUICK = {"balanced_tree": False, "compact_nodes": False}


def _nearest(tree: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point to the nearest of the tree; infinite where the tree is empty."""
    distances: NDArray[np.float64] = tree.query(points, workers=-1)[0]
    return distances


def _at(boxes: Sequence[tuple[slice, ...] | None], number: int) -> tuple[slice, ...] | None:
    return boxes[number - 1] if number <= len(boxes) else None


def _block_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """For each block of two voxels a side, of `mask` with a false rim, which of them are true.

    Its last voxel is bit 0, and so on backwards in C order: MONAI's and surface-distance's code.
    """
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([size - 1 for size in padded.shape], np.uint8)
    corners = list(product((0, 1), repeat=mask.ndim))
    for bit, corner in enumerate(reversed(corners)):
        view = tuple(
            slice(first, first + size) for first, size in zip(corner, codes.shape, strict=True)
        )
        codes |= padded[view] << np.uint8(bit)
    return codes


@cache
def _element_areas(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Area (length) of the surface element of each block code, by marching cubes (squares)."""
    from monai.metrics.utils import get_code_to_measure_table

    table: Any = get_code_to_measure_table  # it has no types
    areas: NDArray[np.float64] = table(spacing_mm)[0].double().numpy()
    return areas


def _percentile(
    distances: NDArray[np.float64], areas: NDArray[np.float64], share: float
) -> float | None:
    """The least distance within which `share` of the area lies; None where there is none."""
    if len(distances) == 0:
        return None
    order = np.argsort(distances, kind="stable")
    within = np.cumsum(areas[order])
    index = int(np.searchsorted(within / within[-1], share - ROUNDING))
    return float(distances[order][min(index, len(order) - 1)])
