"""Bundles in the shape of the MONAI Model Zoo: `configs/inference.json` and `models/model.*`.

The configuration is translated, never run: see `transforms` for what remains different in the
preprocessing. Of the sliding window, size, overlap and batch are taken over; our windows are
spread evenly and weighted by a Gaussian where MONAI's default snaps the last to the edge and
weights all voxels alike, and what is smaller than a window is filled up behind with air where MONAI
adds zeros on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import BundleError
from models.interchange.axes import in_canonical_order
from models.interchange.foreign import SCRIPTED, ForeignBundle, read_config
from models.interchange.organs import segment_of
from models.interchange.references import References
from models.interchange.transforms import Step, Translation, steps_of, translate
from models.interchange.zoo_weights import find_weights
from models.registry import BUILDERS

#: Arguments that MONAI has renamed or dropped since, for bundles of its earlier versions.
_RENAMED = {"dimensions": "spatial_dims", "pos_embed": "proj_type"}
_DROPPED = {"monai.networks.nets.SwinUNETR": {"img_size"}}
#: Steps after the network that leave the labels as they are, or that ours always takes.
_NO_CHANGE = frozenset(
    {
        "Invertd",
        "SaveImaged",
        "EnsureTyped",
        "CastToTyped",
        "ToTensord",
        "ToDeviced",
        "CopyItemsd",
        "SelectItemsd",
        "DeleteItemsd",
        "Identityd",
    }
)


def is_monai_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle with a preprocessing of MONAI transforms, not one of ours."""
    path = _config_path(folder, "inference")
    if path is None:
        return False
    preprocessing = read_config(path).get("preprocessing")
    return isinstance(preprocessing, str) or (
        isinstance(preprocessing, Mapping) and "transforms" in preprocessing
    )


def read_monai_bundle(folder: Path) -> ForeignBundle:
    """Read a bundle of the MONAI Model Zoo.

    Parameters
    ----------
    folder
        With `configs/metadata.json`, `configs/inference.json` (or `.yaml`), and the weights as
        `models/model.pt` (or `.pth`, `.safetensors`) or, where the network is not one of ours,
        as TorchScript `models/model.ts`; of another name where a `CheckpointLoader` has another.

    Raises
    ------
    BundleError
        If a file is missing or malformed, or the configuration says something that matters and
        that our settings cannot say; the text names the key, what was expected and found.
    """
    folder = folder.resolve()
    references = References(read_config(_needed_config(folder, "inference")), folder.name)
    metadata = read_config(_needed_config(folder, "metadata"))
    written = references.config
    if "preprocessing" not in written:
        raise BundleError(f"{folder.name}: expected a preprocessing, found none")
    translation = translate(steps_of(written["preprocessing"], "preprocessing", references))
    names = _class_names(metadata, folder.name)
    entries = _own_labels(folder)
    definition, weights = _network(folder, references, len(names) + 1)
    inference = {
        "network_def": definition,
        "preprocessing": translation.as_json(),
        "sliding_window": _window(references, translation),
        "postprocessing": {
            "largest_component": [
                _key_of(number, names, entries) for number in _single_pieces(references, len(names))
            ]
        },
    }
    return ForeignBundle.translated(
        folder,
        title=folder.name,
        metadata=metadata,
        inference=inference,
        names=names,
        weights_file=weights,
        axcodes=translation.axcodes or "",
        entries=entries,
    )


def _network(folder: Path, references: References, outputs: int) -> tuple[dict[str, Any], Path]:
    """The network's definition and weights; TorchScript where the network is none of ours."""
    weights = find_weights(folder, references)
    written = references.config.get("network_def")
    definition: dict[str, Any] = {}
    if isinstance(written, Mapping) and _full_name(written.get("_target_")) in BUILDERS:
        definition = _definition(written, references)
        if weights.state is not None:
            return definition, weights.state
    if weights.program is not None:
        channels = definition.get("out_channels", outputs)
        return {"_target_": SCRIPTED, "out_channels": channels}, weights.program
    *_, program = weights.looked_for
    if definition:
        raise BundleError(
            f"{folder.name}: expected weights in {', '.join(weights.looked_for)}, found none"
        )
    found = written.get("_target_") if isinstance(written, Mapping) else written
    raise BundleError(
        f"{folder.name}: network_def: expected {program}, or a network of {sorted(BUILDERS)}, "
        f"found {found!r}"
    )


def _definition(written: Mapping[str, Any], references: References) -> dict[str, Any]:
    arguments = {
        _RENAMED.get(name, name): references.value(value, f"network_def::{name}")
        for name, value in written.items()
        if name != "_target_" and not name.startswith("_")
    }
    target = _full_name(written["_target_"])
    if arguments.get("in_channels", 1) != 1:
        raise BundleError(
            f"{references.name}: network_def::in_channels: expected 1 (CT), found "
            f"{arguments['in_channels']}"
        )
    for name in _DROPPED.get(target, ()):
        arguments.pop(name, None)
    return {"_target_": target, **arguments}


def _full_name(target: Any) -> str:
    """`monai.networks.nets.UNet` for `UNet` and `monai.networks.nets.unet.UNet` alike."""
    text = str(target)
    if text in BUILDERS or ("." in text and not text.startswith("monai.")):
        return text
    return f"monai.networks.nets.{text.rpartition('.')[2]}"


def _window(references: References, translation: Translation) -> dict[str, Any]:
    written = references.config.get("inferer")
    kind = str(written.get("_target_", "")) if isinstance(written, Mapping) else repr(written)
    name = kind.rpartition(".")[2]
    if isinstance(written, Mapping) and name == "SimpleInferer" and translation.shape:
        return {"size": translation.shape, "overlap": 0.0, "batch": 1}
    if not isinstance(written, Mapping) or name not in (
        "SlidingWindowInferer",
        "SlidingWindowInfererAdapt",
    ):
        raise BundleError(
            f"{references.name}: inferer: expected a SlidingWindowInferer, or a SimpleInferer "
            f"after Resized, found {kind}"
        )
    step = Step(name=name, key="inferer", written=written, references=references)
    overlap = step.get("overlap", 0.25)
    overlap = max(overlap) if isinstance(overlap, list) else overlap
    size = [int(n) for n in step.triple("roi_size")]
    return {
        "size": in_canonical_order(size, translation.axcodes or ""),
        "overlap": overlap,
        "batch": step.get("sw_batch_size", 1),
    }


def _key_of(number: int, names: Sequence[str], entries: Sequence[Mapping[str, Any]] | None) -> str:
    """Our name of a class."""
    if entries is None:
        return segment_of(names[number - 1], number).name
    return next((str(e.get("name")) for e in entries if e.get("class") == number), "")


def _single_pieces(references: References, classes: int) -> list[int]:
    """The classes of which the largest piece alone is kept.

    Raises
    ------
    BundleError
        If another step changes the labels, or the classes do not exclude one another.
    """
    written = references.config.get("postprocessing")
    steps = [] if written is None else steps_of(written, "postprocessing", references)
    largest: list[int] = []
    for step in steps:
        if step.name in _NO_CHANGE:
            continue
        if step.name == "Activationsd":
            if step.get("sigmoid"):
                raise step.error("sigmoid", "softmax (classes exclude one another)", True)
        elif step.name == "AsDiscreted":
            if _first(step.get("argmax")) is not True:
                raise step.error("argmax", "true", step.get("argmax"))
        elif step.name == "KeepLargestConnectedComponentd":
            largest = sorted({*largest, *_pieces_of(step, classes)})
        else:
            raise BundleError(
                f"{references.name}: {step.key}: expected no step that changes the labels but "
                f"KeepLargestConnectedComponentd, found {step.name}"
            )
    return largest


def _pieces_of(step: Step, classes: int) -> set[int]:
    applied = step.get("applied_labels")
    every = list(range(1, classes + 1))
    listed = [applied] if isinstance(applied, int) else applied or every
    if not set(listed) <= {0, *every}:
        raise step.error("applied_labels", f"some of 1 to {classes}", applied)
    if (count := step.get("num_components", 1)) != 1:
        raise step.error("num_components", "1", count)
    if len(listed) > 1 and not step.get("independent", True):
        raise step.error("independent", "true (each label by itself)", False)
    return set(listed) - {0}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _class_names(metadata: Mapping[str, Any], name: str) -> list[str]:
    """Of the classes from 1 on, from `network_data_format`; raises BundleError."""
    try:
        formats = metadata["network_data_format"]
        pred = _format_of(formats["outputs"], "pred")
        image = _format_of(formats.get("inputs") or {}, "image")
        channels = {int(number): str(text) for number, text in pred["channel_def"].items()}
        told = {
            "outputs::pred": (len(channels), pred.get("num_channels", len(channels))),
            "inputs::image": (1, image.get("num_channels", 1)),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BundleError(
            f"{name}: metadata: expected the classes in network_data_format::outputs::pred::"
            f"channel_def, found none: {exc!r}"
        ) from exc
    if sorted(channels) != list(range(len(channels))) or len(channels) < 2:
        raise BundleError(
            f"{name}: metadata: channel_def: expected classes 0 to N, found {sorted(channels)}"
        )
    if "background" not in channels[0].lower():
        raise BundleError(
            f"{name}: metadata: channel_def: expected background as class 0, found {channels[0]!r}"
        )
    for key, (expected, found) in told.items():
        if found != expected:
            raise BundleError(
                f"{name}: metadata: network_data_format::{key}::num_channels: expected {expected}, "
                f"found {found}"
            )
    return [channels[number] for number in range(1, len(channels))]


def _format_of(formats: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The format of that name, else the first."""
    found: Mapping[str, Any] = formats.get(key, next(iter(formats.values()), {}))
    return found


def _own_labels(folder: Path) -> list[Mapping[str, Any]] | None:
    """Entries of a `configs/labels.json` such as ours, where there is one."""
    path = folder / "configs" / "labels.json"
    if not path.is_file():
        return None
    entries = read_config(path).get("segments")
    if not isinstance(entries, list):
        raise BundleError(f"{folder.name}: labels: expected segments, found {entries!r}")
    return entries


def _config_path(folder: Path, name: str) -> Path | None:
    paths = (folder / "configs" / f"{name}{suffix}" for suffix in (".json", ".yaml", ".yml"))
    return next((path for path in paths if path.is_file()), None)


def _needed_config(folder: Path, name: str) -> Path:
    path = _config_path(folder, name)
    if path is None:
        raise BundleError(f"{folder.name}: expected configs/{name}.json or .yaml, found none")
    return path
