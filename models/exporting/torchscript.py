"""TorchScript: for libtorch, Triton, and `--bundle` of this program."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.bundle import Bundle
from models.exporting.comparison import Comparison, compare, example
from models.exporting.description import as_text, describe
from models.exporting.writing import whole_file
from models.interchange.foreign import load_program
from models.interchange.scripted import DESCRIPTION


def export_torchscript(bundle: Bundle, path: Path) -> Comparison:
    """Write a bundle's network and description as one TorchScript file.

    The program takes windows `(N, 1, D, H, W)` of the bundle's size in canonical order, grey values
    scaled as the description's `preprocessing` says, and gives logits `(N, classes, D, H, W)`.

    Returns
    -------
    How far the file's network is from the bundle's. The file is there only if that is near enough.

    Raises
    ------
    BundleError
        If the weights are missing or altered, or the file's network gives something else.
    """
    network = bundle.load_network()
    with whole_file(path) as partial:
        description = {DESCRIPTION: as_text(describe(bundle))}
        write_program(bundle, network, partial, description)
        return compare(bundle, network, load_program(partial))


def write_program(
    bundle: Bundle, network: nn.Module, path: Path, extra_files: dict[str, str]
) -> None:
    """Trace a network and save it; not compared yet."""
    torch.jit.save(traced(bundle, network), str(path), _extra_files=extra_files)


def traced(bundle: Bundle, network: nn.Module) -> Any:
    """The program of a network, traced with one window."""
    trace: Any = torch.jit.trace
    with warnings.catch_warnings():
        # shapes that become constants are the window's, and those never change
        warnings.simplefilter("ignore")
        return trace(network, example(bundle), check_trace=False)
