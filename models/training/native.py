"""A CT without contrast medium, made from one with it.

Contrast medium raises what blood reaches and never lowers it, so taking it away is a ceiling: soft
tissue above the HU it has without contrast medium comes down to them, and all below (fat, gas,
water, cysts) stays. The ceiling lies over the whole body and not over the labelled organs alone:
bright vessels around grey organs would tell a network that the picture was made up. Bone keeps
its HU; contrast medium in stomach and bowel goes where it is not denser than bone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.intensity import AIR_HU
from models.training.settings import check_settings
from models.training.smoothing import correlated_noise, gaussian
from models.training.warps import upsample

#: HU of organs without contrast medium. Two non-contrast CT measured (medians): liver 47 and 62,
#: spleen 35, kidneys 14 and 20 (with fat of the sinus), gallbladder 3, aorta and veins 41 to 44,
#: bowel 25; healthy adults have somewhat more.
NATIVE_HU: Mapping[str, float] = {
    "liver": 55.0,
    "spleen": 46.0,
    "kidney_left": 30.0,
    "kidney_right": 30.0,
    "stomach": 36.0,
    "gallbladder": 12.0,
    "pancreas": 38.0,
    "duodenum": 30.0,
    "bowel": 30.0,
    "aorta": 43.0,
    "inferior_vena_cava": 43.0,
}
#: HU that cortical bone exceeds and enhanced vessels and bowel seldom do.
CORTICAL_HU = 380.0
#: HU that bone too thin to reach `CORTICAL_HU` exceeds.
THIN_BONE_HU = 250.0
#: A core wider than two voxels and this bright is a vessel or bowel, unless `CORTICAL_HU` shows
#: that it is bone.
LUMEN_HU = 240.0
#: Marrow lies within this distance of cortical bone, and exceeds these HU.
MARROW_MM, MARROW_HU = 18.0, 90.0
#: What is left of the contrast flattens out with this height above the ceiling.
FADE_HU = 80.0
#: Bound of the noise that is given back.
MOST_NOISE_HU = 25.0


@dataclass(frozen=True, kw_only=True)
class Native:
    """Take the contrast medium out of a CT.

    Parameters
    ----------
    native_hu
        HU of network classes without contrast medium (see `native_hu_of`).
    spread_hu
        Standard deviation of an organ's HU between people.
    soft_tissue_hu, soft_tissue_spread_hu
        Ceiling of all else, vessels among it: one number is drawn for the whole picture, evenly
        within the spread.
    """

    probability: float = 0.25
    native_hu: Mapping[int, float] = field(default_factory=dict)
    spread_hu: float = 6.0
    soft_tissue_hu: float = 48.0
    soft_tissue_spread_hu: float = 9.0

    def __post_init__(self) -> None:
        check_settings(self)

    def apply(
        self,
        hu: Tensor,
        labels: Tensor,
        rng: np.random.Generator,
        spacing_mm: tuple[float, float, float],
    ) -> Tensor:
        """Make `hu` `(D, H, W)` look as without contrast medium; `labels` tell the organs."""
        spread = self.soft_tissue_spread_hu
        soft_hu = self.soft_tissue_hu + rng.uniform(-spread, spread)
        left = rng.uniform(0.0, 0.25)
        shift = rng.normal(0.0, self.spread_hu, 256)
        seed = int(rng.integers(2**62))
        over = (hu - self._ceiling(labels, soft_hu, shift)).clamp_min(0)
        lowered = hu - over + left * FADE_HU * (1 - torch.exp(-over / FADE_HU))
        # noise went down with what it lay upon: the same amount comes back
        noise = correlated_noise(hu.shape, seed) * noise_hu(hu, over)
        lowered += noise * (1 - torch.exp(-over / 15))
        return torch.lerp(lowered, hu, self._bone(hu, labels, spacing_mm))

    def _ceiling(self, labels: Tensor, soft_hu: float, shift: NDArray[np.float64]) -> Tensor:
        """Highest HU of soft tissue; an organ's reaches a little beyond its label."""
        values = torch.full((256,), soft_hu)
        weights = torch.full((256,), 0.05)
        for number, native in self.native_hu.items():
            values[number] = native + float(shift[number])
            weights[number] = 1.0
        # every second voxel: the result is smooth
        index = labels[::2, ::2, ::2].long()
        weight = gaussian(weights[index], 0.8)
        coarse = gaussian(values[index] * weights[index], 0.8) / weight
        depth, height, width = labels.shape
        return upsample(coarse[..., None], (depth, height, width))[..., 0]

    def _bone(self, hu: Tensor, labels: Tensor, spacing_mm: tuple[float, float, float]) -> Tensor:
        """Share of bone with its marrow, 0 to 1 at its borders, and of all that is as dense."""
        organ = torch.zeros(256, dtype=torch.bool)
        for number in self.native_hu:
            organ[number] = True
        free = torch.where(organ[labels.long()], AIR_HU, hu)
        # looked for on half the grid
        step = [min(2, n) for n in hu.shape]
        mean = F.avg_pool3d(free[None, None], step, ceil_mode=True)[0, 0]
        most = F.max_pool3d(free[None, None], step, ceil_mode=True)[0, 0]
        lumen = _widest((mean > LUMEN_HU).float(), [1, 1, 1]) > 0
        hard = (most > CORTICAL_HU) | ((most > THIN_BONE_HU) & ~lumen)
        reach = [math.ceil(MARROW_MM / (mm * n)) for mm, n in zip(spacing_mm, step, strict=True)]
        closed = -_widest(-_widest(hard.float(), reach), reach)
        near = F.interpolate(closed[None, None], size=hu.shape, mode="nearest")[0, 0]
        bone = near * (free > MARROW_HU)
        return torch.maximum(bone, gaussian(bone, 0.5))  # fades outwards: thin ribs stay whole


def noise_hu(hu: Tensor, over: Tensor) -> float:
    """Standard deviation of the noise where `over` is 0 to 250 HU; 0 where that is hardly anywhere.

    Of neighbours in a row, the median: edges and vessels hardly count.
    """
    rows, above = hu[::2, ::2], over[::2, ::2]  # a quarter is plenty
    inside = (above > 0) & (above < 250)
    steps = (rows[..., 1:] - rows[..., :-1])[inside[..., 1:] & inside[..., :-1]]
    if len(steps) < 100:
        return 0.0
    return min(MOST_NOISE_HU, 1.4826 * float(steps.abs().median()) / math.sqrt(2))


def native_hu_of(class_of: Mapping[str, int]) -> dict[int, float]:
    """HU without contrast medium by network class, for the organs that `NATIVE_HU` names."""
    return {number: NATIVE_HU[name] for name, number in class_of.items() if name in NATIVE_HU}


def _widest(values: Tensor, reach: list[int]) -> Tensor:
    """Largest value of `(D, H, W)` within `reach` voxels along each axis."""
    grown = values
    for axis, n in enumerate(reach):
        size = grown.shape[axis]
        wider = grown.clone()
        for shift in range(1, min(n, size - 1) + 1):
            ahead, behind = (wider.narrow(axis, s, size - shift) for s in (shift, 0))
            torch.maximum(behind, grown.narrow(axis, shift, size - shift), out=behind)
            torch.maximum(ahead, grown.narrow(axis, 0, size - shift), out=ahead)
        grown = wider
    return grown
