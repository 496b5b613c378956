"""What a run makes of each series."""

from __future__ import annotations

from typing import Literal

#: What a run makes of a series; the segmentation is indispensable.
SEGMENTATION = "segmentation"
OUTPUTS: tuple[Literal["segmentation", "preview", "volumes"], ...] = (
    "segmentation",
    "preview",
    "volumes",
)
