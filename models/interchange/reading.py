"""The one place that knows the kinds of models other than our own bundles."""

from __future__ import annotations

from pathlib import Path

from models.errors import BundleError
from models.interchange.foreign import ForeignBundle
from models.interchange.monai_bundle import is_monai_bundle, read_monai_bundle
from models.interchange.nnunet import is_nnunet, read_nnunet
from models.interchange.scripted import read_scripted

#: Of TorchScript files.
SUFFIXES = (".ts", ".torchscript")


def is_foreign(path: Path) -> bool:
    """Whether there is a model of another kind than ours; raises BundleError where it is closed."""
    try:
        if path.is_file():
            return path.suffix in SUFFIXES
        return is_nnunet(path) or is_monai_bundle(path)
    except OSError as exc:
        raise BundleError(f"cannot read {path}: {exc.strerror or exc}") from exc


def read_foreign(path: Path) -> ForeignBundle:
    """Read a MONAI Model Zoo bundle, an nnU-Net results folder, or TorchScript that we exported.

    Raises
    ------
    BundleError
        If it is none of these, or cannot be run by our settings.
    """
    if path.is_file():
        return read_scripted(path)
    if is_nnunet(path):
        return read_nnunet(path)
    if is_monai_bundle(path):
        return read_monai_bundle(path)
    raise BundleError(
        f"expected a MONAI bundle, nnU-Net's plans.json and dataset.json, or exported TorchScript, "
        f"found none in {path}"
    )
