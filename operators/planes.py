"""How an image lies in the patient, by its direction cosines (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from pydicom import Dataset

from operators.elements import numbers_of

PLANES = ("Sagittal", "Coronal", "Axial")  # in order of the normal's main axis: x, y, z


def angles_of(header: Dataset) -> dict[str, float] | None:
    """Degrees between an image's normal and that of each plane; None without usable cosines."""
    cosines = numbers_of(header, "ImageOrientationPatient", 6)
    return None if cosines is None else _angles(cosines)


@lru_cache(maxsize=256)  # thousands of images share a few orientations
def _angles(cosines: tuple[float, ...]) -> dict[str, float] | None:
    with np.errstate(all="ignore"):  # absurd numbers end as NaN or infinity
        normal = np.abs(np.cross(cosines[:3], cosines[3:]))
        length = float(np.linalg.norm(normal))
    if not 0 < length < math.inf:
        return None
    shares = np.minimum(normal / length, 1.0)
    return {
        name: math.degrees(math.acos(share)) for name, share in zip(PLANES, shares, strict=True)
    }


def plane_of(header: Dataset) -> str | None:
    """The plane nearest to an image: `Axial`, `Coronal` or `Sagittal`; None without cosines."""
    angles = angles_of(header)
    return None if angles is None else min(angles, key=lambda name: angles[name])
