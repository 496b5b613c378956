"""Models that nnU-Net version 2 trained, run by their plans.

A folder is what nnU-Net writes under `nnUNet_results`: `plans.json`, `dataset.json` and
`fold_X/checkpoint_final.pth`. One fold is run, not the mean of all, and without mirroring at test
time: about a fortieth of the time of nnU-Net's own prediction by five folds. Our resampling is
used (linear, or a weighted mean towards a coarser grid) where nnU-Net fits cubic splines; what is
smaller than a window is filled up behind with air where nnU-Net adds zeros, the mean, around it.

Where the axes of its images lead to follows from its plans alone if these name a reader that
reorients, `NibabelIOWithReorient` or `SimpleITKIOWithReorient` (then RAS). An optional
`viscera.json` beside the plans settles this and the choice of weights:
`{"axcodes": "LAS", "configuration": "3d_fullres", "fold": "0"}`, axcodes being those of the
training images' files, first axis first. Where neither tells, the model is refused: a guess that is
wrong exchanges left and right, and nothing in the result would show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import BundleError
from models.interchange.axes import check_directions, in_canonical_order
from models.interchange.foreign import ForeignBundle, read_config
from models.interchange.grey_values import GreyValues

#: Beside the plans, for what nnU-Net does not write down.
SETTINGS = "viscera.json"
_KNOWN_SETTINGS = frozenset({"axcodes", "configuration", "fold"})
#: Readers that turn every image to RAS (nnU-Net 2.8.1, nnunetv2/imageio).
_REORIENTING = frozenset({"NibabelIOWithReorient", "SimpleITKIOWithReorient"})
_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_NETWORKS = {
    "PlainConvUNet": "n_conv_per_stage",
    "ResidualEncoderUNet": "n_blocks_per_stage",
}
_OVERLAP = 0.5


def is_nnunet(folder: Path) -> bool:
    """Whether a folder is a trained nnU-Net."""
    return (folder / "plans.json").is_file() and (folder / "dataset.json").is_file()


def read_nnunet(
    folder: Path,
    *,
    configuration: str | None = None,
    fold: str | None = None,
    axcodes: str | None = None,
) -> ForeignBundle:
    """Read a trained nnU-Net.

    Parameters
    ----------
    folder
        With `plans.json`, `dataset.json` and the folds.
    configuration
        Such as `3d_fullres`; None takes what the settings or the folder's name say.
    fold
        Such as `0` or `all`; None takes what the settings say, else `all`, else the lowest.
    axcodes
        Where the axes of the training images lead to; None takes what the settings say.

    Raises
    ------
    BundleError
        If a file is missing or malformed, the axes of the training images are not told, or the
        plans say something that matters and that our settings cannot say: a cascade, a 2D network,
        regions, normalisation by the image itself.
    """
    folder = folder.resolve()
    plans, dataset = read_config(folder / "plans.json"), read_config(folder / "dataset.json")
    settings = _settings(folder)
    codes = axcodes or settings.get("axcodes") or _reader_axcodes(plans, folder.name)
    codes = check_directions(codes, f"{folder.name}: axcodes")
    try:
        chosen = _configuration(plans, folder.name, configuration or settings.get("configuration"))
        transpose = [int(axis) for axis in plans["transpose_forward"]]
        names = _class_names(dataset, folder.name)
        # nnU-Net's arrays begin with the last axis of the file
        turned = "".join(codes[::-1][axis] for axis in transpose)
        inference = {
            "network_def": _definition(chosen, len(names) + 1, folder.name),
            "preprocessing": {
                "spacing_mm": in_canonical_order([float(mm) for mm in chosen["spacing"]], turned),
                "crop": True,
                **_grey_values(plans, chosen, dataset, folder.name).as_json(),
            },
            "sliding_window": {
                "size": in_canonical_order([int(n) for n in chosen["patch_size"]], turned),
                "overlap": _OVERLAP,
                "batch": 1,
            },
            "postprocessing": {"largest_component": False},
        }
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise BundleError(f"{folder.name}: incomplete or malformed plans: {exc!r}") from exc
    wanted = fold if fold is not None else settings.get("fold")
    return ForeignBundle.translated(
        folder,
        title=folder.name,
        metadata={
            "name": str(plans.get("dataset_name", folder.name)),
            "version": str(plans.get("plans_name", "nnUNetPlans")),
            "description": "Trained by nnU-Net",
        },
        inference=inference,
        names=names,
        weights_file=_checkpoint(folder, None if wanted is None else str(wanted)),
        axcodes=turned,
    )


def _configuration(plans: Mapping[str, Any], name: str, wanted: str | None) -> dict[str, Any]:
    """A configuration with what it inherits; raises BundleError where ours cannot run it."""
    known: Mapping[str, Any] = plans["configurations"]
    if wanted is None:
        last = name.rpartition("__")[2]
        three_d = [each for each in known if each.startswith("3d") and "cascade" not in each]
        wanted = last if last in known else (three_d[0] if len(three_d) == 1 else None)
    if wanted not in known:
        raise BundleError(
            f"{name}: expected a configuration of {', '.join(known)}, found "
            f"{wanted or 'none'} (name it in {SETTINGS})"
        )
    chosen: dict[str, Any] = {}
    ancestor: str | None = wanted
    seen: set[str] = set()
    while ancestor is not None and ancestor not in seen:
        seen.add(ancestor)
        chosen = {**known[ancestor], **chosen}
        ancestor = known[ancestor].get("inherits_from")
    if chosen.get("previous_stage"):
        raise BundleError(f"{name}: {wanted}: expected one network, found a cascade")
    if len(chosen["patch_size"]) != 3:
        raise BundleError(f"{name}: {wanted}: expected a network of three dimensions, found a 2D")
    return chosen


def _definition(chosen: Mapping[str, Any], outputs: int, name: str) -> dict[str, Any]:
    """The network in our registry's terms."""
    if "architecture" in chosen:
        full_name = str(chosen["architecture"]["network_class_name"])
        arguments = dict(chosen["architecture"]["arch_kwargs"])
    else:  # before version 2.3
        full_name = str(chosen["UNet_class_name"])
        arguments = _old_arguments(chosen)
    kind = full_name.rpartition(".")[2]
    if kind not in _NETWORKS:
        raise BundleError(f"{name}: expected a network of {list(_NETWORKS)}, found {full_name}")
    for key, expected in {"conv_op": "Conv3d", "norm_op": "InstanceNorm3d"}.items():
        if str(arguments[key]).rpartition(".")[2] != expected:
            raise BundleError(f"{name}: {key}: expected {expected}, found {arguments[key]}")
    for key in ("nonlin_first", "block", "bottleneck_channels", "stem_channels"):
        if arguments.get(key):
            raise BundleError(f"{name}: {key}: expected none, found {arguments[key]}")
    stages = int(arguments["n_stages"])
    return {
        "_target_": f"models.networks.plain_conv_unet.{kind}",
        "in_channels": 1,
        "out_channels": outputs,
        "features": _a_stage(arguments["features_per_stage"], stages),
        "kernel_sizes": [_an_axis(n) for n in _a_stage(arguments["kernel_sizes"], stages)],
        "strides": [_an_axis(n) for n in _a_stage(arguments["strides"], stages)],
        "convolutions": _a_stage(arguments[_NETWORKS[kind]], stages),
        "decoder_convolutions": _a_stage(arguments["n_conv_per_stage_decoder"], stages - 1),
        "bias": bool(arguments.get("conv_bias", False)),
        "eps": float((arguments.get("norm_op_kwargs") or {}).get("eps", 1e-5)),
        "slope": _slope(arguments, name),
    }


def _slope(arguments: Mapping[str, Any], name: str) -> float:
    nonlinearity = str(arguments["nonlin"]).rpartition(".")[2]
    if nonlinearity == "ReLU":
        return 0.0
    if nonlinearity != "LeakyReLU":
        raise BundleError(f"{name}: nonlin: expected LeakyReLU or ReLU, found {nonlinearity}")
    return float((arguments.get("nonlin_kwargs") or {}).get("negative_slope", 0.01))


def _old_arguments(chosen: Mapping[str, Any]) -> dict[str, Any]:
    blocks = chosen["n_conv_per_stage_encoder"]
    first, most = int(chosen["UNet_base_num_features"]), int(chosen["unet_max_num_features"])
    return {
        "n_stages": len(blocks),
        "features_per_stage": [min(first * 2**stage, most) for stage in range(len(blocks))],
        "conv_op": "Conv3d",
        "norm_op": "InstanceNorm3d",
        "nonlin": "LeakyReLU",
        "conv_bias": True,
        "kernel_sizes": chosen["conv_kernel_sizes"],
        "strides": chosen["pool_op_kernel_sizes"],
        "n_conv_per_stage": blocks,
        "n_blocks_per_stage": blocks,
        "n_conv_per_stage_decoder": chosen["n_conv_per_stage_decoder"],
    }


def _a_stage(values: Any, stages: int) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values] * stages


def _an_axis(value: Any) -> list[int]:
    return [int(n) for n in value] if isinstance(value, (list, tuple)) else [int(value)] * 3


def _grey_values(
    plans: Mapping[str, Any], chosen: Mapping[str, Any], dataset: Mapping[str, Any], name: str
) -> GreyValues:
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    if len(channels) != 1:
        raise BundleError(f"{name}: expected one channel (CT), found {list(channels.values())}")
    (scheme,) = chosen["normalization_schemes"]
    if scheme == "NoNormalization":
        return GreyValues()
    if scheme != "CTNormalization":
        raise BundleError(
            f"{name}: expected CTNormalization or NoNormalization (the same map for every image), "
            f"found {scheme}"
        )
    by_channel = plans.get("foreground_intensity_properties_per_channel") or plans.get(
        "foreground_intensity_properties_by_modality", {}
    )
    figures = by_channel["0"]
    deviation = max(float(figures["std"]), 1e-8)
    return (
        GreyValues()
        .clipped(float(figures["percentile_00_5"]), float(figures["percentile_99_5"]))
        .mapped(1 / deviation, -float(figures["mean"]) / deviation)
    )


def _class_names(dataset: Mapping[str, Any], name: str) -> list[str]:
    labels = {text: value for text, value in dataset["labels"].items() if text != "ignore"}
    regions = [text for text, value in labels.items() if isinstance(value, (list, tuple))]
    if regions or dataset.get("regions_class_order"):
        raise BundleError(
            f"{name}: labels: expected classes that exclude one another, found regions {regions}"
        )
    by_number = {int(value): str(text) for text, value in labels.items()}
    if sorted(by_number) != list(range(len(labels))) or len(labels) < 2:
        raise BundleError(f"{name}: labels: expected 0 to N, found {sorted(by_number)}")
    return [by_number[number] for number in range(1, len(labels))]


def _settings(folder: Path) -> dict[str, Any]:
    """What lies beside the plans; raises BundleError where a key means nothing."""
    path = folder / SETTINGS
    settings = read_config(path) if path.is_file() else {}
    if unknown := sorted(set(settings) - _KNOWN_SETTINGS):
        raise BundleError(
            f"{folder.name}: {SETTINGS}: expected settings of "
            f"{', '.join(sorted(_KNOWN_SETTINGS))}, found {', '.join(unknown)}"
        )
    return settings


def _reader_axcodes(plans: Mapping[str, Any], name: str) -> str:
    """The axes that the reader turns images to; raises BundleError where it turns none."""
    reader = plans.get("image_reader_writer")
    if reader in _REORIENTING:
        return "RAS"
    raise BundleError(
        f"{name}: expected the axes of its training images, which nnU-Net read by "
        f"{reader or 'a reader unknown'} as the files have them: write what nibabel's "
        f'aff2axcodes says of one of these files, such as {{"axcodes": "LPS"}}, into {SETTINGS} '
        "beside plans.json"
    )


def _checkpoint(folder: Path, fold: str | None) -> Path:
    there = {path.name.removeprefix("fold_"): path for path in folder.glob("fold_*")}
    order = [fold] if fold is not None else sorted(there, key=lambda each: (each != "all", each))
    for each in order:
        for checkpoint in _CHECKPOINTS:
            if each in there and (path := there[each] / checkpoint).is_file():
                return path
    raise BundleError(
        f"{folder.name}: expected {' or '.join(_CHECKPOINTS)} in fold_{fold or 'X'}, found folds "
        f"{', '.join(sorted(there)) or 'none'}"
    )
