"""An evaluation made by hand, for the tests of what is made of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.evaluation.measures import CaseMeasures, Evaluation, OrganMeasures, RocCurve

ORGANS = ("liver", "kidney_left", "kidney_right")


def case_of(name: str, patient: str, dice: Sequence[float | None], **more: Any) -> CaseMeasures:
    """A case of which each organ has its Dice, and `more`."""
    return CaseMeasures(
        name=name,
        patient=patient,
        organs={o: OrganMeasures(dice=d, **more) for o, d in zip(ORGANS, dice, strict=True)},
        pixel_accuracy=0.5 + 0.4 * (dice[0] or 0),
        confusion=np.arange(16).reshape(4, 4),
    )


def evaluation_of(
    cases: Sequence[CaseMeasures], roc: Mapping[str, RocCurve] | None = None
) -> Evaluation:
    return Evaluation(
        model="tiny",
        version="0.0.1",
        sha256="ab" * 32,
        organs=ORGANS,
        labels=dict(zip(ORGANS, ("Liver", "Left kidney", "Right kidney"), strict=True)),
        rgb={name: (1, 2, number) for number, name in enumerate(ORGANS)},
        cases=tuple(cases),
        roc={} if roc is None else roc,
        nsd_tolerance_mm=2.0,
        organ_tolerances_mm={"liver": 3.0},
    )
