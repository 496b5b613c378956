"""Miniature data sets in the exact layouts of the public ones, made of phantoms.

They serve to try recipes and readers without a download; nothing in them is of a patient. The
same arguments give the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.label_values import BTCV, FLARE22, RSNA
from models.data.miniature_people import Person, person, with_tumour
from models.data.nifti import write_nifti
from models.errors import TrainingError
from models.geometry import VolumeGeometry

#: HU of black and white in PNG slices.
PNG_WINDOW_HU = (-160.0, 240.0)
_MSD_LABELS = {
    "Task03_Liver": {"0": "background", "1": "liver", "2": "cancer"},
    "Task09_Spleen": {"0": "background", "1": "spleen"},
}


def make_btcv(
    folder: Path,
    count: int = 2,
    *,
    form: Literal["raw", "monai"] = "raw",
    tests: int = 1,
    spacing_mm: float = 5.0,
    first_seed: int = 1,
) -> Path:
    """BTCV with 13 organs.

    Parameters
    ----------
    folder
        Made where there is none.
    count, tests
        Labelled people, and people without labels.
    form
        `raw` as the challenge gives it; `monai` as MONAI's tutorials do, with `dataset_0.json`,
        whose last labelled case is for validation.
    spacing_mm
        Distance between voxels on all axes.
    first_seed
        Other seeds, other people.

    Returns
    -------
    The folder to read.
    """
    raw = form == "raw"
    training = folder / "RawData" / "Training" if raw else folder
    images, labels = ("img", "label") if raw else ("imagesTr", "labelsTr")
    for n in range(1, count + 1):
        someone = person(first_seed + n - 1, spacing_mm)
        _write_pair(
            someone.hu.hu,
            someone.labels(dict(BTCV)),
            someone.hu.geometry,
            training / images / f"img{n:04d}.nii.gz",
            training / labels / f"label{n:04d}.nii.gz",
        )
    place = folder / "RawData" / "Testing" / "img" if raw else folder / "imagesTs"
    for n in range(1, tests + 1):
        someone = person(first_seed + count + n - 1, spacing_mm)
        write_nifti(someone.hu.hu, someone.hu.geometry, place / f"img{60 + n:04d}.nii.gz")
    if not raw:
        pairs = [
            {"image": f"imagesTr/img{n:04d}.nii.gz", "label": f"labelsTr/label{n:04d}.nii.gz"}
            for n in range(1, count + 1)
        ]
        _write_json(
            folder / "dataset_0.json",
            {
                "name": "btcv",
                "description": "miniature of phantoms",
                "modality": {"0": "CT"},
                "labels": {"0": "background"} | {str(v): name for name, v in BTCV.items()},
                "numTraining": count,
                "numTest": tests,
                "training": pairs[:-1],
                "validation": pairs[-1:],
                "test": [f"imagesTs/img{60 + n:04d}.nii.gz" for n in range(1, tests + 1)],
            },
        )
    return folder


def make_flare22(
    folder: Path,
    count: int = 2,
    *,
    unlabelled: int = 0,
    spacing_mm: float = 5.0,
    first_seed: int = 1,
) -> Path:
    """FLARE22 with 13 organs: `FLARE22Train`, and cases without labels where some are wanted.

    Parameters
    ----------
    folder, count, spacing_mm, first_seed
        As in `make_btcv`.
    unlabelled
        People in `FLARE22_UnlabeledCase1-1000`.
    """
    for n in range(1, count + 1):
        someone = person(first_seed + n - 1, spacing_mm)
        train = folder / "FLARE22Train"
        _write_pair(
            someone.hu.hu,
            someone.labels(dict(FLARE22)),
            someone.hu.geometry,
            train / "images" / f"FLARE22_Tr_{n:04d}_0000.nii.gz",
            train / "labels" / f"FLARE22_Tr_{n:04d}.nii.gz",
        )
    for n in range(1, unlabelled + 1):
        someone = person(first_seed + count + n - 1, spacing_mm)
        place = folder / "FLARE22_UnlabeledCase1-1000" / f"Case_{n:05d}_0000.nii.gz"
        write_nifti(someone.hu.hu, someone.hu.geometry, place)
    return folder


def make_msd(
    folder: Path,
    task: str = "Task03_Liver",
    count: int = 2,
    *,
    tests: int = 1,
    spacing_mm: float = 5.0,
    first_seed: int = 1,
) -> Path:
    """A task of the Medical Segmentation Decathlon: livers with a tumour, or spleens.

    Parameters
    ----------
    folder
        Gets a folder of the task's name.
    task
        `Task03_Liver` or `Task09_Spleen`.
    count, tests, spacing_mm, first_seed
        As in `make_btcv`.

    Returns
    -------
    The folder of the task.

    Raises
    ------
    TrainingError
        For any other task.
    """
    if task not in _MSD_LABELS:
        raise TrainingError(f"expected a task of {', '.join(_MSD_LABELS)}, found {task!r}")
    root, stem = folder / task, task.split("_")[1].casefold()
    names = [f"{stem}_{n}.nii.gz" for n in range(1, count + tests + 1)]
    for n, name in enumerate(names):
        seed = first_seed + n
        someone = person(seed, spacing_mm)
        hu, labels = _of_task(task, someone, seed)
        part = "Tr" if n < count else "Ts"
        write_nifti(hu, someone.hu.geometry, root / f"images{part}" / name)
        if n < count:
            write_nifti(labels, someone.hu.geometry, root / "labelsTr" / name)
    _write_json(
        root / "dataset.json",
        {
            "name": task.split("_")[1],
            "description": "miniature of phantoms",
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": _MSD_LABELS[task],
            "numTraining": count,
            "numTest": tests,
            "training": [
                {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"}
                for name in names[:count]
            ],
            "test": [f"./imagesTs/{name}" for name in names[count:]],
        },
    )
    return root


def make_png(
    folder: Path,
    count: int = 2,
    *,
    validation: int = 0,
    size: int = 128,
    every: int = 2,
    spacing_mm: float = 5.0,
    first_seed: int = 1,
) -> Path:
    """Slices as PNG with RSNA's six classes: `images/<patient>/<series>/<n>.png` and `masks`.

    Greys show -160 to 240 HU; masks hold the class values.

    Parameters
    ----------
    folder, spacing_mm, first_seed
        As in `make_btcv`.
    count, validation
        People; where some are for validation, folders `train` and `val` come first.
    size
        Pixels of a slice on either side.
    every
        Of a person's slices, each so-many-th is written.
    """
    for n in range(count + validation):
        someone = person(first_seed + n, spacing_mm)
        side = ("train" if n < count else "val") if validation else ""
        series = Path(str(10001 + n)) / str(20001 + n)
        labels = someone.labels(dict(RSNA))
        labels[someone.labels({"duodenum": 1}) == 1] = RSNA["bowel"]
        for k in range(0, len(labels), every):
            number = f"{k + 1}.png"
            image = folder / side / "images" / series / number
            _write_slice(_greys(someone.hu.hu[k]), image, size, Image.Resampling.BILINEAR)
            mask = folder / side / "masks" / series / number
            _write_slice(labels[k], mask, size, Image.Resampling.NEAREST)
    return folder


def _write_pair(
    hu: NDArray[np.int16],
    labels: NDArray[np.uint8],
    geometry: VolumeGeometry,
    image_path: Path,
    label_path: Path,
) -> None:
    write_nifti(hu, geometry, image_path)
    write_nifti(labels, geometry, label_path)


def _of_task(task: str, someone: Person, seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    if task == "Task09_Spleen":
        return someone.hu.hu, someone.labels({"spleen": 1})
    volume, tumour = with_tumour(someone, seed)
    labels = someone.labels({"liver": 1})
    labels[tumour] = 2
    return volume.hu, labels


def _greys(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    low, high = PNG_WINDOW_HU
    share = np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1)
    greys: NDArray[np.uint8] = np.rint(share * 255).astype(np.uint8)
    return greys


def _write_slice(values: NDArray[np.uint8], path: Path, size: int, how: Image.Resampling) -> None:
    """A slice in the middle of a square of `size` pixels, enlarged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = max(values.shape)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - values.shape[0]) // 2, (side - values.shape[1]) // 2
    square[top : top + values.shape[0], left : left + values.shape[1]] = values
    Image.fromarray(square).resize((size, size), how).save(path)


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
