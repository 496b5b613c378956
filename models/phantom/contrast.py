"""Hounsfield units of tissue before and after an intravenous contrast agent.

Typical values of an adult at 120 kV. The phases are those radiologists name: none, arterial
(about 30 s after the injection), portal venous (70 s) and delayed (180 s).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Phase = Literal["none", "arterial", "portal", "delayed"]
PHASES: tuple[Phase, ...] = get_args(Phase)

#: HU in the order of `PHASES`, for tissue that takes up contrast.
_ENHANCING: dict[str, tuple[float, float, float, float]] = {
    "liver": (56, 66, 110, 95),
    "spleen": (50, 120, 125, 100),
    "pancreas": (42, 105, 95, 80),
    "cortex": (33, 180, 185, 160),
    "medulla": (31, 75, 165, 165),
    "pelvis": (8, 10, 25, 400),
    "aorta": (41, 300, 150, 112),
    "cava": (40, 85, 140, 112),
    "portal": (40, 130, 170, 118),
    "hepatic": (38, 60, 165, 115),
    "heart": (42, 240, 145, 110),
    "myocardium": (46, 105, 108, 88),
    "muscle": (54, 58, 64, 64),
    "gut_wall": (40, 85, 95, 80),
    "adrenal": (32, 70, 75, 65),
    "skin": (25, 28, 30, 30),
}

#: HU that no contrast changes.
_FIXED: dict[str, float] = {
    "air": -1000.0,
    "fat": -103.0,
    "lung": -855.0,
    "bile": 9.0,
    "fluid": 14.0,
    "csf": 18.0,
    "cord": 42.0,
    "disc": 82.0,
    "cartilage": 115.0,
}


def tissue_hu(phase: Phase, rng: np.random.Generator) -> dict[str, float]:
    """HU per tissue for one person: the phase's values with each person's own deviation."""
    column = PHASES.index(phase)
    strength = rng.uniform(0.85, 1.15)
    result = dict(_FIXED)
    for name, values in _ENHANCING.items():
        native = values[0] * rng.uniform(0.94, 1.06)
        uptake = (values[column] - values[0]) * strength * rng.uniform(0.95, 1.05)
        result[name] = float(native + uptake)
    # a fatty liver is common; kept mild, so that the liver stays plausible in each phase
    result["liver"] -= float(max(0.0, rng.normal(0.0, 6.0)))
    result["fat"] += float(rng.normal(0.0, 4.0))
    result["lung"] += float(rng.normal(0.0, 15.0))
    result["cortical"] = float(rng.uniform(480, 750))
    result["trabecular"] = float(rng.uniform(130, 240))
    return result
