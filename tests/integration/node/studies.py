"""A study to send: CT slices and their segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.geometry import LabelMap, Volume, VolumeGeometry
from models.segments import Code, Segment
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.frames import frames_of
from operators.loading import scan
from operators.seg import Algorithm, write_seg
from operators.series import Candidate
from operators.volumes import build_volume

LIVER = Segment(
    number=1,
    name="liver",
    label="Liver",
    category=Code(value="123037004", scheme="SCT", meaning="Anatomical Structure"),
    type=Code(value="10200004", scheme="SCT", meaning="Liver"),
    modifier=None,
    rgb=(221, 130, 101),
)


@dataclass(frozen=True)
class StudyFiles:
    """The files of one study."""

    StudyInstanceUID: str
    AccessionNumber: str
    ct: list[Path]
    seg: Path

    @property
    def all(self) -> list[Path]:
        return [*self.ct, self.seg]


def make_study(folder: Path, name: str, *, description: str = "Abdomen") -> StudyFiles:
    """Five oblique slices of anisotropic voxels, and the segmentation of a box in them."""
    turn = np.radians(15)
    axes = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    geometry = VolumeGeometry.from_spacing((5, 14, 10), (4.0, 0.8, 1.7), (-9, 4.5, 30), axes)
    hu = np.random.default_rng(3).integers(-100, 200, geometry.shape).astype(np.int16)
    accession = f"ACC-{name}"
    identity = SeriesIdentity(
        seed_text=f"peers {name}", AccessionNumber=accession, SeriesDescription=description
    )
    ct = write_ct_series(Volume(hu=hu, geometry=geometry), folder / "ct", identity, shuffle_seed=2)
    (study,) = scan(folder / "ct").studies
    (series,) = study.series
    frames = tuple(frame for instance in series.instances for frame in frames_of(instance))
    source = build_volume(Candidate(series=series, frames=frames))
    labels = np.zeros(source.volume.geometry.shape, np.uint8)
    labels[1:4, 3:9, 2:6] = 1
    algorithm = Algorithm(name="box", version="1", manufacturer="viscera", model_sha256="0a" * 32)
    label_map = LabelMap(labels=labels, geometry=source.volume.geometry)
    write_seg(source, label_map, (LIVER,), algorithm, folder / "seg.dcm")
    return StudyFiles(study.StudyInstanceUID, accession, ct, folder / "seg.dcm")
