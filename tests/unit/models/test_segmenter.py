"""From a volume to labels, with every network that a bundle may name."""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.errors import BundleError, OutOfMemoryError
from models.geometry import Volume, VolumeGeometry
from models.segmenter import Segmenter

UNETR = {
    "_target_": "monai.networks.nets.UNETR",
    "in_channels": 1,
    "out_channels": 4,
    "img_size": [32, 32, 32],
    "feature_size": 4,
    "hidden_size": 24,
    "mlp_dim": 48,
    "num_heads": 3,
}


class MakeBundle(Protocol):
    def __call__(self, name: str = ..., network: dict[str, Any] = ...) -> Bundle: ...


def sphere(descending: bool = False) -> Volume:
    """A sphere of tissue with a bright half on the patient's left, on a grid that is not cubic."""
    sign = -1 if descending else 1
    geometry = VolumeGeometry.from_spacing(
        (27, 50, 61), (4.0, 1.9, 1.7), (-51.0, -46.5, -52.0 * sign), np.diag((1, 1, sign))
    )
    x, y, z = np.moveaxis(geometry.to_lps(np.moveaxis(np.indices(geometry.shape), 0, -1)), -1, 0)
    hu = np.where(x**2 + y**2 + z**2 < 40**2, np.where(x > 0, 200, 0), -1000)
    return Volume(hu=hu.astype(np.int16), geometry=geometry)


def network_of(segmenter: Segmenter) -> torch.nn.Module:
    return segmenter._network


def make_bright_a_left_kidney(bundle: Bundle) -> Bundle:
    """Weights by which a V-Net calls what is brighter than 50 HU a left kidney."""
    network = bundle.build_network()
    state = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    # the first stage normalises to 0 and adds the image; the last copies it through its skip
    for name in state:
        if name.endswith("activate.weight"):
            state[name] += 1.0  # PReLU of slope 1 is the identity
    state["classify.weight"][2, -1] = 50.0
    return bundle.save_weights(state, {})


@pytest.mark.parametrize("network", ["vnet", "unetr"])
def test_every_network_labels_the_whole_grid(network: str, make_bundle: MakeBundle) -> None:
    bundle = make_bundle() if network == "vnet" else make_bundle("transformer", UNETR)
    segmenter = Segmenter(bundle, "cpu")
    volume = sphere()
    result = segmenter.segment(volume)
    assert result.geometry is volume.geometry
    assert result.labels.shape == (27, 50, 61)
    assert set(np.unique(result.labels)) <= {0, 1, 2, 3}
    assert np.unique(result.labels).size > 1  # random weights find something
    np.testing.assert_array_equal(segmenter.segment(volume).labels, result.labels)


@pytest.mark.parametrize("descending", [False, True])
def test_what_a_network_sees_on_the_left_is_labelled_on_the_left(
    tiny_bundle: Bundle, descending: bool
) -> None:
    segmenter = Segmenter(make_bright_a_left_kidney(tiny_bundle), "cpu")
    volume = sphere(descending)
    found = segmenter.segment(volume)
    bright = volume.hu > 50
    organ = found.labels == 2
    assert 2 * (organ & bright).sum() / (organ.sum() + bright.sum()) > 0.93
    centroid = found.centroid_lps(2)
    assert centroid is not None
    np.testing.assert_allclose(centroid, (15.0, 0, 0), atol=1.0)  # 3/8 of the radius


def test_only_the_largest_piece_stays_where_the_bundle_says_so(tiny_bundle: Bundle) -> None:
    bundle = make_bright_a_left_kidney(tiny_bundle)
    source = sphere()
    hu = source.hu.copy()
    hu[13, 20:30, 12:18] = 200  # a second bright piece, on the right
    hu[12:15, 20:30, 12:18] = 200
    volume = Volume(hu=hu, geometry=source.geometry)
    assert (Segmenter(bundle, "cpu").segment(volume).labels[13, 25, 12:18] == 2).any()
    path = bundle.folder / "configs" / "inference.json"
    content = json.loads(path.read_text())
    content["postprocessing"]["largest_component"] = True
    path.write_text(json.dumps(content))
    labels = Segmenter(Bundle.read(bundle.folder), "cpu").segment(volume).labels
    assert not (labels[:, :, :25] == 2).any()
    assert (labels == 2).any()


def test_a_volume_of_air_has_no_organ(tiny_bundle: Bundle) -> None:
    geometry = VolumeGeometry.from_spacing((5, 40, 41), (5.0, 0.8, 0.9))
    hu = np.full(geometry.shape, -1024, np.int16)
    labels = Segmenter(tiny_bundle, "cpu").segment(Volume(hu=hu, geometry=geometry)).labels
    assert labels.shape == geometry.shape
    assert not labels.any()


def test_segmenting_leaves_the_volume_as_it_was(tiny_bundle: Bundle) -> None:
    volume = sphere()
    before = volume.hu.copy()
    Segmenter(tiny_bundle, "cpu").segment(volume)
    np.testing.assert_array_equal(volume.hu, before)


def test_progress_names_both_steps_and_ends_each(tiny_bundle: Bundle) -> None:
    told: list[tuple[str, float]] = []
    Segmenter(tiny_bundle, "cpu").segment(sphere(), lambda *step: told.append(step))
    for stage in ("segment", "restore"):
        shares = [share for name, share in told if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
    assert [name for name, _ in told] == sorted((name for name, _ in told), reverse=True)


def test_weights_are_checked_when_the_segmenter_starts(tiny_bundle: Bundle) -> None:
    tiny_bundle.weights.unlink()
    with pytest.raises(BundleError, match="no weights"):
        Segmenter(tiny_bundle, "cpu")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_is_told_from_other_failures(tiny_bundle: Bundle, error: Exception) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")

    def fail(*_: object) -> None:
        raise error

    with network_of(segmenter).register_forward_pre_hook(fail), pytest.raises(OutOfMemoryError):
        segmenter.segment(sphere())


def test_the_machines_memory_may_also_end_outside_the_network(tiny_bundle: Bundle) -> None:
    """The sums of all classes are the largest array; no window is to blame for them."""
    segmenter = Segmenter(tiny_bundle, "cpu")

    def fail(stage: str, share: float) -> None:
        torch.empty(2**46)

    with pytest.raises(OutOfMemoryError):
        segmenter.segment(sphere(), fail)


def test_other_failures_of_a_network_pass_unchanged(tiny_bundle: Bundle) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu")
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    def fail(*_: object) -> None:
        raise error

    with (
        network_of(segmenter).register_forward_pre_hook(fail),
        pytest.raises(RuntimeError) as caught,
    ):
        segmenter.segment(sphere())
    assert caught.value is error
