"""A body whose left kidney is told from the right by its own head and back alone."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.cases import UNKNOWN, Case

#: Classes of the body's organs.
CLASSES = {"kidney_left": 1, "kidney_right": 2, "liver": 3}
HEAD_HU, BACK_HU, TISSUE_HU = 900, 500, 100


def body(
    shape: tuple[int, int, int] = (28, 28, 28),
    name: str = "body",
    unlabelled: frozenset[int] = frozenset(),
) -> Case:
    """Canonical: a bright plate at the head, a duller one at the back, the left kidney at high x.

    Apart from its labels it is its own mirror image.
    """
    k, j, i = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    hu = np.full(shape, -1024, np.int16)
    hu[k**2 + j**2 + i**2 < 11**2] = TISSUE_HU
    plate = (np.abs(i) < 4) & (np.abs(j) < 4)
    hu[plate & (k > 6) & (k < 10)] = HEAD_HU
    hu[(np.abs(i) < 4) & (np.abs(k) < 4) & (j > 6) & (j < 10)] = BACK_HU
    labels = np.zeros(shape, np.uint8)
    labels[k**2 + j**2 + (i - 6) ** 2 < 3**2] = CLASSES["kidney_left"]
    labels[k**2 + j**2 + (i + 6) ** 2 < 3**2] = CLASSES["kidney_right"]
    labels[k**2 + (j + 5) ** 2 + i**2 < 2**2] = UNKNOWN
    return Case(
        name=name,
        patient=name,
        hu=hu,
        labels=labels,
        spacing_mm=(1.0, 1.0, 1.0),
        unlabelled=unlabelled,
    )


def left_of(hu: Tensor) -> NDArray[np.float64]:
    """Direction `(z, y, x)` of a body's own left, found from its head and back in `(D, H, W)`."""
    tissue = _centre(hu > -400)
    head = _centre(hu > 700) - tissue
    back = _centre((hu > 420) & (hu < 580)) - tissue
    return np.cross(head, back)


def sides_are_right(hu: Tensor, labels: Tensor) -> bool:
    """Whether the left kidney's label lies to the body's own left of the right kidney's."""
    across = _centre(labels == CLASSES["kidney_left"]) - _centre(labels == CLASSES["kidney_right"])
    return float(across @ left_of(hu)) > 0


def _centre(where: Tensor) -> NDArray[np.float64]:
    assert where.sum() > 4
    centre: NDArray[np.float64] = where.nonzero().to(torch.float64).mean(dim=0).numpy()
    return centre
