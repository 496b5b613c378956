"""Volumes of a few hundred voxels as files: quick to write, and wrong in any way that is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: (k, j, i)
SHAPE = (5, 8, 10)
SPACING_MM = (4.0, 2.0, 2.5)
#: Columns are i, j, k: from right to left, front to back, feet to head, in RAS.
AFFINE_RAS = np.array(
    [[-2.5, 0, 0, 11.0], [0, -2.0, 0, 7.0], [0, 0, 4.0, -30.0], [0, 0, 0, 1.0]], float
)


def body(seed: int = 0) -> NDArray[np.int16]:
    """HU `(D, H, W)` of a block of tissue in air, with fat around it; a seed makes it another."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 1:7, 1:9] = -90
    noise = np.random.default_rng(seed).integers(-20, 20, (SHAPE[0], 4, 6))
    hu[:, 2:6, 2:8] = 60 + noise
    return hu


def organs() -> NDArray[np.uint8]:
    """Labels `(D, H, W)`: 6 on the patient's right (a liver by BTCV), 1 on the left (a spleen)."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 2:5] = 6
    labels[2:4, 3:6, 6:8] = 1
    return labels


def write(path: Path, array: NDArray[Any], affine_ras: NDArray[Any] = AFFINE_RAS) -> Path:
    """Write `(D, H, W)` as NIfTI with its sform."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine_ras)
    nibabel.save(image, path)
    return path


def write_case(image: Path, label: Path | None, seed: int = 0) -> None:
    """Write `body` and `organs`."""
    write(image, body(seed))
    if label is not None:
        write(label, organs())


def write_png(path: Path, array: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path
