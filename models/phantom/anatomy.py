"""A whole person: everything that a seed decides, before any grid is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.phantom import chest, gut, muscles, organs, skeleton, vessels
from models.phantom.body import Body, Build
from models.phantom.contrast import PHASES, Phase, tissue_hu
from models.phantom.structures import Structure
from models.phantom.texture import Grain, Pose

#: In order of priority: what comes first hides and pushes aside what comes later.
_ORDER = (
    skeleton.spine,
    vessels.great_vessels,
    organs.kidneys,
    vessels.portal_system,
    organs.gallbladder,
    organs.liver,
    organs.spleen,
    gut.oesophagus,
    organs.adrenals,
    organs.pancreas,
    gut.stomach,
    gut.duodenum,
    vessels.crura,
    muscles.muscles,
    gut.colon,
    gut.small_bowel,
    vessels.mesenteric_branches,
    chest.heart,
    chest.mediastinum,
    chest.lung_vessels,
    skeleton.ribs,
    skeleton.pelvis,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """A person on the table of the scanner.

    Parameters
    ----------
    body
        Outline, wall, cavity and diaphragm.
    pose
        From the patient's LPS mm to the anatomy.
    phase
        Contrast phase.
    hu
        Value of each tissue.
    structures
        In order of priority.
    grain
        Texture of tissue.
    """

    body: Body
    pose: Pose
    phase: Phase
    hu: dict[str, float]
    structures: tuple[Structure, ...] = field(repr=False)
    grain: Grain = field(repr=False)

    @classmethod
    def draw(cls, seed: int, phase: Phase | None = None) -> Anatomy:
        """Draw a person.

        Parameters
        ----------
        seed
            Same seed, same person.
        phase
            Contrast phase; None lets the seed decide.
        """
        shape, values, grain = (np.random.default_rng([seed, n]) for n in range(3))
        body = Body(Build.draw(shape))
        pose = Pose.draw(shape)
        drawn = PHASES[int(shape.choice(len(PHASES), p=(0.2, 0.2, 0.45, 0.15)))]
        phase = drawn if phase is None else phase
        hu = tissue_hu(phase, values)
        structures = [s for make in _ORDER for s in make(body, hu, shape)]
        return cls(
            body=body,
            pose=pose,
            phase=phase,
            hu=hu,
            structures=tuple(structures),
            grain=Grain.draw(grain),
        )

    def table_depth(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth in mm below the surface of the hollow table top, at points in LPS mm."""
        build = self.body.build
        back = 84.0 * build.scale + build.back_fat_mm + 10.0 + self.pose.shift_mm[1]
        radius = 420.0
        inside = np.hypot(x, y - (back - radius)) - radius
        edge = np.maximum(np.abs(x) - 205.0, 0.0)
        return np.where(edge > 0, -2.0 - edge, inside)

    def extent_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest x, y, z in LPS mm of the trunk from upper pelvis to lower chest."""
        b = self.body.build
        heights = np.linspace(-150.0, 150.0, 31) * b.scale
        grid = np.linspace(-320.0, 320.0, 161)
        x, y, z = np.meshgrid(grid, grid, heights, indexing="ij")
        inside = self.body.skin(x, y, z) < 0
        across, deep, _ = np.nonzero(inside)
        low = np.array([grid[across.min()], grid[deep.min()], -128.0 * b.scale])
        high = np.array([grid[across.max()], grid[deep.max()], b.dome_mm + 30.0])
        return low + self.pose.shift_mm, high + self.pose.shift_mm
