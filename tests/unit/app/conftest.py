"""A small CT series, and a model whose network calls all that lies in the body liver."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.outcomes import OK, Outcome
from app.report import Report
from models.bundle import Bundle
from models.bundle_folders import SHIPPED
from models.geometry import Volume, VolumeGeometry
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.journal import Journal
from operators.selection import ChosenSeries
from operators.series import Candidate, Series, Study

NETWORK = {
    "_target_": "models.networks.vnet.VNet",
    "in_channels": 1,
    "out_channels": 8,
    "width": 1,
    "kernel_size": 1,
}


def write_liver_bundle(folder: Path) -> Bundle:
    """All weights zero but the bias of the liver; made for any part of the body."""
    shutil.copytree(SHIPPED / "abdomen_vnet_3mm" / "configs", folder / "configs")
    metadata = json.loads((folder / "configs" / "metadata.json").read_text("utf-8"))
    del metadata["body_region"]
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    settings = {
        "network_def": NETWORK,
        "preprocessing": {"spacing_mm": 4.0, "low_hu": -200, "high_hu": 300},
        "sliding_window": {"size": [32, 32, 32], "overlap": 0.25, "batch": 1},
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(settings), "utf-8")
    bundle = Bundle.read(folder)
    state = {name: torch.zeros_like(t) for name, t in bundle.build_network().state_dict().items()}
    state["classify.bias"][1] = 9.0
    return bundle.save_weights(state, {})


@pytest.fixture
def liver_bundle(tmp_path: Path) -> Bundle:
    """May be changed."""
    return write_liver_bundle(tmp_path / "models" / "all_liver")


@pytest.fixture(scope="session")
def ct_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight slices of water; not to be changed."""
    folder = tmp_path_factory.mktemp("ct")
    geometry = VolumeGeometry.from_spacing((8, 12, 10), (5.0, 3.0, 4.0), (-20.0, -15.0, 30.0))
    volume = Volume(hu=np.zeros((8, 12, 10), np.int16), geometry=geometry)
    write_ct_series(volume, folder, SeriesIdentity(seed_text="water"))
    return folder


@pytest.fixture
def make_report(tmp_path: Path) -> Callable[..., Report]:
    """Makes the report of a run that took 75 seconds, without a model."""

    def make(journal: Journal | None = None, outcome: Outcome = OK, **changed: Any) -> Report:
        begun = datetime(2026, 3, 1, 11, 22, 33, tzinfo=timezone.utc)
        settings: dict[str, Any] = {
            "message": "",
            "input": tmp_path / "in",
            "output": tmp_path / "out",
            "segmenters": (),
            "started": begun,
            "finished": begun.replace(minute=23, second=48),
        }
        journal = journal or Journal(tmp_path / "out")
        return Report(outcome=outcome, journal=journal, **{**settings, **changed})

    return make


@pytest.fixture
def make_chosen() -> Callable[[str], ChosenSeries]:
    """Makes a chosen series of a SeriesInstanceUID, without instances."""

    def make(uid: str) -> ChosenSeries:
        series = Series(StudyInstanceUID="2.25.1", SeriesInstanceUID=uid, instances=())
        study = Study(StudyInstanceUID="2.25.1", series=(series,))
        candidate = Candidate(series=series, frames=())
        return ChosenSeries(selection_name="Axial CT", study=study, candidate=candidate)

    return make
