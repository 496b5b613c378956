"""Which file of a MONAI bundle's folder `models/` holds the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.errors import BundleError
from models.interchange.references import References

#: What MONAI's bundles call theirs, where nothing says otherwise.
_USUAL = PurePosixPath("models/model.pt")
#: State dicts by preference: what holds nothing but tensors first.
_STATES = (".safetensors", ".pt", ".pth")
_PROGRAM = ".ts"


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """Files of one name.

    Parameters
    ----------
    state
        State dict, where there is one.
    program
        TorchScript, where there is one.
    looked_for
        Names that were tried, the program's last.
    """

    state: Path | None
    program: Path | None
    looked_for: tuple[str, ...]


def find_weights(folder: Path, references: References) -> FoundWeights:
    """Find the weights that a configuration's `CheckpointLoader` names, or the usual ones.

    Parameters
    ----------
    folder
        Of the bundle.
    references
        Values of its `inference.json`.

    Raises
    ------
    BundleError
        If the named file is not there, only code could tell its name among several, or loaders
        name different ones.
    """
    named = _named(folder, references)
    own = _USUAL if named is None else named
    order = [own.with_suffix(suffix) for suffix in _STATES]
    if named is not None and named.suffix != _PROGRAM:
        order = list(dict.fromkeys([named, *order]))
    program = own.with_suffix(_PROGRAM)
    found = FoundWeights(
        state=next((folder / name for name in order if (folder / name).is_file()), None),
        program=folder / program if (folder / program).is_file() else None,
        looked_for=tuple(str(name) for name in (*order, program)),
    )
    if named is not None and found.state is None and found.program is None:
        others = ", ".join(sorted(path.name for path in _files(folder))) or "none"
        raise BundleError(
            f"{references.name}: expected {named}, which the CheckpointLoader names, found {others}"
        )
    return found


def _named(folder: Path, references: References) -> PurePosixPath | None:
    # the folder is the root wherever the configuration was written for
    rooted = References({**references.config, "bundle_root": "."}, references.name)
    names = set()
    for key, loader in _loaders(references.config):
        try:
            path = rooted.value(loader.get("load_path"), f"{key}::load_path")
        except BundleError:
            if len({file.stem for file in _files(folder)}) > 1:
                raise
            continue  # one file: there is no other that it could mean
        if isinstance(path, str) and (name := _under_models(folder, PurePosixPath(path))):
            names.add(name)
    if len(names) > 1:
        listed = ", ".join(sorted(map(str, names)))
        raise BundleError(
            f"{references.name}: expected one file of a CheckpointLoader, found {listed}"
        )
    return next(iter(names), None)


def _under_models(folder: Path, path: PurePosixPath) -> PurePosixPath | None:
    """The part of a path that lies in the bundle, whatever folder that was elsewhere.

    Where several folders are called `models`, it is the part whose file is there, else the last.
    """
    starts = [at for at, part in enumerate(path.parts[:-1]) if part == "models"]
    parts = [PurePosixPath(*path.parts[at:]) for at in starts]
    parts = [part for part in parts if ".." not in part.parts]
    there = (part for part in parts if _has_weights(folder / part))
    return next(there, parts[-1] if parts else None)


def _has_weights(path: Path) -> bool:
    suffixes = (path.suffix, *_STATES, _PROGRAM)
    return any(path.with_suffix(suffix).is_file() for suffix in suffixes)


def _loaders(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    handlers = config.get("handlers")
    listed = handlers if isinstance(handlers, list) else []
    written = {f"handlers::{n}": each for n, each in enumerate(listed)}
    written["checkpointloader"] = config.get("checkpointloader")
    for key, each in written.items():
        if not isinstance(each, Mapping) or each.get("_disabled_") is True:
            continue
        if str(each.get("_target_")).rpartition(".")[2] == "CheckpointLoader":
            yield key, each


def _files(folder: Path) -> list[Path]:
    """All weights in `models/`."""
    kinds = (*_STATES, _PROGRAM)
    return [path for path in (folder / "models").glob("*") if path.suffix in kinds]
