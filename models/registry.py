"""The networks a bundle may name, and nothing else: a configuration never loads code by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from models.errors import BundleError
from models.memory import memory_errors
from models.networks.mobilenetv3_unet import MobileNetV3UNet
from models.networks.monai_nets import MONAI_NETWORKS, monai_builder
from models.networks.plain_conv_unet import PlainConvUNet, ResidualEncoderUNet
from models.networks.unetr_transformer import UNETRTransformer
from models.networks.vnet import VNet

#: Builder of each `_target_` in a bundle's `network_def`; the names are importable, so MONAI's
#: own bundle runner reads the same configuration.
BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "models.networks.vnet.VNet": VNet,
    "models.networks.mobilenetv3_unet.MobileNetV3UNet": MobileNetV3UNet,
    "models.networks.plain_conv_unet.PlainConvUNet": PlainConvUNet,
    "models.networks.plain_conv_unet.ResidualEncoderUNet": ResidualEncoderUNet,
    "models.networks.unetr_transformer.UNETRTransformer": UNETRTransformer,
    **{f"monai.networks.nets.{name}": monai_builder(name) for name in MONAI_NETWORKS},
}
#: What torch and MONAI raise where an argument is of the wrong kind or does not fit another.
_MISFITS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def build_network(definition: Mapping[str, Any]) -> nn.Module:
    """Build a network from `{"_target_": name, argument: value, ...}`.

    Raises
    ------
    BundleError
        If the name is unknown, its arguments do not fit, or they ask for a package that is absent.
    OutOfMemoryError
        If there is no memory for its weights.
    """
    arguments = dict(definition)
    target = arguments.pop("_target_", None)
    if not isinstance(target, str) or target not in BUILDERS:
        raise BundleError(f"expected a network of {sorted(BUILDERS)}, found {target!r}")
    try:
        with memory_errors(f"the weights of {target}"):
            return BUILDERS[target](**arguments)
    except ImportError as exc:
        raise BundleError(f"{target} needs a package for these arguments: {exc}") from exc
    except _MISFITS as exc:
        raise BundleError(f"{target} does not take these arguments: {exc}") from exc
