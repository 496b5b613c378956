"""What goes into a MAP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """What goes into a MAP.

    Parameters
    ----------
    config
        An `app.yaml`; None takes the one that comes with the program.
    models
        Folder of bundles, or one bundle; None takes the default model, the one that would be used.
    wheels
        Folder to take wheels from; None asks the package index.
    gpu
        Whether it is to compute with CUDA.
    """

    config: Path | None = None
    models: Path | None = None
    wheels: Path | None = None
    gpu: bool = False
