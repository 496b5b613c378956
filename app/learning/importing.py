"""`viscera import`: weights from elsewhere become a bundle's."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from models.bundle import Bundle, sha256_of
from models.bundle_folders import find_bundle
from models.errors import BundleError
from models.interchange.weights import first_line, read_state
from operators.outputs import make_folder


def run_import(parsed: argparse.Namespace) -> int:
    """Write a copy of a bundle whose weights are those of a checkpoint, in full precision.

    Where the copy would be the bundle itself, that gets the weights.

    The names have to be those of the bundle's network, as of a checkpoint of
    segmentation_models_pytorch's `timm-mobilenetv3_large_100` U-Net, or of MONAI's own networks.

    Raises
    ------
    BundleError
        If there is no such model, or the checkpoint is of another network.
    OutputError
        If the copy cannot be written.
    """
    bundle = find_bundle(parsed.model, parsed.models)
    network = bundle.build_network()
    state = read_state(parsed.weights)
    try:
        network.load_state_dict(state)
    except RuntimeError as exc:
        raise BundleError(
            f"{parsed.weights} is of another network than {bundle.name}: {first_line(exc)}"
        ) from exc
    target: Path = parsed.output / bundle.name
    make_folder(target)
    if target.resolve() != bundle.folder.resolve():
        for part in ("configs", "docs"):
            if (bundle.folder / part).is_dir():
                shutil.copytree(bundle.folder / part, target / part, dirs_exist_ok=True)
    notes = {"imported_from": {"file": parsed.weights.name, "sha256": sha256_of(parsed.weights)}}
    written = Bundle.read(target).save_weights(
        network.state_dict(), {**notes, "trained_on": {}}, halve=False
    )
    print(f"{written.folder}: {len(state)} tensors, sha256 {written.sha256}")
    return 0
