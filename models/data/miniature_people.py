"""Small labelled phantoms with the organs of the public data sets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.phantom.anatomy import Anatomy
from models.phantom.painting import Painter
from models.phantom.plane import PlaneMaker
from models.phantom.scanner import Scanner
from models.phantom.shapes import Capsule
from models.phantom.structures import Structure

#: Number of each organ in a person's labels; 1 to 9 are those of the phantom itself.
ORGANS = {
    "spleen": 1,
    "pancreas": 2,
    "kidney_left": 3,
    "gallbladder": 4,
    "oesophagus": 5,
    "liver": 6,
    "stomach": 7,
    "duodenum": 8,
    "kidney_right": 9,
    "aorta": 10,
    "inferior_vena_cava": 11,
    "portal_and_splenic_veins": 12,
    "adrenal_right": 13,
    "adrenal_left": 14,
    "bowel": 15,
}
_BY_NAME = {
    "aorta": "aorta",
    "vena cava": "inferior_vena_cava",
    "portal vein": "portal_and_splenic_veins",
    "small bowel": "bowel",
    "right flexure": "bowel",
    "left flexure": "bowel",
}
#: Room around the body, and what is left out of the phantom's trunk from below: pelvis and bowel.
_MARGIN_MM, _PELVIS_MM = 8.0, 45.0
_TUMOUR_HU = 42
#: Largest radius of a tumour: one of 4 cm is seen on coarse grids, too.
_TUMOUR_MM = 20.0
#: The phantom's adrenal limbs are thin; at this many times their radius each gland has the 4 to
#: 5 ml of a real one, which a grid of a few millimetres can show.
_ADRENAL_SWELLING = 2.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """A phantom's CT, and all organs of `ORGANS` in it.

    Parameters
    ----------
    hu, organs
        On one grid.
    """

    hu: Volume = field(repr=False)
    organs: LabelMap = field(repr=False)

    def labels(self, values: dict[str, int]) -> NDArray[np.uint8]:
        """Labels `(D, H, W)` with a data set's own values; organs it lacks are background."""
        table = np.zeros(256, np.uint8)
        for organ, value in values.items():
            table[ORGANS[organ]] = value
        return table[self.organs.labels]


@lru_cache(maxsize=8)
def person(seed: int, spacing_mm: float) -> Person:
    """The person of a seed, in portal phase, on an isotropic grid around the abdomen.

    Slices have no thickness, unlike those of `models.phantom`: that takes a quarter of the time.
    """
    anatomy = Anatomy.draw(seed, "portal")
    anatomy = replace(anatomy, structures=_labelled_structures(anatomy.structures))
    geometry = _grid(anatomy, spacing_mm)
    planes = PlaneMaker(anatomy, geometry)
    scanner = Scanner.draw(seed, geometry, False)
    painter = Painter(anatomy, scanner.edge_mm)
    hu, labels = np.empty(geometry.shape, np.int16), np.empty(geometry.shape, np.uint8)
    for k in range(geometry.shape[0]):
        mean_hu, labels[k] = painter.draw(planes.at(k))
        hu[k], _ = scanner.expose(mean_hu, k)
    return Person(
        hu=Volume(hu=hu, geometry=geometry), organs=LabelMap(labels=labels, geometry=geometry)
    )


def _grid(anatomy: Anatomy, spacing_mm: float) -> VolumeGeometry:
    low, high = anatomy.extent_mm()
    low = low + np.array([0.0, 0.0, _PELVIS_MM])
    room = np.array([_MARGIN_MM, _MARGIN_MM, 0.0])
    width, height, depth = np.ceil((high - low + 2 * room) / spacing_mm).astype(int).tolist()
    last_mm = (np.array([width, height, depth]) - 1) * spacing_mm
    origin = ((low + high) / 2 - last_mm / 2).tolist()
    return VolumeGeometry.from_spacing((depth, height, width), (spacing_mm,) * 3, origin)


def with_tumour(someone: Person, seed: int) -> tuple[Volume, NDArray[np.bool_]]:
    """A person's CT with a round dark tumour in the liver, and where it is."""
    liver = someone.organs.labels == ORGANS["liver"]
    spacing_mm = someone.hu.geometry.spacing_mm
    depth_mm = ndimage.distance_transform_edt(liver, sampling=spacing_mm)
    centre = np.unravel_index(int(depth_mm.argmax()), liver.shape)
    radius_mm = min(float(depth_mm.max()), _TUMOUR_MM)
    axes = [
        (np.arange(n) - at) * mm for n, at, mm in zip(liver.shape, centre, spacing_mm, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    tumour: NDArray[np.bool_] = liver & (z**2 + y**2 + x**2 <= radius_mm**2)
    hu = someone.hu.hu.copy()
    noise = np.random.default_rng([seed, 7]).normal(0, 6, int(tumour.sum()))
    hu[tumour] = np.rint(_TUMOUR_HU + noise).astype(np.int16)
    return Volume(hu=hu, geometry=someone.hu.geometry), tumour


def _labelled_structures(structures: tuple[Structure, ...]) -> tuple[Structure, ...]:
    """All structures with the numbers of their organs, adrenals ahead of the kidneys.

    Behind kidney and liver they would be hidden in some people.
    """
    adrenals = [_adrenal(structure) for structure in structures if structure.name == "adrenal"]
    others = [_labelled(structure) for structure in structures if structure.name != "adrenal"]
    first = next(n for n, structure in enumerate(others) if structure.name == "kidney")
    return (*others[:first], *adrenals, *others[first:])


def _labelled(structure: Structure) -> Structure:
    """The structure with the number of its organ, where the phantom itself gives it none."""
    organ = "bowel" if structure.name.endswith("colon") else _BY_NAME.get(structure.name)
    return structure if organ is None else replace(structure, label=ORGANS[organ])


def _adrenal(structure: Structure) -> Structure:
    """An adrenal gland of a real one's volume, with the number of its side."""
    low, high = structure.parts[0].bounds
    organ = "adrenal_left" if low[0] + high[0] > 0 else "adrenal_right"
    limbs = tuple(
        replace(
            part,
            start_radius=_ADRENAL_SWELLING * part.start_radius,
            end_radius=_ADRENAL_SWELLING * part.end_radius,
        )
        for part in structure.parts
        if isinstance(part, Capsule)
    )
    return replace(structure, parts=limbs, label=ORGANS[organ])
