from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.demo import TRUTH, compare, run_demo
from app.progress import Silent
from app.run_settings import RunSettings
from app.runner import Runner
from models.bundle import Bundle
from models.geometry import LabelMap, Volume, VolumeGeometry
from operators.ct_series import SeriesIdentity, write_ct_series
from operators.holoscan_ops import algorithm_of
from operators.loading import scan
from operators.seg import write_seg
from operators.splitting import split_series
from operators.volumes import build_volume


@pytest.fixture
def write_truth(tmp_path: Path, liver_bundle: Bundle) -> Callable[[LabelMap], Path]:
    """Writes a SEG whose segments are the truth's own organs, moved by nothing."""

    def write(label_map: LabelMap) -> Path:
        volume = Volume(
            hu=np.zeros(label_map.geometry.shape, np.int16), geometry=label_map.geometry
        )
        write_ct_series(volume, tmp_path / "in", SeriesIdentity(seed_text="truth"))
        ((series,),) = [study.series for study in scan(tmp_path / "in").studies]
        (candidate,) = split_series(series, series.instances)
        source = build_volume(candidate)
        table = np.zeros(256, np.uint8)
        for segment in liver_bundle.segments:
            table[TRUTH[segment.label]] = segment.number
        labels = LabelMap(labels=table[label_map.labels], geometry=source.volume.geometry)
        path = tmp_path / "seg.dcm"
        write_seg(source, labels, liver_bundle.segments, algorithm_of(liver_bundle), path)
        return path

    return write


def test_the_truth_compared_with_itself_is_perfect(
    write_truth: Callable[[LabelMap], Path],
) -> None:
    geometry = VolumeGeometry.from_spacing((6, 11, 9), (5.0, 0.8, 1.2), (-3.0, 4.0, 50.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[1:5, 2:6, 1:4] = TRUTH["Liver"]
    labels[2:4, 7:9, 5:8] = TRUTH["Left kidney"]
    labels[2:4, 3:5, 6:8] = 5  # oesophagus, which no segment stands for
    truth = LabelMap(labels=labels, geometry=geometry)
    seg = write_truth(truth)
    organs = ("Liver", "Left kidney", "Right kidney")
    scores = compare(seg, truth, organs)
    assert scores == {"Liver": 1.0, "Left kidney": 1.0, "Right kidney": None}

    shifted = np.roll(labels, 1, axis=2)
    scores = compare(seg, LabelMap(labels=shifted, geometry=geometry), organs)
    assert scores["Liver"] == pytest.approx(2 / 3, abs=1e-4)
    assert scores["Left kidney"] == pytest.approx(2 / 3, abs=1e-4)

    labels = labels.copy()
    labels[labels == TRUTH["Left kidney"]] = TRUTH["Right kidney"]
    scores = compare(seg, LabelMap(labels=labels, geometry=geometry), organs)
    assert scores == {"Liver": 1.0, "Left kidney": 0.0, "Right kidney": 0.0}


class Stages(Silent):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, stage: str, share: float) -> None:
        if stage not in self.seen:
            self.seen.append(stage)


def test_the_demo_writes_its_patient_and_compares_with_it(
    tmp_path: Path, liver_bundle: Bundle
) -> None:
    """One patient only, though another seed's slices lie in the folder already."""
    stale = tmp_path / "out" / "phantom" / "CT00001.dcm"
    stale.parent.mkdir(parents=True)
    stale.write_text("slice of another patient")
    (tmp_path / "out" / "phantom" / "CT99999.dcm").write_text("another one")
    runner = Runner(RunSettings(models=liver_bundle.folder, device="cpu"))
    stages = Stages()
    report = run_demo(runner, tmp_path / "out", 3, stages)
    assert report.outcome.status == "ok", report.message
    assert stages.seen[:2] == ["make phantom", "load model"]
    (record,) = report.journal.records
    assert record.geometry is not None
    depth = record.geometry.shape[0]
    assert len(list(stale.parent.iterdir())) == depth > 20
    content: dict[str, Any] = report.to_json()
    assert content["phantom"]["seed"] == 3
    assert content["phantom"]["phase"] in ("none", "arterial", "portal", "delayed")
    # a model that takes the whole body for liver finds little of it and nothing else
    scores = content["truth_dice"]
    assert 0.02 < scores.pop("Liver") < 0.3
    assert {"Spleen", "Left kidney", "Right kidney", "Stomach"} <= set(scores) < set(TRUTH)
    assert set(scores.values()) == {0.0}
    assert report.write().is_file()
