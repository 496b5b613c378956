"""A zoo bundle run by us beside the same configuration run by MONAI itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Volume
from models.interchange.axes import TurnedNetwork
from models.interchange.monai_bundle import read_monai_bundle
from models.precision import Runtime
from models.segmenter import Segmenter
from tests.integration.interchange.nifti_phantom import phantom_volume, write_nifti
from tests.unit.models.interchange.foreign_folders import write_zoo_bundle

pytest.importorskip("nibabel")


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(device=torch.device("cpu"), dtype=torch.float32)
    monkeypatch.setattr("models.segmenter.choose_runtime", lambda *_: runtime)


def run_by_monai(folder: Path, nifti: Path) -> dict[str, Any]:
    """MONAI's parser builds and runs what the configuration says, all but saving."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(folder)
    parser["postprocessing"]["transforms"].pop()
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    data = parser.get_parsed_content("preprocessing")({"image": str(nifti)})
    inferer = parser.get_parsed_content("inferer")
    with torch.inference_mode():
        data["pred"] = inferer(data["image"][None], network.eval())[0]
    prepared = data["image"]
    return {
        "image": prepared.numpy(),
        "affine_ras": prepared.affine.numpy(),
        "labels": parser.get_parsed_content("postprocessing")(data)["pred"],
    }


def look_at_means(weights: Path) -> None:
    """Make each kernel its mean: a network that sees organs rather than noise."""
    state = torch.load(weights, weights_only=True)
    for value in state.values():
        if value.ndim == 5:
            value.copy_(value.mean(dim=(2, 3, 4), keepdim=True).expand_as(value))
    torch.save(state, weights)


def labels_on(volume: Volume, labels: Any) -> NDArray[np.uint8]:
    """MONAI's label map in the order of our canonical arrays."""
    import nibabel

    image = nibabel.Nifti1Image(labels[0].numpy().astype(np.uint8), labels.affine.numpy())
    lps = nibabel.orientations.axcodes2ornt("LPS")
    have = nibabel.io_orientation(image.affine)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(have, lps))
    values: NDArray[np.uint8] = np.asarray(turned.dataobj).transpose(2, 1, 0)
    assert values.shape == volume.geometry.shape
    return values


@pytest.mark.parametrize("axcodes", ["LPS", "RAS", "ASL"])
@pytest.mark.usefixtures("in_float32")
def test_without_resampling_input_and_labels_are_monais_own(tmp_path: Path, axcodes: str) -> None:
    write_zoo_bundle(tmp_path / "spleen")
    volume, _ = phantom_volume((2.0, 1.5, 1.5), (48, 64, 80))
    write_nifti(tmp_path / "ct.nii.gz", volume, axcodes)
    theirs = run_by_monai(tmp_path / "spleen", tmp_path / "ct.nii.gz")

    bundle = read_monai_bundle(tmp_path / "spleen")
    network = bundle.load_network()
    assert isinstance(network, TurnedNetwork)
    image = bundle.preprocessing.prepare(volume).image
    turned = image.permute(network.order).flip(network.flips)
    np.testing.assert_allclose(turned[0].numpy(), theirs["image"], atol=2e-6)

    ours = Segmenter(bundle, "cpu").segment(volume).labels
    expected = labels_on(volume, theirs["labels"])
    assert 0.02 < (expected > 0).mean() < 0.98
    assert (ours != expected).mean() < 1e-5


@pytest.mark.usefixtures("in_float32")
def test_with_resampling_the_input_differs_by_the_filter_alone(tmp_path: Path) -> None:
    write_zoo_bundle(tmp_path / "spleen")
    look_at_means(tmp_path / "spleen" / "models" / "model.pt")
    volume, _ = phantom_volume((4.0, 1.0, 1.0), (26, 90, 110))
    write_nifti(tmp_path / "ct.nii.gz", volume)
    theirs = run_by_monai(tmp_path / "spleen", tmp_path / "ct.nii.gz")

    bundle = read_monai_bundle(tmp_path / "spleen")
    prepared = bundle.preprocessing.prepare(volume)
    # our input at the very places of MONAI's samples: theirs -> LPS mm -> source index -> ours
    grid = np.indices(theirs["image"].shape[1:]).reshape(3, -1)
    places = theirs["affine_ras"] @ np.vstack([grid, np.ones(grid.shape[1])])
    kji = volume.geometry.to_index((np.diag([-1.0, -1.0, 1.0]) @ places[:3]).T)
    at = [
        (kji[:, axis] - (volume.geometry.shape[axis] - 1) / 2) / prepared.step[axis]
        + (prepared.sampled_shape[axis] - 1) / 2
        for axis in range(3)
    ]
    ours = ndimage.map_coordinates(prepared.image[0, 0].numpy(), at, order=1, mode="nearest")
    apart = np.abs(ours - theirs["image"].ravel())
    assert apart.mean() < 0.05
    assert np.corrcoef(ours, theirs["image"].ravel())[0, 1] > 0.98

    labels = Segmenter(bundle, "cpu").segment(volume).labels
    expected = labels_on(volume, theirs["labels"])
    dice = 2 * ((labels == 1) & (expected == 1)).sum() / ((labels == 1).sum() + expected.sum())
    assert dice > 0.9
