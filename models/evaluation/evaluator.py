"""Measure a network on labelled cases through the very path that clinical input takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import Bundle
from models.errors import TrainingError
from models.evaluation.measures import CaseMeasures, Evaluation, OrganMeasures, RocCurve
from models.metrics.overlap import (
    Overlap,
    confusion_matrix,
    joint_counts,
    merge_into_background,
)
from models.metrics.roc import RocCounter
from models.metrics.surface import LabelSurfaces
from models.segmenter import Segmenter
from models.segments import Segment
from models.training.cases import UNKNOWN, Case
from models.training.teacher import cases_learnt

#: Distance in mm at which two surfaces agree, where no other is given.
TOLERANCE_MM = 2.0


class Evaluator:
    """Collects the measures of cases, also of predictions from elsewhere or of several networks.

    Cases come one at a time; none is kept.

    Parameters
    ----------
    bundle
        Names the organs: their network classes in a case, their segment numbers in a prediction.
    nsd_tolerance_mm, organ_tolerances_mm
        Distance at which two surfaces still agree, and that of the organs that have another.

    Raises
    ------
    TrainingError
        If a tolerance is negative, or of an organ that the model does not know.
    """

    def __init__(
        self,
        bundle: Bundle,
        nsd_tolerance_mm: float = TOLERANCE_MM,
        organ_tolerances_mm: Mapping[str, float] | None = None,
    ):
        self._bundle = bundle
        self._organs = tuple(sorted(bundle.segments, key=lambda s: bundle.class_of[s.name]))
        self._tolerance_mm = nsd_tolerance_mm
        self._organ_tolerances_mm = dict(organ_tolerances_mm or {})
        self._check_tolerances()
        self._cases: list[CaseMeasures] = []
        self._learnt: list[str] = []
        self._roc = {organ.name: RocCounter() for organ in self._organs}

    def segment(self, segmenter: Segmenter, case: Case) -> tuple[NDArray[np.uint8], CaseMeasures]:
        """Segment a case with a network of the bundle's organs, and measure.

        Returns
        -------
        Segment numbers `(D, H, W)` in the case's order, and the measures.
        """
        counters = {organ.name: RocCounter() for organ in self._labelled(case)}

        def count(k: int, scores: Tensor) -> None:
            truth, plane = case.labels[k], scores.cpu().numpy()
            known = truth != UNKNOWN
            part = ... if known.all() else known
            for name, counter in counters.items():
                number = self._bundle.class_of[name]
                # background alone where no window saw any body
                score = plane[number] if number < len(plane) else np.zeros_like(plane[0])
                counter.add(score[part], truth[part] == number)

        labels = segmenter.segment(case.volume, on_scores=count).labels
        measures = self._measure(labels, case, {n: c.auc for n, c in counters.items()})
        for name, counter in counters.items():
            self._roc[name].merge(counter)
        self._cases.append(measures)
        if case.name in cases_learnt(segmenter.bundle):
            self._learnt.append(case.name)
        return labels, measures

    def compare(self, prediction: NDArray[np.uint8], case: Case) -> CaseMeasures:
        """Measure a prediction that exists; it has no scores, so `auc` is None.

        Parameters
        ----------
        prediction
            `(D, H, W)` segment numbers of the bundle, in the case's order.

        Raises
        ------
        TrainingError
            If it has another shape than the case, or other numbers.
        """
        measures = self._measure(prediction, case, {})
        self._cases.append(measures)
        return measures

    def evaluation(self) -> Evaluation:
        """All that has been measured."""
        curves = {name: _curve(counter) for name, counter in self._roc.items()}
        return Evaluation(
            model=self._bundle.name,
            version=self._bundle.version,
            sha256=self._bundle.sha256,
            organs=tuple(organ.name for organ in self._organs),
            labels={organ.name: organ.label for organ in self._organs},
            rgb={organ.name: organ.rgb for organ in self._organs},
            cases=tuple(self._cases),
            roc={name: curve for name, curve in curves.items() if curve is not None},
            nsd_tolerance_mm=self._tolerance_mm,
            organ_tolerances_mm=self._organ_tolerances_mm,
            learnt_cases=tuple(self._learnt),
        )

    def _labelled(self, case: Case) -> list[Segment]:
        return [o for o in self._organs if self._bundle.class_of[o.name] not in case.unlabelled]

    def _measure(
        self, prediction: NDArray[np.uint8], case: Case, auc: Mapping[str, float | None]
    ) -> CaseMeasures:
        if prediction.shape != case.labels.shape:
            raise TrainingError(
                f"{case.name}: expected a prediction of shape {case.labels.shape}, "
                f"found {prediction.shape}"
            )
        joint = joint_counts(case.labels, prediction)
        self._check_values(joint, case)
        confusion = confusion_matrix(
            joint,
            {self._bundle.class_of[o.name]: at for at, o in enumerate(self._organs, 1)},
            {o.number: at for at, o in enumerate(self._organs, 1)},
            len(self._organs) + 1,
            UNKNOWN,
        )
        surfaces = LabelSurfaces(case.labels, prediction, case.spacing_mm, UNKNOWN)
        labelled = {organ.name for organ in self._labelled(case)}
        voxel_ml = float(np.prod(case.spacing_mm)) / 1000 if case.spacing_stated else None
        organs = {
            organ.name: self._measure_organ(
                organ, Overlap.of_class(confusion, at), surfaces, voxel_ml, auc.get(organ.name)
            )
            if organ.name in labelled
            else OrganMeasures(
                volume_ml=_volume_ml(Overlap.of_class(confusion, at).found, voxel_ml)
            )
            for at, organ in enumerate(self._organs, 1)
        }
        merged = merge_into_background(
            confusion, [at for at, o in enumerate(self._organs, 1) if o.name not in labelled]
        )
        voxels = int(merged.sum())
        return CaseMeasures(
            name=case.name,
            patient=case.patient,
            organs=organs,
            pixel_accuracy=int(np.trace(merged)) / voxels if voxels else None,
            confusion=merged,
            spacing_stated=case.spacing_stated,
        )

    def _measure_organ(
        self,
        organ: Segment,
        overlap: Overlap,
        surfaces: LabelSurfaces,
        voxel_ml: float | None,
        auc: float | None,
    ) -> OrganMeasures:
        distances = surfaces.distances(organ.number, self._bundle.class_of[organ.name])
        if distances is None:
            hd95_mm, nsd = None, 0.0 if overlap.found or overlap.real else None
        else:
            tolerance_mm = self._organ_tolerances_mm.get(organ.name, self._tolerance_mm)
            hd95_mm, nsd = distances.hausdorff_mm(95), distances.agreement(tolerance_mm)
        return OrganMeasures(
            dice=overlap.dice,
            iou=overlap.iou,
            hd95_mm=hd95_mm,
            nsd=nsd,
            precision=overlap.precision,
            recall=overlap.recall,
            accuracy=overlap.accuracy,
            auc=auc,
            volume_ml=_volume_ml(overlap.found, voxel_ml),
            truth_ml=_volume_ml(overlap.real, voxel_ml),
            volume_error_ml=_volume_ml(overlap.found - overlap.real, voxel_ml),
            volume_error_percent=(
                100 * (overlap.found - overlap.real) / overlap.real if overlap.real else None
            ),
        )

    def _check_values(self, joint: NDArray[np.int64], case: Case) -> None:
        classes = {0, UNKNOWN, *self._bundle.class_of.values()}
        strange = sorted(set(np.flatnonzero(joint.sum(axis=1)).tolist()) - classes)
        if strange:
            raise TrainingError(
                f"{case.name}: expected labels of {sorted(classes)}, found {strange}"
            )
        numbers = {0, *(organ.number for organ in self._organs)}
        strange = sorted(set(np.flatnonzero(joint.sum(axis=0)).tolist()) - numbers)
        if strange:
            raise TrainingError(
                f"{case.name}: expected a prediction with segment numbers of {sorted(numbers)}, "
                f"found {strange}"
            )

    def _check_tolerances(self) -> None:
        strange = sorted(self._organ_tolerances_mm.keys() - {o.name for o in self._organs})
        if strange:
            raise TrainingError(
                f"expected tolerances of organs of {self._bundle.name}, found {', '.join(strange)}"
            )
        for mm in (self._tolerance_mm, *self._organ_tolerances_mm.values()):
            if not mm >= 0:
                raise TrainingError(f"expected a tolerance of 0 mm or more, found {mm}")


def _volume_ml(voxels: int, voxel_ml: float | None) -> float | None:
    return None if voxel_ml is None else voxels * voxel_ml


def _curve(counter: RocCounter) -> RocCurve | None:
    rates, auc = counter.curve(), counter.auc
    if rates is None or auc is None:
        return None
    return RocCurve(false_positive_rate=rates[0], true_positive_rate=rates[1], auc=auc)
