from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from models.bundle_folders import SHIPPED
from models.errors import BundleError
from models.interchange.axes import TurnedNetwork
from models.interchange.monai_bundle import is_monai_bundle, read_monai_bundle
from tests.unit.models.interchange.foreign_folders import (
    NETWORK,
    write_zoo_bundle,
    zoo_inference,
    zoo_metadata,
    zoo_metadata_of_channels,
)


def test_a_zoo_bundle_is_read_like_one_of_ours(tmp_path: Path) -> None:
    write_zoo_bundle(tmp_path / "spleen_ct")
    bundle = read_monai_bundle(tmp_path / "spleen_ct")
    assert (bundle.name, bundle.version) == ("spleen_ct", "0.5.4")
    assert bundle.class_of == {"spleen": 1}
    assert bundle.segments[0].type.value == "78961009"
    assert bundle.label_numbers.tolist() == [0, 1]
    assert bundle.preprocessing.grid.spacing_mm == (2.0, 1.5, 1.5)
    assert bundle.sliding_window.size == (48, 64, 80)
    assert (bundle.sliding_window.overlap, bundle.sliding_window.batch) == (0.5, 4)
    assert bundle.single_pieces == []
    content = (tmp_path / "spleen_ct/models/model.pt").read_bytes()
    assert bundle.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_weights_of_a_state_dict_give_the_networks_output(
    tmp_path: Path, nested: str | None
) -> None:
    original = write_zoo_bundle(tmp_path / "zoo", nested=nested)
    network = read_monai_bundle(tmp_path / "zoo").load_network()
    assert isinstance(network, TurnedNetwork)
    windows = torch.rand(1, 1, 16, 16, 16)
    expected = original(windows.permute(0, 1, 4, 3, 2).flip(2, 3)).flip(2, 3)
    assert torch.equal(network(windows), expected.permute(0, 1, 4, 3, 2))


def test_torchscript_serves_where_the_network_is_none_of_ours(tmp_path: Path) -> None:
    definition = {**NETWORK, "_target_": "scripts.networks.Secret"}
    original = write_zoo_bundle(
        tmp_path / "zoo", zoo_inference(network_def=definition), scripted=True
    )
    bundle = read_monai_bundle(tmp_path / "zoo")
    windows = torch.rand(2, 1, 48, 48, 48)
    expected = original(windows.permute(0, 1, 4, 3, 2).flip(2, 3)).flip(2, 3)
    torch.testing.assert_close(bundle.load_network()(windows), expected.permute(0, 1, 4, 3, 2))
    with pytest.raises(BundleError, match="expected a network's definition, found TorchScript"):
        bundle.build_network()


def test_yaml_is_read_too(tmp_path: Path) -> None:
    write_zoo_bundle(tmp_path / "zoo")
    configs = tmp_path / "zoo" / "configs"
    (configs / "inference.json").unlink()
    (configs / "inference.yaml").write_text(yaml.safe_dump(zoo_inference()), encoding="utf-8")
    assert is_monai_bundle(tmp_path / "zoo")
    assert read_monai_bundle(tmp_path / "zoo").sliding_window.size == (48, 64, 80)


def test_arguments_that_monai_renamed_are_understood(tmp_path: Path) -> None:
    definition = {k: v for k, v in NETWORK.items() if k != "spatial_dims"}
    old = {**definition, "_target_": "monai.networks.nets.unet.UNet", "dimensions": 3}
    write_zoo_bundle(tmp_path / "zoo", zoo_inference(network_def=old))
    definition = dict(read_monai_bundle(tmp_path / "zoo").network_definition)
    assert definition["_target_"] == "monai.networks.nets.UNet"
    assert definition["spatial_dims"] == 3


def test_the_largest_piece_is_kept_of_the_classes_that_say_so(tmp_path: Path) -> None:
    inference = zoo_inference(network_def={**NETWORK, "out_channels": 3})
    inference["postprocessing"]["transforms"].insert(
        3, {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [2]}
    )
    write_zoo_bundle(tmp_path / "zoo", inference, zoo_metadata(("background", "Aorta", "Spleen")))
    assert read_monai_bundle(tmp_path / "zoo").single_pieces == [2]


def test_keeping_two_components_is_refused(tmp_path: Path) -> None:
    def read(name: str, **arguments: Any) -> list[int]:
        step = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", **arguments}
        inference = zoo_inference(network_def={**NETWORK, "out_channels": 3})
        inference["postprocessing"]["transforms"].insert(3, step)
        metadata = zoo_metadata(("background", "Kidneys", "Spleen"))
        write_zoo_bundle(tmp_path / name, inference, metadata)
        return read_monai_bundle(tmp_path / name).single_pieces

    assert read("one", applied_labels=[2], num_components=1, independent=False) == [2]
    with pytest.raises(BundleError, match="num_components: expected 1, found 2"):
        read("two", applied_labels=[1], num_components=2)
    with pytest.raises(BundleError, match="independent: expected true"):
        read("together", applied_labels=[1, 2], independent=False)
    with pytest.raises(BundleError, match="independent: expected true"):
        read("all_together", independent=False)


def test_our_own_bundles_are_not_taken_for_others() -> None:
    assert not [folder.name for folder in SHIPPED.iterdir() if is_monai_bundle(folder)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network_def": {**NETWORK, "_target_": "os.system"}}, "expected models/model.ts, or a"),
        ({"network_def": {**NETWORK, "in_channels": 4}}, "in_channels: expected 1"),
        ({"network_def": {**NETWORK, "channels": "$range(3)"}}, "network_def::channels: expected"),
        ({"network_def": {**NETWORK, "out_channels": 5}}, "expected 2 output channels"),
        ({"inferer": {"_target_": "SliceInferer"}}, "inferer: expected a SlidingWindowInferer"),
        ({"inferer": {"_target_": "SimpleInferer"}}, "inferer: expected a SlidingWindowInferer"),
        (
            {"inferer": "$monai.inferers.SimpleInferer()"},
            "inferer: expected a SlidingWindowInferer",
        ),
        ({"preprocessing": {"transforms": 3}}, "expected a list of transforms"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    write_zoo_bundle(tmp_path / "zoo", zoo_inference(**changes))
    with pytest.raises(BundleError, match=told):
        read_monai_bundle(tmp_path / "zoo")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"_target_": "Activationsd", "sigmoid": True}, "sigmoid: expected softmax"),
        ({"_target_": "AsDiscreted", "threshold": 0.5}, "argmax: expected true"),
        ({"_target_": "FillHolesd"}, "found FillHolesd"),
        ({"_target_": "KeepLargestConnectedComponentd", "applied_labels": [7]}, "some of 1 to 1"),
    ],
)
def test_steps_after_the_network_that_we_lack_are_refused(
    tmp_path: Path, step: dict[str, Any], told: str
) -> None:
    inference = zoo_inference()
    inference["postprocessing"]["transforms"].insert(0, {"keys": "pred", **step})
    write_zoo_bundle(tmp_path / "zoo", inference)
    with pytest.raises(BundleError, match=told):
        read_monai_bundle(tmp_path / "zoo")


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"version": "1"}, "expected the classes in network_data_format"),
        (zoo_metadata(("spleen", "liver")), "expected background as class 0, found 'spleen'"),
        (zoo_metadata(("background",)), "expected classes 0 to N"),
        ({**zoo_metadata(), "version": None}, None),
        (zoo_metadata_of_channels(1, 5), "pred::num_channels: expected 2, found 5"),
        (zoo_metadata_of_channels(3, 2), "image::num_channels: expected 1, found 3"),
    ],
)
def test_metadata_without_classes_is_refused(
    tmp_path: Path, metadata: dict[str, Any], told: str | None
) -> None:
    write_zoo_bundle(tmp_path / "zoo", metadata=metadata)
    if told is None:
        assert read_monai_bundle(tmp_path / "zoo").class_of == {"spleen": 1}
        return
    with pytest.raises(BundleError, match=told):
        read_monai_bundle(tmp_path / "zoo")


def test_missing_and_altered_weights_are_refused(tmp_path: Path) -> None:
    write_zoo_bundle(tmp_path / "zoo")
    bundle = read_monai_bundle(tmp_path / "zoo")
    weights = tmp_path / "zoo" / "models" / "model.pt"
    torch.save({"other": torch.zeros(3)}, weights)
    with pytest.raises(BundleError, match="the weights have changed"):
        bundle.load_network()
    with pytest.raises(BundleError, match="the weights are of another network"):
        read_monai_bundle(tmp_path / "zoo").load_network()
    weights.unlink()
    with pytest.raises(BundleError, match=r"expected weights in .*, found none"):
        read_monai_bundle(tmp_path / "zoo")
