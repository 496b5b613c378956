"""Our networks beside those of nnU-Net's own package."""

from __future__ import annotations

import pydoc
from typing import Any

import pytest
import torch

from tests.unit.models.interchange.foreign_folders import nnunet_network, plans

unet = pytest.importorskip(
    "dynamic_network_architectures.architectures.unet",
    reason="needs dynamic-network-architectures (pip install --no-deps)",
)


def their_network(content: dict[str, Any], kind: str) -> torch.nn.Module:
    """Built from plans as nnU-Net does, the last class names imported."""
    architecture = content["configurations"]["3d_fullres"]["architecture"]
    arguments = dict(architecture["arch_kwargs"])
    for name in architecture["_kw_requires_import"]:
        if arguments[name] is not None:
            arguments[name] = pydoc.locate(arguments[name])
    network: torch.nn.Module = getattr(unet, kind)(
        input_channels=1, num_classes=3, deep_supervision=False, **arguments
    )
    return network.eval()


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_their_weights_load_strictly_and_give_their_output(kind: str) -> None:
    torch.manual_seed(3)
    content = plans(kind)
    theirs = their_network(content, kind)
    ours = nnunet_network(content)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 1, 16, 32, 48)
    with torch.inference_mode():
        difference = (ours(x) - theirs(x)).abs().max().item()
    assert difference <= 1e-5


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_parameters_of_deep_supervision_load_too(kind: str) -> None:
    content = plans(kind)
    architecture = content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert architecture["n_stages"] == 3
    names = set(their_network(content, kind).state_dict())
    assert names == set(nnunet_network(content).state_dict())
    assert "decoder.seg_layers.0.weight" in names
