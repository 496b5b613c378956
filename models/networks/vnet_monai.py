"""The weights of MONAI's V-Net (`monai.networks.nets.VNet`) under the names of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

#: Our name of each of MONAI's stages.
STAGES = {
    "in_tr": "enter",
    "down_tr32": "down2",
    "down_tr64": "down4",
    "down_tr128": "down8",
    "down_tr256": "down16",
    "up_tr256": "up8",
    "up_tr128": "up4",
    "up_tr64": "up2",
    "up_tr32": "up1",
    "out_tr": "classify",
}
#: Our name of each layer within the first stage, the last, and those that change the resolution.
_LAYERS = {
    "in": {
        "conv_block.conv": "convolve.0",
        "conv_block.adn.N": "convolve.1",
        "act_function": "activate",
    },
    "down": {
        "down_conv": "downsample.0",
        "bn1": "downsample.1",
        "act_function1": "downsample.2",
        "act_function2": "stage.activate",
    },
    "up": {
        "up_conv": "upsample.0",
        "bn1": "upsample.1",
        "act_function1": "upsample.2",
        "act_function2": "stage.activate",
    },
    "out": {
        "conv_block.conv": "0",
        "conv_block.adn.N": "1",
        "act_function1": "2",
        "conv2": "3",
    },
}
#: Place of each layer of a repeated convolution among its three.
_PLACES = {"conv_block.conv": 0, "conv_block.adn.N": 1, "act_function": 2}
_REPEATED = re.compile(r"ops\.(\d+)\.(.+)")


def is_monai(state: Mapping[str, Tensor], prefix: str = "") -> bool:
    """Whether the weights under `prefix` have the names of MONAI's V-Net."""
    return any(name.startswith(f"{prefix}in_tr.") for name in state)


def from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the state dict of MONAI's 3D V-Net for ours with `layout="monai"` and `width=16`.

    A convolution's bias ahead of a batch norm (MONAI has one in each transposed convolution, and
    in others with `bias=True`) only shifts the mean that the norm takes off: it is taken off the
    running mean here, and ours has none. The output is the same, up to rounding.

    Parameters
    ----------
    state
        Weights by MONAI's names. A name that MONAI's V-Net does not have is kept, so that loading
        the result strictly names it.
    """
    renamed = {_rename(name): value for name, value in state.items()}
    for name in [name for name in renamed if name.endswith(".bias")]:
        layer = name.removesuffix(".bias")
        mean = f"{_next(layer)}.running_mean"
        if f"{layer}.running_mean" not in renamed and mean in renamed:
            renamed[mean] = renamed[mean] - renamed.pop(name)
    return renamed


def _rename(name: str) -> str:
    stage, _, rest = name.partition(".")
    layer, _, tensor = rest.rpartition(".")
    repeated = _REPEATED.fullmatch(layer)
    if stage not in STAGES:
        return name
    if repeated and repeated[2] in _PLACES:
        place = f"stage.convolve.{3 * int(repeated[1]) + _PLACES[repeated[2]]}"
    else:
        place = _LAYERS[stage.partition("_")[0]].get(layer, "")
    return f"{STAGES[stage]}.{place}.{tensor}" if place else name


def _next(layer: str) -> str:
    """The layer behind `layer` in its sequence; `layer` itself where it is in none."""
    sequence, _, index = layer.rpartition(".")
    return f"{sequence}.{int(index) + 1}" if index.isdecimal() else layer
