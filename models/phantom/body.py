"""The outline of the body, its wall, its cavity and the diaphragm, as smooth functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Field = NDArray[np.float64]

#: Heights in mm (before scaling) at which the profiles below are given.
_HEIGHTS = np.array([-260.0, -200.0, -150.0, -90.0, -30.0, 30.0, 90.0, 140.0, 220.0])
_HALF_WIDTH = np.array([100.0, 102.0, 104.0, 112.0, 118.0, 124.0, 123.0, 118.0, 104.0])
_FRONT = np.array([90.0, 92.0, 94.0, 97.0, 100.0, 104.0, 104.0, 101.0, 89.0])
_BACK = np.array([46.0, 45.0, 43.0, 41.0, 44.0, 55.0, 63.0, 65.0, 62.0])
#: Where visceral fat and a wide belly show, 0 to 1.
_BELLY = np.array([0.6, 0.85, 1.0, 1.0, 0.9, 0.65, 0.35, 0.15, 0.0])
#: Where hips show.
_HIP = np.array([1.0, 1.0, 0.8, 0.35, 0.05, 0.0, 0.0, 0.0, 0.0])
_MIDDLE_Y = -16.0


@dataclass(frozen=True, kw_only=True)
class Build:
    """A person's frame and fat.

    Parameters
    ----------
    female
        Wider hips, narrower frame, more fat under the skin.
    scale
        Size of the frame; 1 is a person of about 175 cm.
    belly_mm, fat_mm, back_fat_mm, wall_mm
        Visceral fat in front, fat under the skin in front and at the back, muscle of the flank.
    dome_mm
        Height of the right dome of the diaphragm.
    """

    female: bool
    scale: float
    belly_mm: float
    fat_mm: float
    back_fat_mm: float
    wall_mm: float
    dome_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """Draw a person."""
        female = bool(rng.random() < 0.5)
        stoutness = float(rng.beta(1.6, 2.6))
        fat = 4.0 + stoutness * (40.0 if female else 28.0)
        return cls(
            female=female,
            scale=float(rng.normal(0.94 if female else 1.02, 0.035)),
            belly_mm=float(stoutness * (28.0 if female else 52.0) + rng.uniform(-6, 6)),
            fat_mm=fat,
            back_fat_mm=float(fat * rng.uniform(0.6, 1.0)),
            wall_mm=float(rng.uniform(9.0, 13.0) if female else rng.uniform(11.0, 17.0)),
            dome_mm=float(rng.uniform(92.0, 112.0)),
        )


@dataclass(frozen=True, eq=False)
class Body:
    """The body's large surfaces as signed distances in mm (negative inside)."""

    build: Build

    def half_axes(self, z: Field) -> tuple[Field, Field, Field]:
        """Half width, front and back of the cavity in mm, from its middle, at heights z."""
        b = self.build
        profile = PchipInterpolator(
            _HEIGHTS * b.scale, np.stack([_HALF_WIDTH, _FRONT, _BACK, _BELLY], axis=1)
        )(np.clip(z, _HEIGHTS[0] * b.scale, _HEIGHTS[-1] * b.scale))
        width = profile[..., 0] * b.scale + 0.45 * b.belly_mm * profile[..., 3]
        front = (profile[..., 1] + _MIDDLE_Y) * b.scale + b.belly_mm * profile[..., 3]
        return width, front, (profile[..., 2] - _MIDDLE_Y) * b.scale

    @property
    def middle_y(self) -> float:
        """y of the cavity's widest part in mm."""
        return _MIDDLE_Y * self.build.scale

    def cavity(self, x: Field, y: Field, z: Field) -> Field:
        """Distance to the inner surface of the muscle wall and the ribs."""
        s = self.build.scale
        width, front, back = self.half_axes(z)
        oval = _oval(x, y - self.middle_y, width, front, back, 2.35)
        # the spine and the muscles beside it stand out into the cavity
        bulge = _oval(x, y - 72.0 * s, 60.0 * s, 52.0 * s, 60.0 * s, 2.0)
        cavity: Field = -_round_minimum(-oval, bulge, 14.0)
        return cavity

    def wall(self, x: Field, y: Field, z: Field) -> Field:
        """Distance to the outer surface of the muscle wall."""
        b, s = self.build, self.build.scale
        lateral = 1.0 / (1.0 + np.exp(-(np.abs(x) - 80.0 * s) / (7.0 * s)))
        behind = 1.0 / (1.0 + np.exp(-(y - 5.0 * s) / (8.0 * s)))
        chest = 1.0 / (1.0 + np.exp(-(z - 45.0 * s) / (14.0 * s)))
        belly = 0.7 + 0.65 * lateral - 0.5 * behind * lateral
        ribcage = 0.95 + 0.5 * lateral * behind
        return self.cavity(x, y, z) - b.wall_mm * (belly + (ribcage - belly) * chest)

    def skin(self, x: Field, y: Field, z: Field) -> Field:
        """Distance to the skin."""
        b = self.build
        width, front, _ = self.half_axes(z)
        hip = np.interp(z, _HEIGHTS * b.scale, _HIP) * (24.0 if b.female else 12.0)
        groove = 7.0 * np.exp(-((x / (13.0 * b.scale)) ** 2))
        return _oval(
            x,
            y - self.middle_y,
            width + b.wall_mm + 0.75 * b.fat_mm + 4.0 + hip,
            front + 0.9 * b.wall_mm + b.fat_mm,
            (78.0 - _MIDDLE_Y) * b.scale + b.back_fat_mm - groove + 0.3 * hip,
            2.25,
        )

    def dome_height(self, x: Field, y: Field) -> Field:
        """Height of the diaphragm in mm above each point (x, y)."""
        b = self.build
        s = b.scale
        width, front, back = self.half_axes(np.full_like(x, 60.0 * s))
        depth = np.where(y < self.middle_y, front, back)
        rho = np.sqrt((x / width) ** 2 + ((y - self.middle_y) / depth) ** 2)
        right = np.exp(-(((x + 62 * s) / (52 * s)) ** 2) - ((y + 22 * s) / (62 * s)) ** 2)
        left = np.exp(-(((x - 66 * s) / (46 * s)) ** 2) - ((y + 12 * s) / (62 * s)) ** 2)
        # the recess behind reaches lower than the one in front
        fall = (30.0 + 45.0 / (1.0 + np.exp(-(y + 20.0 * s) / (18.0 * s)))) * s
        crest = b.dome_mm - 24.0 * s
        height: Field = crest + 24 * s * right + 15 * s * left - fall * np.minimum(rho, 1.2) ** 7
        return height

    def above_dome(self, x: Field, y: Field, z: Field) -> Field:
        """Distance to the diaphragm, negative below it."""
        height = self.dome_height(x, y)
        slope_x = self.dome_height(x + 1.0, y) - height
        slope_y = self.dome_height(x, y + 1.0) - height
        distance: Field = (z - height) / np.sqrt(1.0 + slope_x**2 + slope_y**2)
        return distance


def _round_minimum(a: Field, b: Field, round_mm: float) -> Field:
    near = np.maximum(round_mm - np.abs(a - b), 0.0)
    rounded: Field = np.minimum(a, b) - near * near / (4.0 * round_mm)
    return rounded


def _oval(
    x: Field,
    y: Field,
    width: Field | float,
    front: Field | float,
    back: Field | float,
    power: float,
) -> Field:
    """Distance to a super-ellipse whose front (y < 0) and back differ."""
    depth = np.where(y < 0, front, back)
    u, v = np.abs(x / width) + 1e-6, np.abs(y / depth) + 1e-6
    gauge = (u**power + v**power) ** (1.0 / power)
    slope = gauge ** (1.0 - power) * np.hypot(u ** (power - 1) / width, v ** (power - 1) / depth)
    distance: Field = (gauge - 1.0) / slope
    return distance
