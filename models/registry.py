"""The networks a bundle may name, and nothing else: a configuration never loads code by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from models.errors import BundleError
from models.networks.unetr import build_unetr
from models.networks.vnet import VNet

#: Builder of each `_target_` in a bundle's `network_def`; the names are importable, so MONAI's
#: own bundle runner reads the same configuration.
BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "models.networks.vnet.VNet": VNet,
    "monai.networks.nets.UNETR": build_unetr,
}


def build_network(definition: Mapping[str, Any]) -> nn.Module:
    """Build a network from `{"_target_": name, argument: value, ...}`.

    Raises
    ------
    BundleError
        If the name is unknown or its arguments do not fit.
    """
    arguments = dict(definition)
    target = arguments.pop("_target_", None)
    if not isinstance(target, str) or target not in BUILDERS:
        raise BundleError(f"expected a network of {sorted(BUILDERS)}, found {target!r}")
    try:
        return BUILDERS[target](**arguments)
    except (TypeError, ValueError) as exc:
        raise BundleError(f"{target} does not take these arguments: {exc}") from exc
