"""The figures of an evaluation, and their JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class OrganMeasures:
    """One organ in one case, over the voxels whose truth is known.

    A measure that is not defined is None. With "both" for an organ that neither the truth nor the
    prediction has, "missed" for one of the truth alone, and "invented" for one of the prediction
    alone:

    | measure | both | missed | invented |
    |---|---|---|---|
    | dice, iou, nsd | None | 0 | 0 |
    | hd95_mm | None | None | None |
    | precision | None | None | 0 |
    | recall | None | 0 | None |
    | accuracy | its value | its value | its value |
    | auc | None | its value | None |
    | volumes, volume_error_ml | their value | their value | their value |
    | volume_error_percent | None | -100 | None |

    An organ that the case does not label has None throughout, except for `volume_ml`. Volumes are
    None too, and distances in pixels, in a case whose files state no spacing.

    Parameters
    ----------
    dice, iou, precision, recall, accuracy
        0 to 1, over voxels, the organ against all else.
    hd95_mm
        Hausdorff distance at the 95th percentile. No number stands for "nothing to measure to":
        an organ that is missed or invented counts in `dice` and `nsd`.
    nsd
        Normalised surface distance (surface Dice) at the evaluation's tolerance, 0 to 1.
    auc
        Area under the ROC curve of the organ's score; None too where no scores were at hand.
    volume_ml, truth_ml, volume_error_ml
        Of the prediction, of the truth, and the first less the second.
    volume_error_percent
        Signed, of the true volume.
    """

    dice: float | None = None
    iou: float | None = None
    hd95_mm: float | None = None
    nsd: float | None = None
    precision: float | None = None
    recall: float | None = None
    accuracy: float | None = None
    auc: float | None = None
    volume_ml: float | None = None
    truth_ml: float | None = None
    volume_error_ml: float | None = None
    volume_error_percent: float | None = None


#: Every measure's name, in the order of tables.
MEASURES = tuple(entry.name for entry in fields(OrganMeasures))


@dataclass(frozen=True, kw_only=True, eq=False)
class CaseMeasures:
    """One case.

    Parameters
    ----------
    organs
        By name, in the evaluation's order; all of them.
    pixel_accuracy
        Share of the known voxels that have the right class, background among the classes.
    confusion
        `(C, C)` int64 voxels, truth x prediction; background, then the evaluation's organs.
        Organs that the case does not label are background on both sides.
    spacing_stated
        Whether its files say how large a voxel is: what is in mm is in pixels where they do not.
    """

    name: str
    patient: str
    organs: Mapping[str, OrganMeasures]
    pixel_accuracy: float | None
    confusion: NDArray[np.int64] = field(repr=False)
    spacing_stated: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class RocCurve:
    """How many voxels of an organ are found, against how many others are taken for it.

    Parameters
    ----------
    false_positive_rate, true_positive_rate
        `(P,)` float64, rising from 0 to 1; at most 200 points of the curve.
    auc
        Area under the whole curve.
    """

    false_positive_rate: NDArray[np.float64] = field(repr=False)
    true_positive_rate: NDArray[np.float64] = field(repr=False)
    auc: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A model on labelled cases.

    Parameters
    ----------
    model, version, sha256
        The bundle's name and version, and its weights; the latter two are empty where the figures
        are of other weights.
    organs
        Names in the order of classes; background is not among them.
    labels, rgb
        Text for people and colour, 0 to 255, of each organ.
    cases
        In the order in which they were measured.
    roc
        Of each organ whose scores were at hand, over the voxels of all cases together.
    nsd_tolerance_mm
        Distance at which two surfaces still agree.
    organ_tolerances_mm
        That of the organs that have another.
    note
        What was measured, where that is not the bundle's weights.
    learnt_cases
        Names of the cases that are known to have gone into the weights that segmented them, in
        the order of `cases`: their figures tell nothing of others.
    """

    model: str
    version: str
    sha256: str
    organs: tuple[str, ...]
    labels: Mapping[str, str]
    rgb: Mapping[str, tuple[int, int, int]]
    cases: tuple[CaseMeasures, ...]
    roc: Mapping[str, RocCurve]
    nsd_tolerance_mm: float
    organ_tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    learnt_cases: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Of distances: `mm`, `pixels` where no case states its spacing, or `mm or pixels`."""
        stated = {case.spacing_stated for case in self.cases}
        return "mm or pixels" if len(stated) == 2 else "pixels" if stated == {False} else "mm"

    @property
    def confusion(self) -> NDArray[np.int64]:
        """`(C, C)`: that of all cases together."""
        size = len(self.organs) + 1
        return sum((case.confusion for case in self.cases), np.zeros((size, size), np.int64))


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as JSON, its numbers in full."""
    text = json.dumps(to_json(evaluation), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation in values that JSON has."""
    return {
        "model": evaluation.model,
        "version": evaluation.version,
        "sha256": evaluation.sha256,
        "note": evaluation.note,
        "learnt_cases": list(evaluation.learnt_cases),
        "nsd_tolerance_mm": evaluation.nsd_tolerance_mm,
        "organ_tolerances_mm": dict(evaluation.organ_tolerances_mm),
        "organs": [
            {"name": name, "label": evaluation.labels[name], "rgb": list(evaluation.rgb[name])}
            for name in evaluation.organs
        ],
        "cases": [
            {
                "name": case.name,
                "patient": case.patient,
                "spacing_stated": case.spacing_stated,
                "pixel_accuracy": case.pixel_accuracy,
                "organs": {name: asdict(organ) for name, organ in case.organs.items()},
                "confusion": case.confusion.tolist(),
            }
            for case in evaluation.cases
        ],
        "roc": {
            name: {
                "false_positive_rate": curve.false_positive_rate.tolist(),
                "true_positive_rate": curve.true_positive_rate.tolist(),
                "auc": curve.auc,
            }
            for name, curve in evaluation.roc.items()
        },
    }
