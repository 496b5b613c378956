"""MONAI's V-Net and ours with its weights give the same."""

from __future__ import annotations

import copy
from typing import Any

import monai.networks.nets as monai_nets
import pytest
import torch
from torch import nn

from models.networks.vnet import VNet
from models.networks.vnet_monai import from_monai, is_monai

#: Arguments of MONAI's, and of ours that make the same network.
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"activation": "elu"}),
    ({"act": "prelu"}, {"activation": "prelu"}),
    ({"bias": True}, {"activation": "elu"}),
    ({"in_channels": 2, "out_channels": 14}, {"activation": "elu"}),
]


def pair(theirs: dict[str, Any], ours: dict[str, Any]) -> tuple[nn.Module, VNet]:
    """MONAI's network with norms and biases that do something, and ours, still empty."""
    torch.manual_seed(7)
    channels = {"in_channels": 1, "out_channels": 3, **theirs}
    network = monai_nets.VNet(**channels)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand_like(value))
        elif value.ndim == 1:
            value.copy_(float(name.endswith("N.weight")) + 0.3 * torch.randn_like(value))
    numbers = {name: channels[name] for name in ("in_channels", "out_channels")}
    return network, VNet(**numbers, width=16, layout="monai", dropout=0.5, **ours)


@pytest.mark.parametrize(("theirs", "ours"), CASES, ids=lambda arguments: str(arguments))
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_monais_state_dict_loads_and_gives_the_same_output(
    theirs: dict[str, Any], ours: dict[str, Any], train: bool
) -> None:
    reference, network = pair(theirs, ours)
    network.load_state_dict(reference.state_dict(), strict=True)
    image = torch.randn(2, theirs.get("in_channels", 1), 32, 16, 16)
    outputs = []
    for each in (reference, network):
        torch.manual_seed(3)  # the same channels are dropped while they train
        with torch.no_grad():
            outputs.append(each.train(train)(image))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)


def test_the_names_are_ours_and_each_tensor_has_its_place() -> None:
    reference, network = pair(*CASES[1])
    state = reference.state_dict()
    renamed = from_monai(state)
    own = network.state_dict()
    assert is_monai(state)
    assert not is_monai(renamed)
    assert {n: v.shape for n, v in renamed.items()} == {n: v.shape for n, v in own.items()}
    assert torch.equal(
        renamed["down8.stage.convolve.6.weight"], state["down_tr128.ops.2.conv_block.conv.weight"]
    )
    # the biases of the four transposed convolutions have gone into the running means
    assert len(state) - len(renamed) == 4
    torch.testing.assert_close(
        renamed["up1.upsample.1.running_mean"],
        state["up_tr32.bn1.running_mean"] - state["up_tr32.up_conv.bias"],
    )


def test_what_is_loaded_is_left_as_it_was() -> None:
    reference, network = pair(*CASES[2])
    state = reference.state_dict()
    before = copy.deepcopy(state)
    network.load_state_dict(state)
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_a_wrapped_network_loads_them_too() -> None:
    reference, network = pair(*CASES[0])
    wrapper = nn.ModuleDict({"module": network})
    wrapper.load_state_dict({f"module.{n}": v for n, v in reference.state_dict().items()})
    expected = from_monai(reference.state_dict())
    assert torch.equal(network.state_dict()["classify.3.weight"], expected["classify.3.weight"])


def test_a_copy_loads_its_own_names() -> None:
    _, network = pair(*CASES[0])
    copied = copy.deepcopy(network)
    copied.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(copied.classify[3].weight, network.classify[3].weight)


@pytest.mark.parametrize("name", ["in_tr.other.weight", "down_tr32.ops.0.other.bias", "fc.weight"])
def test_a_name_that_monais_has_not_is_refused_by_it(name: str) -> None:
    reference, network = pair(*CASES[0])
    with pytest.raises(RuntimeError, match=f'Unexpected key.*"{name}"'):
        network.load_state_dict({**reference.state_dict(), name: torch.zeros(1)})


def test_the_weights_of_another_layout_are_refused() -> None:
    reference, _ = pair(*CASES[0])
    with pytest.raises(RuntimeError, match="Missing key"):
        VNet(out_channels=3).load_state_dict(reference.state_dict())
