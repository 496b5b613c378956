"""What a run needs besides its folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from operators.results import OUTPUTS
from operators.slice_stack import LARGEST_GAP_MM


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run needs besides its folders.

    Parameters
    ----------
    models
        Folder of bundles, or one bundle; None is the models that come with the package.
    model
        Name of the bundle for selections that name none; None takes the one there is.
    rules
        File of selection rules; None takes those of `config`, or else the default rules.
    config
        An `app.yaml`, which may have `selections`.
    device
        `auto`, `cpu`, `gpu` or `gpu:N`.
    largest_gap_mm
        Widest distance between neighbouring images that is bridged.
    any_anatomy
        Whether to segment what shows another part of the body than the model was made for.
    outputs
        What is written of each series, of `operators.results.OUTPUTS`.
    """

    models: Path | None = None
    model: str | None = None
    rules: Path | None = None
    config: Path | None = None
    device: str = "auto"
    largest_gap_mm: float = LARGEST_GAP_MM
    any_anatomy: bool = False
    outputs: tuple[str, ...] = OUTPUTS
