"""Other forms of a bundle: fewer organs, another data set, other sizes.

`configs/variants/NAME.json` says what differs:

    {"description": "...",
     "segments": ["liver", ...],      the organs kept, in order of their new classes
     "add": [{...}],                  organs that `labels.json` lacks, as its entries
     "metadata": {...}, "inference": {...}, "train": {...}}     merged over the files

Objects are merged key by key, entries of a list by their number (`"stages": {"0": {...}}`), and
all else is replaced. Organs that are dropped leave the network's outputs, the labels to train on
and the list of single pieces too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from models.errors import BundleError, TrainingError
from models.json_files import read_object

#: Keys a variant may have.
KEYS = {"description", "segments", "add", "metadata", "inference", "train"}


def variants_of(folder: Path) -> dict[str, str]:
    """Name and description of each variant of a bundle."""
    names = sorted(file.stem for file in (folder / "configs" / "variants").glob("*.json"))
    return {name: str(read_variant(folder, name).get("description", "")) for name in names}


def read_variant(folder: Path, name: str) -> dict[str, Any]:
    """What a variant of the bundle in `folder` changes; raises BundleError."""
    return read_object(folder / "configs" / "variants" / f"{name}.json", BundleError)


def make_variant(bundle: Bundle, names: Sequence[str], target: Path) -> Bundle:
    """Write a bundle with the changes of `names`, one after the other, to `target`.

    The weights stay behind: they are of the network as it was.

    Raises
    ------
    BundleError
        If there is no such variant, it is malformed, or what comes out is no bundle.
    """
    configs = bundle.folder / "configs"
    parts = {name: read_object(configs / f"{name}.json", BundleError) for name in _FILES}
    for name in names:
        known = variants_of(bundle.folder)
        if name not in known:
            raise BundleError(
                f"expected a variant of {bundle.name}: {', '.join(known) or 'there is none'}; "
                f"found {name!r}"
            )
        _apply(parts, read_variant(bundle.folder, name), name)
    (target / "configs").mkdir(parents=True, exist_ok=True)
    for name, content in parts.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (target / "configs" / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    if (bundle.folder / "docs").is_dir():
        shutil.copytree(bundle.folder / "docs", target / "docs", dirs_exist_ok=True)
    return Bundle.read(target)


_FILES = ("metadata", "inference", "labels", "train")


def merge(base: Any, change: Any, where: str = "") -> Any:
    """`change` over `base`: objects key by key, anything else replaced.

    An object whose keys are numbers from 0 up changes these entries of a list. `where` is the path
    to both, for the error.

    Raises
    ------
    TrainingError
        If a list has no such entry.
    """
    if not isinstance(change, Mapping):
        return change
    if isinstance(base, list) and change and all(map(_is_number, change)):
        merged = list(base)
        for key, value in change.items():
            if int(key) >= len(base):
                raise TrainingError(
                    f"{where}{key}: expected one of {len(base)} entries, counted from 0, found none"
                )
            merged[int(key)] = merge(base[int(key)], value, f"{where}{key}.")
        return merged
    if not isinstance(base, Mapping):
        return change
    changed = {k: merge(base.get(k), value, f"{where}{k}.") for k, value in change.items()}
    return {**base, **changed}


def _is_number(key: object) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdecimal()


def _apply(parts: dict[str, Any], change: Mapping[str, Any], name: str) -> None:
    strangers = sorted(set(change) - KEYS)
    if strangers:
        raise BundleError(f"variant {name}: expected {', '.join(sorted(KEYS))}, found {strangers}")
    window = parts["inference"]["sliding_window"]["size"]
    for file in ("metadata", "inference", "train"):
        try:
            parts[file] = merge(parts[file], change.get(file, {}))
        except TrainingError as exc:
            raise BundleError(f"variant {name}: {file}: {exc}") from exc
    _restate_window(parts, window)
    if "segments" in change:
        _keep(parts, change["segments"], change.get("add", []), name)


def _restate_window(parts: dict[str, Any], before: Sequence[int]) -> None:
    """Where the metadata state the window as the network's size, they state the new one."""
    after = parts["inference"]["sliding_window"]["size"]
    formats = parts["metadata"].get("network_data_format", {})
    for side in ("inputs", "outputs"):
        for tensor in formats.get(side, {}).values():
            if list(map(str, tensor.get("spatial_shape", ()))) == list(map(str, before)):
                tensor["spatial_shape"] = list(map(str, after))


def _keep(
    parts: dict[str, Any], wanted: Sequence[str], added: Sequence[Mapping[str, Any]], name: str
) -> None:
    """Leave the organs `wanted`, their classes numbered anew."""
    there = {entry["name"]: entry for entry in [*parts["labels"]["segments"], *added]}
    missing = [organ for organ in wanted if organ not in there]
    if missing:
        raise BundleError(f"variant {name}: expected organs of the bundle, found {missing}")
    parts["labels"] = {
        "segments": [
            {**there[organ], "class": number, "number": number}
            for number, organ in enumerate(wanted, start=1)
        ]
    }
    parts["inference"]["network_def"]["out_channels"] = len(wanted) + 1
    after = parts["inference"].get("postprocessing", {})
    if isinstance(after.get("largest_component"), list):
        after["largest_component"] = [o for o in after["largest_component"] if o in wanted]
    output = parts["metadata"].get("network_data_format", {}).get("outputs", {}).get("pred")
    if output is not None:
        output["num_channels"] = len(wanted) + 1
        names = ["background", *wanted]
        output["channel_def"] = {str(number): organ for number, organ in enumerate(names)}
    _keep_labels(parts["train"].get("data", {}), wanted)


def _keep_labels(data: dict[str, Any], wanted: Sequence[str]) -> None:
    """Train on the organs `wanted`; what the data set labels besides becomes background."""
    labels = data.get("labels")
    if labels is None:
        return
    values = {organ: set(_listed(value)) for organ, value in labels.items()}
    used = {value for organ in wanted for value in values.get(organ, ())}
    others = set(data.get("other_labels", ())).union(*values.values()) - used
    data["labels"] = {organ: labels[organ] for organ in wanted if organ in labels}
    data["other_labels"] = sorted(others)


def _listed(value: int | Sequence[int]) -> Sequence[int]:
    return [value] if isinstance(value, int) else value
