"""CT series written to a folder and read back as a volume, for labels to be drawn on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.algorithm import Algorithm
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.loading import scan
from operators.splitting import split_series
from operators.volumes import SeriesVolume, build_volume

SHAPE, SPACING_MM, ORIGIN = (7, 11, 9), (4.0, 0.9, 1.6), (-12.5, 33.0, 410.25)
TILT = np.radians(17)
_TURN = np.array([[np.cos(TILT), -np.sin(TILT), 0], [np.sin(TILT), np.cos(TILT), 0], [0, 0, 1]])
_LEAN = np.array([[1, 0, 0], [0, np.cos(TILT), -np.sin(TILT)], [0, np.sin(TILT), np.cos(TILT)]])
DIRECTIONS = {"axial": np.eye(3), "oblique": _TURN @ _LEAN}
ALGORITHM = Algorithm(name="test", version="1", manufacturer="viscera", model_sha256="0b" * 32)
_ANATOMY = Code(value="123037004", scheme="SCT", meaning="Anatomical Structure")
_KIDNEY = Code(value="64033007", scheme="SCT", meaning="Kidney")
_SIDES = {
    "left": Code(value="7771000", scheme="SCT", meaning="Left"),
    "right": Code(value="24028007", scheme="SCT", meaning="Right"),
}


def segment(number: int, label: str, code: str = "10200004", side: str | None = None) -> Segment:
    kind = _KIDNEY if side else Code(value=code, scheme="SCT", meaning=label)
    return Segment(
        number=number,
        name=label.casefold().replace(" ", "_"),
        label=label,
        category=_ANATOMY,
        type=kind,
        modifier=_SIDES[side] if side else None,
        rgb=(200, 100, 50),
    )


SEGMENTS = (
    segment(3, "Liver"),
    segment(4, "Left kidney", side="left"),
    segment(8, "Right kidney", side="right"),
)


def ct_series(
    folder: Path,
    directions: NDArray[np.float64] = DIRECTIONS["axial"],
    shape: tuple[int, int, int] = SHAPE,
    seed_text: str = "labels",
    **identity: str,
) -> SeriesVolume:
    """A series of its own, with slices in files of no particular order."""
    geometry = VolumeGeometry.from_spacing(shape, SPACING_MM, ORIGIN, directions)
    hu = np.random.default_rng(len(seed_text)).integers(-200, 300, shape).astype(np.int16)
    write_ct_series(
        Volume(hu=hu, geometry=geometry),
        folder,
        SeriesIdentity(seed_text=seed_text, **identity),
        shuffle_seed=2,
    )
    return read_series(folder)


def read_series(folder: Path) -> SeriesVolume:
    """The only CT series of a folder that holds nothing else."""
    ((series,),) = (study.series for study in scan(folder).studies)
    return build_volume(split_series(series, series.instances)[0])


def asymmetric(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """A liver (3) and kidneys (4, 8) without symmetry; the first slice is empty."""
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 1:5, 2:7] = 3
    labels[2, 7, 8] = 3
    labels[3:6, 8:10, 0:2] = 8
    labels[4, 1:3, 4] = 4
    return labels


def label_map(source: SeriesVolume, labels: NDArray[np.uint8]) -> LabelMap:
    return LabelMap(labels=labels, geometry=source.volume.geometry)
