"""Our bundles in MONAI's own runner: `python -m monai.bundle run`, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.bundle_folders import SHIPPED, find_bundle
from models.data.miniature import make_flare22
from models.data.nifti import open_nifti, write_nifti
from models.phantom import phantom_case
from models.segmenter import Segmenter
from models.variants import make_variant

pytest.importorskip("fire", reason="MONAI's bundle runner needs fire")

RECIPES = sorted(folder.name for folder in SHIPPED.iterdir())


def run_bundle(bundle: Path, config: str, *arguments: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run"),
            *("--config_file", str(bundle / "configs" / config), "--bundle_root", str(bundle)),
            *("--device", "cpu", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_inference_gives_the_labels_that_viscera_gives(tmp_path: Path) -> None:
    volume = phantom_case(3, spacing_mm=6.0).volume
    write_nifti(volume.hu, volume.geometry, tmp_path / "in" / "one.nii.gz")
    bundle = find_bundle(None)
    folders = ["--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out")]
    run_bundle(bundle.folder, "inference.json", *folders)
    written = open_nifti(tmp_path / "out" / "one_seg.nii.gz")
    assert written.geometry.agrees_with(volume.geometry, tolerance_mm=1e-3)
    own = Segmenter(bundle, "cpu").segment(volume).labels
    assert len(np.unique(own)) > 3
    # the runner may choose another precision on a busy machine
    assert (written.read() != own).mean() < 1e-3


def test_training_makes_a_bundle_with_weights(tmp_path: Path) -> None:
    data = make_flare22(tmp_path / "data", 3, spacing_mm=10.0)
    bundle = make_variant(find_bundle("vnet_four_organs"), ["miniature"], tmp_path / "bundle")
    train = bundle.folder / "configs" / "train.json"
    train.write_text(json.dumps({**json.loads(train.read_text()), "epochs": 1}))
    folders = ["--dataset_dir", str(data), "--run_dir", str(tmp_path / "run")]
    run_bundle(bundle.folder, "train.json", *folders)
    trained = Bundle.read(tmp_path / "run" / "bundle")
    assert trained.load_network() is not None
    assert len(trained.metadata["trained_on"]["cases"]) == 2  # the third is for validation


@pytest.mark.parametrize("name", RECIPES)
def test_monai_builds_the_network_and_knows_what_to_run(name: str) -> None:
    from monai.bundle import ConfigParser

    bundle = find_bundle(name)
    for config in ("inference.json", "train.json"):
        parser = ConfigParser()
        parser.read_config(bundle.folder / "configs" / config)
        assert parser["run"][0].startswith("$bundle_runs.")
    parser = ConfigParser(dict(bundle.inference))
    network = parser.get_parsed_content("network_def")
    ours = bundle.build_network().state_dict()
    theirs = network.state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}
