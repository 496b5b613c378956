"""What a bundle may build."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser
from monai.networks.nets.unetr import UNETR

from models.errors import BundleError
from models.networks.vnet import VNet
from models.registry import build_network

TINY_VNET = {"_target_": "models.networks.vnet.VNet", "out_channels": 4, "width": 2}
TINY_UNETR = {
    "_target_": "monai.networks.nets.UNETR",
    "in_channels": 1,
    "out_channels": 4,
    "img_size": [32, 32, 32],
    "feature_size": 4,
    "hidden_size": 24,
    "mlp_dim": 48,
    "num_heads": 3,
}


def test_a_definition_builds_its_network() -> None:
    assert isinstance(build_network(TINY_VNET), VNet)
    assert isinstance(build_network(TINY_UNETR), UNETR)


@pytest.mark.parametrize("definition", [TINY_VNET, TINY_UNETR], ids=["VNet", "UNETR"])
def test_monais_own_parser_builds_the_same_network(definition: dict[str, object]) -> None:
    theirs = ConfigParser({"network_def": definition}).get_parsed_content("network_def")
    ours = build_network(definition)
    assert type(theirs) is type(ours)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert {name: value.shape for name, value in theirs.state_dict().items()} == shapes


@pytest.mark.parametrize("target", ["os.system", "torch.nn.Identity", "", None, ["a", "list"]])
def test_a_name_that_is_not_a_known_network_is_refused(target: object) -> None:
    with pytest.raises(BundleError, match="expected a network of"):
        build_network({"_target_": target, "command": "true"})


def test_a_definition_without_a_name_is_refused() -> None:
    with pytest.raises(BundleError, match="found None"):
        build_network({"out_channels": 4})


@pytest.mark.parametrize("change", [{"widht": 2}, {"kernel_size": 4}, {"width": "two"}], ids=str)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="does not take these arguments"):
        build_network({**TINY_VNET, **change})
