"""A patient made of ellipsoids, and a network whose weights are set so that it finds them.

Every organ has a brightness of its own. The network is a V-Net whose convolutions are zero but the
last: the skip of the first stage carries the brightness x to it, through the units relu(x - m) that
make a tent around the brightness m of each organ. Outside its tent an organ loses to background.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

from models.bundle import Bundle
from models.bundle_folders import SHIPPED
from models.geometry import LabelMap, Volume, VolumeGeometry
from operators.ct_series import UNSIGNED, SeriesIdentity, Storage, write_ct_series

BODY_HU, AIR_HU = 0, -1000
LOW_HU, HIGH_HU = -200, 600
#: Half the width of an organ's tent on the network's scale of -1 to 1.
TENT = 0.125
SHARPNESS = 80.0
#: Semi-axes of the body in x and y; its length has no end.
BODY_MM = (72.0, 62.0)


@dataclass(frozen=True)
class Organ:
    """An ellipsoid: brightness, centre from the middle of the body and semi-axes, (x, y, z) mm."""

    label: str
    hu: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]


#: By name; the patient lies on the back, x runs to the patient's left.
ORGANS = {
    "liver": Organ("Liver", 120, (-35, -5, 5), (22, 26, 24)),
    "spleen": Organ("Spleen", 220, (45, 10, 10), (13, 16, 18)),
    "kidney_left": Organ("Left kidney", 320, (28, 32, -15), (11, 12, 18)),
    "kidney_right": Organ("Right kidney", 420, (-22, 36, -18), (11, 11, 17)),
    "stomach": Organ("Stomach", 520, (22, -22, 8), (16, 14, 17)),
}
MIDDLE = np.array((14.0, -31.0, 207.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Patient:
    """A CT of the ellipsoids; labels count organs from 1 in the order of `ORGANS`."""

    volume: Volume = field(repr=False)
    label_map: LabelMap = field(repr=False)

    def centroid_lps(self, name: str) -> NDArray[np.float64]:
        centroid = self.label_map.centroid_lps(1 + list(ORGANS).index(name))
        assert centroid is not None
        return centroid


def grid(
    spacing_mm: tuple[float, float, float] = (4.0, 2.6, 3.4),
    shape: tuple[int, int, int] = (25, 56, 46),
    directions: ArrayLike | None = None,
) -> VolumeGeometry:
    """A grid whose middle is the middle of the patient, a little beside a voxel's centre."""
    axes = np.eye(3) if directions is None else np.asarray(directions, float)
    last = (np.array(shape) - 1.0) * spacing_mm
    origin = MIDDLE + (0.7, -0.4, 0.9) - axes @ last[::-1] / 2
    return VolumeGeometry.from_spacing(shape, spacing_mm, origin.tolist(), axes)


def draw_patient(geometry: VolumeGeometry | None = None, *, with_organs: bool = True) -> Patient:
    """Scan the ellipsoids on a grid."""
    geometry = grid() if geometry is None else geometry
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    points = geometry.to_lps(index) - MIDDLE
    inside = (points[..., 0] / BODY_MM[0]) ** 2 + (points[..., 1] / BODY_MM[1]) ** 2 <= 1
    hu = np.where(inside, BODY_HU, AIR_HU).astype(np.int16)
    labels = np.zeros(geometry.shape, np.uint8)
    for number, organ in enumerate(ORGANS.values() if with_organs else (), start=1):
        within = (((points - organ.centre) / organ.radii) ** 2).sum(axis=-1) <= 1
        hu[within], labels[within] = organ.hu, number
    return Patient(
        volume=Volume(hu=hu, geometry=geometry),
        label_map=LabelMap(labels=labels, geometry=geometry),
    )


def brightness(hu: float) -> float:
    """HU on the network's scale."""
    return 2 * (hu - LOW_HU) / (HIGH_HU - LOW_HU) - 1


def tent_weights(bundle: Bundle) -> dict[str, torch.Tensor]:
    """Weights of a V-Net of kernel size 1 that finds organs by their brightness alone."""
    state = {name: torch.zeros_like(t) for name, t in bundle.build_network().state_dict().items()}
    width = len(ORGANS) + 1
    # the first unit of the first stage passes x on, the others are relu(x - m)
    middles = torch.tensor([brightness(organ.hu) for organ in ORGANS.values()])
    state["enter.convolve.1.bias"][1:] = -middles
    state["enter.activate.weight"][0] = 1.0
    state["up1.stage.activate.weight"][:] = 1.0
    # the last convolution sees the upsampled features (all zero) before those of the skip
    weight, bias = state["classify.weight"][:, width:, 0, 0, 0], state["classify.bias"]
    bias[1:] = -100.0
    for unit, name in enumerate(ORGANS, start=1):
        c, m = bundle.class_of[name], middles[unit - 1]
        # a (w - |x - m|) = a (w + (x - m) - 2 relu(x - m))
        weight[c, 0], weight[c, unit] = SHARPNESS, -2 * SHARPNESS
        bias[c] = SHARPNESS * (TENT - m)
    return state


def write_tent_bundle(folder: Path, **inference: Any) -> Bundle:
    """A model folder whose network finds the ellipsoids; `inference` overrides its settings."""
    shutil.copytree(SHIPPED / "abdomen_vnet_3mm" / "configs", folder / "configs")
    labels = json.loads((folder / "configs" / "labels.json").read_text("utf-8"))
    settings = {
        "network_def": {
            "_target_": "models.networks.vnet.VNet",
            "in_channels": 1,
            "out_channels": len(labels["segments"]) + 1,
            "width": len(ORGANS) + 1,
            "kernel_size": 1,
        },
        "preprocessing": {"spacing_mm": 2.5, "low_hu": LOW_HU, "high_hu": HIGH_HU},
        "sliding_window": {"size": [32, 32, 32], "overlap": 0.25, "batch": 2},
        "postprocessing": {"largest_component": True},
        **inference,
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(settings), "utf-8")
    bundle = Bundle.read(folder)
    return bundle.save_weights(tent_weights(bundle), {"version": "9.8.7"})


@pytest.fixture(scope="session")
def tent_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The model that finds the ellipsoids; not to be changed."""
    return write_tent_bundle(tmp_path_factory.mktemp("models") / "tents")


@pytest.fixture(scope="session")
def make_tent_bundle() -> Callable[..., Bundle]:
    """Writes such a model into a folder, with other settings of `inference.json` where given."""
    return write_tent_bundle


@pytest.fixture(scope="session")
def make_patient() -> Callable[..., Patient]:
    """Scans the patient on a grid of `make_grid`."""
    return draw_patient


@pytest.fixture(scope="session")
def make_grid() -> Callable[..., VolumeGeometry]:
    """A grid around the patient: spacing_mm and shape in order (k, j, i), directions in columns."""
    return grid


@pytest.fixture(scope="session")
def organs() -> Mapping[str, Organ]:
    """What there is to find."""
    return ORGANS


@pytest.fixture(scope="session")
def write_patient() -> Callable[..., Patient]:
    """Writes a CT series of the patient into a folder, its files in an order by chance."""

    def write(
        folder: Path,
        geometry: VolumeGeometry | None = None,
        *,
        name: str = "one",
        storage: Storage = UNSIGNED,
        with_organs: bool = True,
    ) -> Patient:
        patient = draw_patient(geometry, with_organs=with_organs)
        identity = SeriesIdentity(seed_text=f"graph test {name}", PatientID=f"ELLIPSOID-{name}")
        write_ct_series(patient.volume, folder, identity, storage=storage, shuffle_seed=5)
        return patient

    return write


@pytest.fixture(scope="session")
def patient_folder(
    tmp_path_factory: pytest.TempPathFactory, write_patient: Callable[..., Patient]
) -> Path:
    """A series of the patient on the default grid; not to be changed."""
    folder = tmp_path_factory.mktemp("patient")
    write_patient(folder)
    return folder


@pytest.fixture(scope="session")
def lean_environment() -> dict[str, str]:
    """For processes of their own: no paths from the caller's environment, one thread."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("HOLOSCAN_", "VISCERA_"))}
    return {**kept, "OMP_NUM_THREADS": "1"}
