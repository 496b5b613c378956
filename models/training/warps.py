"""Moving voxels: all that bends or turns a picture is put together, then sampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.errors import TrainingError
from models.intensity import AIR_HU
from models.training.settings import check_settings
from models.training.smoothing import gaussian

Generator = np.random.Generator
Size = tuple[int, int, int]

#: Planes of the rotations of a volume; slices turn in the last alone.
PLANES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Rotation, scale and elastic bending, none of which turns a body into its mirror image.

    Parameters
    ----------
    rotation_degrees
        Largest angle in each plane; for slices (dimensions 2) in their own alone.
    scale
        Largest logarithm of the common factor; axes differ by up to 0.4 of it.
    elastic_mm
        Largest standard deviation of the displacements before they are smoothed.
    """

    probability: float = 1.0
    rotation_degrees: float = 15.0
    scale: float = 0.25
    elastic_mm: float = 10.0
    dimensions: int = 3

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(self, points_mm: Tensor, rng: Generator) -> Tensor:
        """Move points `(d, h, w, 3)`, in mm `(z, y, x)` around the centre."""
        planes = PLANES if self.dimensions == 3 else PLANES[-1:]
        matrix = torch.tensor(rotation(rng, self.rotation_degrees, planes), dtype=torch.float32)
        common = math.exp(rng.uniform(-self.scale, self.scale))
        stretch = np.exp(rng.uniform(-0.4, 0.4, 3) * self.scale) * common
        amplitude_mm = rng.uniform(0, self.elastic_mm)
        nodes = torch.tensor(rng.normal(0, amplitude_mm, (1, 3, 4, 6, 6)), dtype=torch.float32)
        if self.dimensions == 2:
            stretch[0] = 1.0
            nodes[:, 0] = 0.0
        moved = points_mm @ (matrix * torch.tensor(stretch, dtype=torch.float32)).T
        if self.elastic_mm == 0:
            return moved
        size = points_mm.shape[:3]
        bent = F.interpolate(nodes, size=size, mode="trilinear", align_corners=True)
        bent = torch.stack([gaussian(component, 1.5) for component in bent[0]], dim=-1)
        return moved + bent


@dataclass(frozen=True, kw_only=True)
class GridDistortion:
    """Columns and rows of a grid become wider and narrower, their sum stays.

    Parameters
    ----------
    steps
        Cells along each side of a slice.
    limit
        Largest relative change of a cell's width, below 1 so that none turns over.
    """

    probability: float = 0.5
    steps: int = 5
    limit: float = 0.3

    def __post_init__(self) -> None:
        check_settings(self)
        if not (self.steps >= 1 and self.limit < 1):
            raise TrainingError(
                f"grid_distortion: expected steps >= 1 and limit < 1, found {self.steps} and "
                f"{self.limit}"
            )

    def apply(self, points_mm: Tensor, rng: Generator) -> Tensor:
        """Move points `(d, h, w, 3)` along y and x; beyond the outermost ones nothing moves."""
        moved = points_mm.clone()
        for axis in (1, 2):
            along = points_mm[..., axis].numpy()
            low, high = float(along.min()), float(along.max())
            widths = 1 + rng.uniform(-self.limit, self.limit, self.steps)
            knots = np.linspace(low, high, self.steps + 1)
            targets = low + (high - low) * np.r_[0.0, np.cumsum(widths) / widths.sum()]
            shift = np.interp(along, knots, targets - knots)
            moved[..., axis] += torch.from_numpy(shift.astype(np.float32))
        return moved


def rotation(
    rng: Generator, degrees: float, planes: tuple[tuple[int, int], ...] = PLANES
) -> NDArray[np.float64]:
    """A proper rotation `(3, 3)` by an angle of its own in each plane."""
    turned = np.eye(3)
    for first, second in planes:
        angle = math.radians(rng.uniform(-degrees, degrees))
        plane = np.eye(3)
        plane[[first, second], [first, second]] = math.cos(angle)
        plane[first, second], plane[second, first] = -math.sin(angle), math.sin(angle)
        turned = turned @ plane
    return turned


def nodes_mm(shape: Size, spacing_mm: tuple[float, float, float]) -> Tensor:
    """Positions `(d, h, w, 3)` in mm `(z, y, x)` around a patch's centre, on a quarter of its grid.

    Warps move these few nodes; `upsample` then gives every voxel its place, exactly so for what
    is affine.
    """
    axes = []
    for n, mm in zip(shape, spacing_mm, strict=True):
        half = (n - 1) / 2 * mm
        axes.append(torch.linspace(-half, half, max(6, n // 4)) if n > 1 else torch.zeros(1))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def upsample(nodes: Tensor, shape: Size) -> Tensor:
    """Linearly from `(d, h, w, C)` to `(D, H, W, C)`, first and last nodes staying so.

    One matrix product an axis: on a CPU three times faster than `interpolate`.
    """
    along_k, along_j, along_i = (
        F.interpolate(torch.eye(n)[None], size=m, mode="linear", align_corners=True)[0].T
        for n, m in zip(nodes.shape[:3], shape, strict=True)
    )
    planes = along_j @ nodes.permute(3, 0, 1, 2) @ along_i.T  # (C, d, H, W)
    lines = planes.permute(1, 2, 3, 0).reshape(nodes.shape[0], -1)
    return (along_k @ lines).reshape(*shape, nodes.shape[-1])


def sample(
    hu: NDArray[Any], labels: NDArray[Any], nodes: Tensor, shape: Size
) -> tuple[Tensor, Tensor]:
    """Sample a volume: HU linearly, labels by the nearest voxel; outside is air and background.

    Only the box of the volume that the positions touch is read.

    Parameters
    ----------
    hu, labels
        `(D, H, W)`.
    nodes
        `(d, h, w, 3)` positions `(k, j, i)` in voxels, upsampled to `shape`.

    Returns
    -------
    HU float32 and labels uint8 of `shape`.
    """
    flat = nodes.reshape(-1, 3)
    size = torch.tensor(hu.shape)
    low = torch.minimum((flat.amin(0).floor().long() - 1).clamp_min(0), size)
    high = torch.maximum(torch.minimum(flat.amax(0).ceil().long() + 2, size), low)
    kept = high - low
    if int(kept.min()) == 0:
        return torch.full(shape, AIR_HU), torch.zeros(shape, dtype=torch.uint8)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    # grid_sample wants (x, y, z), the box from -1 to 1 over the voxels' outer edges
    grid = upsample(((2 * (nodes - low) + 1) / kept - 1).flip(-1), shape)[None]
    image = torch.from_numpy(hu[box].astype(np.float32))[None, None] - AIR_HU
    values = torch.from_numpy(labels[box].astype(np.float32))[None, None]
    sampled = F.grid_sample(image, grid, mode="bilinear", align_corners=False)[0, 0] + AIR_HU
    nearest = F.grid_sample(values, grid, mode="nearest", align_corners=False)[0, 0]
    return sampled, nearest.to(torch.uint8)


def crop(hu: NDArray[Any], labels: NDArray[Any], start: Size, shape: Size) -> tuple[Tensor, Tensor]:
    """Cut `shape` voxels from `start`, which may lie outside, where there is air and background."""
    low = [max(0, s) for s in start]
    high = [min(n, s + size) for n, s, size in zip(hu.shape, start, shape, strict=True)]
    there = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    here = tuple(slice(p.start - s, p.stop - s) for p, s in zip(there, start, strict=True))
    image = torch.full(shape, AIR_HU)
    truth = torch.zeros(shape, dtype=torch.uint8)
    if all(p.stop > p.start for p in there):
        image[here] = torch.from_numpy(hu[there].astype(np.float32))
        truth[here] = torch.from_numpy(labels[there].astype(np.uint8))
    return image, truth
