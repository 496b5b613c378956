"""UNETR (Hatamizadeh et al. 2022, doi 10.1109/WACV51458.2022.00181), as MONAI has it."""

from __future__ import annotations

from typing import Any

from torch import nn


def build_unetr(**arguments: Any) -> nn.Module:
    """MONAI's UNETR; imported late, since MONAI takes a second to load."""
    from monai.networks.nets.unetr import UNETR

    return UNETR(**arguments)
