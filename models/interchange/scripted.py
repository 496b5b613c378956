"""Our own exported TorchScript, which carries everything that a bundle's folder says."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from models.errors import BundleError
from models.interchange.foreign import SCRIPTED, ForeignBundle

#: Name of the description among a TorchScript file's extra files.
DESCRIPTION = "viscera.json"


def read_scripted(path: Path) -> ForeignBundle:
    """Read a file that `viscera export --format torchscript` wrote.

    Raises
    ------
    BundleError
        If it is no TorchScript, or carries no description.
    """
    path = path.resolve()
    content = _description(path)
    try:
        inference = dict(content["inference"])
        entries = list(content["labels"]["segments"])
        names = [str(entry["name"]) for entry in entries]
        title, metadata = str(content["name"]), dict(content["metadata"])
    except (KeyError, TypeError, ValueError) as exc:
        raise BundleError(f"{path.name}: incomplete or malformed description: {exc!r}") from exc
    return ForeignBundle.translated(
        path.parent,
        title=title,
        metadata=metadata,
        inference={
            **inference,
            "network_def": {"_target_": SCRIPTED, "out_channels": len(names) + 1},
        },
        names=names,
        weights_file=path,
        entries=entries,
    )


def _description(path: Path) -> dict[str, Any]:
    """Read without loading the network: TorchScript files are zip archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [n for n in archive.namelist() if n.endswith(f"/extra/{DESCRIPTION}")]
            content = json.loads(archive.read(inside[0])) if inside else None
    except (OSError, zipfile.BadZipFile, ValueError) as exc:
        raise BundleError(f"cannot read TorchScript {path}: {exc}") from exc
    if not isinstance(content, dict):
        raise BundleError(
            f"{path.name}: expected a description {DESCRIPTION} inside (`viscera export` writes "
            "it), found none"
        )
    return content
