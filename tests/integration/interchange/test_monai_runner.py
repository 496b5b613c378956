"""MONAI's own runner, in a process that knows nothing of this package, runs what we export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.exporting.monai_folder import export_monai
from models.precision import Runtime
from models.segmenter import Segmenter
from tests.integration.interchange.nifti_phantom import (
    phantom_volume,
    read_nifti_as,
    write_nifti,
)
from tests.unit.models.exporting.small_bundle import GRID, UNET, write_bundle

pytest.importorskip("nibabel")
pytest.importorskip("ignite", reason="needs pytorch-ignite")
pytest.importorskip("fire", reason="needs fire")


def test_the_runner_labels_a_nifti_as_we_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime(device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr("models.segmenter.choose_runtime", lambda *_: runtime)
    bundle = write_bundle(
        tmp_path / "two_organs",
        UNET,
        preprocessing={**GRID, "crop": False},
        size=(32, 48, 64),
        pieces=(),
    )
    export_monai(bundle, tmp_path / "monai")
    (tmp_path / "nifti").mkdir()
    # on the network's own grid and one window, so that nothing but the axes is to be turned
    volume, _ = phantom_volume((6.0, 5.0, 5.0), (32, 48, 64))
    write_nifti(tmp_path / "nifti" / "ct.nii.gz", volume, "RAS")

    command = [sys.executable, "-m", "monai.bundle", "run"]
    command += ["--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"]
    command += ["--bundle_root", ".", "--dataset_dir", str(tmp_path / "nifti")]
    done = subprocess.run(
        command, cwd=tmp_path / "monai", capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]

    (written,) = (tmp_path / "monai" / "eval").rglob("*.nii.gz")
    classes = read_nifti_as(written, volume)
    ours = Segmenter(bundle, "cpu").segment(volume).labels
    assert 0.001 < (ours == 5).mean() < 0.999
    assert ((classes == 1) != (ours == 5)).mean() < 1e-4
