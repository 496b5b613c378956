"""One piece of anatomy: where it is, and what it looks like inside."""

from __future__ import annotations

from dataclasses import dataclass

from models.phantom.shapes import Shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Detail:
    """Something drawn inside a structure, such as vessels in the liver.

    Parameters
    ----------
    parts
        Solids in mm; their union is drawn.
    hu
        Value inside.
    label
        The organ's number where the detail is; None keeps that of the structure.
    """

    parts: tuple[Shape, ...]
    hu: float
    label: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """A piece of anatomy.

    Parameters
    ----------
    name
        For people.
    parts
        Solids in mm; their union is the structure.
    hu
        Value inside, or of the content of a hollow organ.
    label
        The organ's number in label maps, 0 for what is not segmented.
    rim
        Thickness in mm and HU of a wall or of cortical bone.
    gap_mm
        Fat left between this structure and those of higher priority.
    within
        Names of the body's regions that it may not leave, with a margin in mm.
    gas_above_mm
        Gas fills the lumen anterior of this y in LPS mm (people lie supine).
    mottle
        HU amplitude and grain in mm of irregular texture.
    gas_share
        Share of the texture that is gas bubbles (stool).
    details
        Drawn inside, later ones over earlier ones.
    """

    name: str
    parts: tuple[Shape, ...]
    hu: float
    label: int = 0
    rim: tuple[float, float] | None = None
    gap_mm: float = 0.0
    within: tuple[tuple[str, float], ...] = ()
    gas_above_mm: float | None = None
    mottle: tuple[float, float] = (0.0, 4.0)
    gas_share: float = 0.0
    details: tuple[Detail, ...] = ()
