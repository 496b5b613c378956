"""The networks that are MONAI's own, by the names that its bundles give them.

UNETR     Hatamizadeh et al. 2022, doi 10.1109/WACV51458.2022.00181
UNet      residual U-Net, Kerfoot et al. 2019, doi 10.1007/978-3-030-12029-0_40
SegResNet Myronenko 2019, doi 10.1007/978-3-030-11726-9_28
SwinUNETR Hatamizadeh et al. 2022, doi 10.1007/978-3-031-08999-2_22
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from models.networks.same_conv import mend_gradients

#: Networks a bundle may name, in `monai.networks.nets`.
MONAI_NETWORKS = ("UNETR", "UNet", "SegResNet", "SwinUNETR")


def monai_builder(name: str) -> Callable[..., nn.Module]:
    """A function that builds the network `name` of `MONAI_NETWORKS` from its arguments."""

    def build(**arguments: Any) -> nn.Module:
        from monai.networks import nets  # late: MONAI takes a second to load

        network: nn.Module = getattr(nets, name)(**arguments)
        return mend_gradients(network)

    return build
