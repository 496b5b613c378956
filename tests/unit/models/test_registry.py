"""What a bundle may build."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from models.errors import BundleError, OutOfMemoryError
from models.registry import BUILDERS, build_network

TINY_VNET = {"_target_": "models.networks.vnet.VNet", "out_channels": 4, "width": 2}
#: Definitions as they stand in a bundle's inference.json, each with the shape of an input.
UNETR_SIZES: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 4,
    "img_size": [32, 32, 32],
    "feature_size": 4,
    "hidden_size": 24,
    "mlp_dim": 48,
    "num_heads": 3,
}
DEFINITIONS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "VNet": (TINY_VNET, (1, 1, 32, 32, 16)),
    "VNet, MONAI's": (
        {**TINY_VNET, "layout": "monai", "activation": "elu", "dropout": 0.5},
        (1, 1, 32, 32, 16),
    ),
    "UNETR": ({"_target_": "monai.networks.nets.UNETR", **UNETR_SIZES}, (1, 1, 32, 32, 32)),
    "UNETRTransformer": (
        {"_target_": "models.networks.unetr_transformer.UNETRTransformer", **UNETR_SIZES},
        (1, 1, 32, 32, 32),
    ),
    "UNet": (
        {
            "_target_": "monai.networks.nets.UNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 4,
            "channels": [4, 8, 16],
            "strides": [2, 2],
            "num_res_units": 2,
            "norm": ["batch", {"momentum": 0.2}],
        },
        (1, 1, 8, 12, 16),
    ),
    "UNet, 2D": (
        {
            "_target_": "monai.networks.nets.UNet",
            "spatial_dims": 2,
            "in_channels": 3,
            "out_channels": 4,
            "channels": [4, 8],
            "strides": [2],
        },
        (2, 3, 8, 12),
    ),
    "SegResNet": (
        {
            "_target_": "monai.networks.nets.SegResNet",
            "init_filters": 8,
            "in_channels": 1,
            "out_channels": 4,
            "dropout_prob": 0.2,
        },
        (1, 1, 16, 16, 24),
    ),
    "SwinUNETR": (
        {
            "_target_": "monai.networks.nets.SwinUNETR",
            "in_channels": 1,
            "out_channels": 4,
            "feature_size": 12,
            "window_size": 4,
        },
        (1, 1, 32, 32, 64),
    ),
    "MobileNetV3UNet": (
        {
            "_target_": "models.networks.mobilenetv3_unet.MobileNetV3UNet",
            "in_channels": 3,
            "out_channels": 4,
        },
        (2, 3, 64, 48),
    ),
    **{
        name: (
            {
                "_target_": f"models.networks.plain_conv_unet.{name}",
                "in_channels": 1,
                "out_channels": 4,
                "features": [4, 8, 16],
                "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
                "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                "convolutions": [2, 2, 2],
                "decoder_convolutions": [1, 1],
            },
            (1, 1, 8, 16, 24),
        )
        for name in ("PlainConvUNet", "ResidualEncoderUNet")
    },
}
EACH = pytest.mark.parametrize("name", DEFINITIONS)


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_network(json.loads(json.dumps(DEFINITIONS[name][0])))


def test_every_known_network_is_tried_here() -> None:
    assert {definition["_target_"] for definition, _ in DEFINITIONS.values()} == set(BUILDERS)


@EACH
def test_a_definition_builds_a_network_that_gives_logits_and_learns(name: str) -> None:
    network, shape = built(name), DEFINITIONS[name][1]
    logits = network(torch.randn(shape))
    assert logits.shape == (shape[0], 4, *shape[2:])
    logits.square().mean().backward()
    moved = [n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()]
    # UNETR's transformer has layers for cross attention, which nothing calls
    called = [n for n, _ in network.named_parameters() if "cross_attn" not in n]
    assert len(moved) > 0.9 * len(called)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@EACH
def test_monais_own_parser_builds_the_same_network(name: str) -> None:
    definition, _ = DEFINITIONS[name]
    theirs = ConfigParser({"network_def": definition}).get_parsed_content("network_def")
    ours = built(name)
    assert type(theirs) is type(ours)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert {name: value.shape for name, value in theirs.state_dict().items()} == shapes
    ours.load_state_dict(theirs.state_dict(), strict=True)


@pytest.mark.parametrize(
    "target", ["os.system", "torch.nn.Identity", "monai.networks.nets.DynUNet", "", None, ["a"]]
)
def test_a_name_that_is_not_a_known_network_is_refused(target: object) -> None:
    with pytest.raises(BundleError, match="expected a network of"):
        build_network({"_target_": target, "command": "true"})


def test_a_definition_without_a_name_is_refused() -> None:
    with pytest.raises(BundleError, match="found None"):
        build_network({"out_channels": 4})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("VNet", {"widht": 2}),
        ("VNet", {"kernel_size": 4}),
        ("VNet", {"width": "two"}),
        ("VNet", {"width": 0}),
        ("VNet", {"width": -2}),
        ("VNet", {"layout": ["paper"]}),
        ("VNet", {"dropout": 2}),
        ("UNETR", {"num_heads": 0}),
        ("UNETR", {"img_size": [32, 32]}),
        ("UNet", {"spatial_dims": 4}),
        ("UNet", {"strides": [2]}),
        ("UNet", {"channels": [4, -8, 16]}),
        ("UNet", {"act": "sharp"}),
        ("UNet", {"adn_ordering": 3}),
        ("SegResNet", {"init_filters": 4}),
        ("SegResNet", {"upsample_mode": "guess"}),
        ("SwinUNETR", {"feature_size": 10}),
        ("SwinUNETR", {"img_size": [32, 32, 32]}),
        ("MobileNetV3UNet", {"in_channels": -3}),
        ("MobileNetV3UNet", {"classes": 4}),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused(name: str, change: dict[str, object]) -> None:
    definition, _ = DEFINITIONS[name]
    with pytest.raises(BundleError, match=f"{name} does not take these arguments"):
        build_network({**definition, **change})


def test_arguments_that_ask_for_an_absent_package_are_refused_with_its_name() -> None:
    definition, _ = DEFINITIONS["SwinUNETR"]
    with pytest.raises(BundleError, match=r"SwinUNETR needs a package .*nvsubquadratic"):
        build_network({**definition, "use_hyena": True})


def test_a_network_that_no_memory_holds_is_told_from_a_wrong_argument() -> None:
    definition, _ = DEFINITIONS["MobileNetV3UNet"]
    with pytest.raises(OutOfMemoryError, match="MobileNetV3UNet"):
        build_network({**definition, "out_channels": 10**12})
