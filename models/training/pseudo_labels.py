"""Labels where there are none: a teacher's prediction, averaged over small variations of a case.

Self-training with test-time augmentation (Wang et al. 2019, doi 10.1016/j.neucom.2019.01.103): what
the teacher is sure of becomes a label, what it is in doubt of becomes unknown.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import Bundle
from models.errors import TrainingError
from models.precision import run_window
from models.preprocessing import Prepared, restore
from models.sliding_window import infer
from models.training.cases import UNKNOWN, Case
from models.training.optimisation import forward_precision
from models.training.recipe import Recipe
from models.training.settings import check_settings, from_settings

log = logging.getLogger(__name__)

#: Raised whenever the same settings lead to other labels.
VERSION = 1
#: A class is filled in if the teacher is sure of at least this volume of it, and of this part of
#: all that it expects: where it knows a mere piece, the rest would be taught as background.
LEAST_ML = 0.5
LEAST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class View:
    """One variation of a case. There are no flips: see `models.training.flips`.

    Parameters
    ----------
    shift
        How much earlier the windows start, as part of a window.
    scale
        Size of the body.
    gain, offset
        Of the network's input; the offset is a part of its range.
    """

    shift: float = 0.0
    scale: float = 1.0
    gain: float = 1.0
    offset: float = 0.0


VIEWS = (
    View(),
    View(shift=0.125, gain=1.1, offset=0.03),
    View(scale=0.95, gain=0.9),
    View(scale=1.05, offset=-0.03),
)


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """The recipe's setting: whose labels, and from which mean probability on."""

    teacher: str
    least_confidence: float = 0.9

    def __post_init__(self) -> None:
        check_settings(self)
        if not isinstance(self.teacher, str) or not self.teacher.strip():
            raise TrainingError(f"pseudo_labels: expected a teacher, found {self.teacher!r}")
        if not 0.5 <= self.least_confidence < 1:
            raise TrainingError(
                "pseudo_labels: expected a least_confidence of 0.5 to below 1, found "
                f"{self.least_confidence}"
            )


def pseudo_labels_of(recipe: Recipe) -> PseudoLabels | None:
    """What a recipe says of pseudo-labels; raises TrainingError where it is wrong."""
    settings = recipe.content.get("pseudo_labels")
    return None if settings is None else from_settings(PseudoLabels, "pseudo_labels", settings)


class Averager:
    """A bundle's network, asked about several views of an image."""

    def __init__(self, bundle: Bundle, device: torch.device, views: Sequence[View] = VIEWS) -> None:
        self.bundle = bundle
        self.views = tuple(views)
        self._device = device
        self._network = bundle.load_network().to(device)
        half = forward_precision("auto", device) is torch.bfloat16
        self._dtype = torch.bfloat16 if half else torch.float32

    def mean(self, image: Tensor) -> Tensor:
        """Mean class probabilities `(C, D, H, W)` of a prepared image `(1, 1, D, H, W)`."""
        scores = self._scores(image, self.views[0])
        for view in self.views[1:]:
            scores += self._scores(image, view)
        return scores / len(self.views)

    def _scores(self, image: Tensor, view: View) -> Tensor:
        window, windows = self.bundle.preprocessing.window, self.bundle.sliding_window
        offset = view.offset * (window.highest - window.lowest)
        varied = (image * view.gain + offset).clamp(window.lowest, window.highest)
        shown = torch.where(image > window.lowest, varied, image)  # air stays air
        shape = image.shape[2:]
        if view.scale != 1:
            fixed = 3 - self.bundle.dimensions  # axes of slices alone
            scaled = [round(n * view.scale) for n in shape[fixed:]]
            shown = _resize(shown, [*shape[:fixed], *scaled])
        inner, before = shown.shape[2:], [int(view.shift * n) for n in windows.size]
        shown = F.pad(shown, [before[2], 0, before[1], 0, before[0], 0], value=window.lowest)
        scores = infer(
            shown,
            lambda patches: run_window(self._network, patches, self._dtype),
            windows,
            air=window.lowest,
            device=self._device,
        )
        kept = tuple(slice(b, b + n) for b, n in zip(before, inner, strict=True))
        scores = scores[(slice(None), *kept)]
        return scores if inner == shape else _resize(scores[None], shape)[0]


def _resize(image: Tensor, shape: Sequence[int]) -> Tensor:
    return F.interpolate(image, size=list(shape), mode="trilinear", align_corners=False)


def fill_unlabelled(case: Case, teacher: Averager, *, least_confidence: float = 0.9) -> Case:
    """Label what a case leaves open and the teacher is sure of.

    An unknown voxel gets the class whose mean probability exceeds `least_confidence`. So does a
    background voxel of a case without some organs, if that class is one of them; where it is not,
    but may be by more than `1 - least_confidence`, the voxel becomes unknown. An organ of most of
    which the teacher is not sure stays unlabelled. A voxel with a label never changes.

    Returns
    -------
    The case, its `unlabelled` without the classes that were filled in.
    """
    if not case.unlabelled and not (case.labels == UNKNOWN).any():
        return case
    prepared = teacher.bundle.preprocessing.prepare(case.volume)
    scores = teacher.mean(prepared.image)
    filled = _certain(scores, prepared, case, least_confidence)
    left = torch.tensor(sorted(case.unlabelled - set(filled)), dtype=torch.long)
    labels = np.array(case.labels)

    def fill(k: int, probability: Tensor) -> None:
        slice_ = torch.from_numpy(labels[k])
        unknown, background = slice_ == UNKNOWN, slice_ == 0
        sure, winner = probability.max(dim=0)
        certain = unknown & (sure > least_confidence) & ~torch.isin(winner, left)
        slice_[certain] = winner[certain].to(torch.uint8)
        if filled:
            sure, place = probability[filled].max(dim=0)
            certain = background & (sure > least_confidence)
            slice_[background & (sure > 1 - least_confidence)] = UNKNOWN
            slice_[certain] = torch.tensor(filled, dtype=torch.uint8)[place[certain]]

    restore(scores, prepared, np.zeros(len(scores), np.uint8), on_scores=fill)
    return _with_labels(case, labels)


def _certain(scores: Tensor, prepared: Prepared, case: Case, confidence: float) -> list[int]:
    """The unlabelled classes of most of which the teacher is sure."""
    edges = zip(prepared.step, case.spacing_mm, strict=True)
    voxel_ml = math.prod(step * mm for step, mm in edges) / 1000
    found = []
    for number in sorted(case.unlabelled):
        if number < len(scores):  # else no window saw any body
            sure = int((scores[number] > confidence).sum())
            expected = float(scores[number].sum())
            if sure * voxel_ml >= LEAST_ML and sure >= LEAST_SHARE * expected:
                found.append(number)
    return found


def _with_labels(case: Case, labels: NDArray[np.uint8]) -> Case:
    """The case with labels that `fill_unlabelled` made."""
    there = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=256)).tolist()
    return replace(case, labels=labels, unlabelled=case.unlabelled - set(there))


class FilledCases(Sequence[Case]):
    """Cases with pseudo-labels, which are kept in a folder; all are made at once.

    Parameters
    ----------
    cases
        Read again whenever one is asked for.
    folder
        Gets one file a case, named by it and by a digest of all that its labels depend on.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        bundle: Bundle,
        settings: PseudoLabels,
        folder: Path,
        device: torch.device,
    ) -> None:
        self._cases = cases
        self._files: list[Path] = []
        teacher: Averager | None = None
        for case in cases:
            file = folder / _file_name(case, bundle, settings)
            self._files.append(file)
            if not file.exists():
                log.info("pseudo-labels of %s from %s", case.name, bundle.name)
                teacher = teacher or Averager(bundle, device)
                confidence = settings.least_confidence
                _write(file, fill_unlabelled(case, teacher, least_confidence=confidence).labels)

    def __len__(self) -> int:
        return len(self._cases)

    @overload
    def __getitem__(self, index: int) -> Case: ...

    @overload
    def __getitem__(self, index: slice) -> list[Case]: ...

    def __getitem__(self, index: int | slice) -> Case | list[Case]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        return _with_labels(self._cases[index], _read(self._files[index]))


def _file_name(case: Case, bundle: Bundle, settings: PseudoLabels) -> str:
    digest = hashlib.sha256()
    facts = (VERSION, bundle.sha256, settings.least_confidence, VIEWS, LEAST_ML, LEAST_SHARE)
    digest.update(repr((facts, case.spacing_mm, sorted(case.unlabelled))).encode())
    for array in (case.hu, case.labels):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', case.name)}-{digest.hexdigest()[:16]}.npy"


def _write(file: Path, labels: NDArray[np.uint8]) -> None:
    """Written whole or not at all: several processes of a run may make the same file."""
    partial = file.with_name(f".{secrets.token_hex(8)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            np.save(stream, labels, allow_pickle=False)
        os.replace(partial, file)
    except OSError as exc:
        raise TrainingError(f"cannot write {file}: {exc.strerror or exc}") from exc


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        labels: NDArray[np.uint8] = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as exc:
        raise TrainingError(f"cannot read the pseudo-labels {file}: {exc}; delete it") from exc
    return labels
