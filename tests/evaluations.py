"""A small evaluation with known figures, for tests of what is made of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.evaluation.measures import CaseMeasures, Evaluation, OrganMeasures, RocCurve

#: Dice of each case: liver and spleen, None where the case has no such organ.
DICE: Mapping[str, tuple[float | None, float | None]] = {
    "case-a": (0.95, 0.91),
    "case-b": (0.90, 0.40),
    "case-c": (0.70, None),
    "case-d": (0.98, 0.93),
}
LABELS = {"liver": "Liver", "spleen": "Spleen"}
CONFUSION = np.array(((900, 10, 0), (20, 180, 0), (5, 0, 0)), np.int64)


def evaluation(
    dice: Mapping[str, tuple[float | None, float | None]] = DICE,
    labels: Mapping[str, str] = LABELS,
    *,
    model: str = "abdomen_test",
    roc: bool = True,
) -> Evaluation:
    """Cases of two organs; each two of them are of one patient."""
    x = np.array((0.0, 0.02, 0.1, 1.0))
    curve = RocCurve(
        false_positive_rate=x, true_positive_rate=np.array((0.0, 0.8, 0.96, 1.0)), auc=0.9471
    )
    return Evaluation(
        model=model,
        version="2.3.4",
        sha256="ab" * 32,
        organs=tuple(labels),
        labels=labels,
        rgb={name: (200, 30 + 100 * n, 90) for n, name in enumerate(labels)},
        cases=tuple(
            CaseMeasures(
                name=name,
                patient=f"patient-{n // 2}",
                organs={organ: _organ(value) for organ, value in zip(labels, values, strict=True)},
                pixel_accuracy=0.99 - n / 100,
                confusion=CONFUSION,
            )
            for n, (name, values) in enumerate(dice.items())
        ),
        roc=dict.fromkeys(labels, curve) if roc else {},
        nsd_tolerance_mm=2.0,
        organ_tolerances_mm={"spleen": 1.5},
    )


def _organ(dice: float | None) -> OrganMeasures:
    if dice is None:
        return OrganMeasures(volume_ml=0.0, truth_ml=0.0, volume_error_ml=0.0)
    return OrganMeasures(
        dice=dice,
        iou=dice / (2 - dice),
        hd95_mm=40 * (1 - dice),
        precision=dice,
        recall=dice,
        accuracy=0.999,
        volume_ml=1480.0,
        truth_ml=1500.0,
        volume_error_ml=-20.0,
        volume_error_percent=-100 * 20 / 1500,
    )
