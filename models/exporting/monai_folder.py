"""A folder that MONAI's own bundle runner understands without this package.

`python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir DIR`
(with MONAI's `ignite` and `nibabel` extras) reads NIfTI files and writes label maps of class
numbers. MONAI resamples and lays its windows otherwise than this package, so borders may differ.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models.bundle import Bundle
from models.exporting.comparison import Comparison, compare
from models.exporting.description import as_text, describe
from models.exporting.torchscript import write_program
from models.exporting.writing import whole_folder
from models.interchange.axes import CANONICAL
from models.interchange.foreign import SCRIPTED, load_program
from models.interchange.scripted import DESCRIPTION
from models.network_grid import NetworkGrid
from models.preprocessing import BODY_HU, MARGIN_MM

_PROGRAM = "models/model.ts"
_STATE = "models/model.pt"


def export_monai(bundle: Bundle, folder: Path) -> Comparison:
    """Write a bundle in the shape of the MONAI Model Zoo.

    Parameters
    ----------
    bundle
        With its weights.
    folder
        New or empty; gets `configs/{metadata,inference,labels}.json`, `models/model.ts`, and where
        the network's definition is known `models/model.pt` with its weights alone.

    Returns
    -------
    How far `model.ts` is from the bundle's network. The folder is there only if that is near
    enough.

    Raises
    ------
    BundleError
        If the weights are missing or altered, the written network gives something else, or there is
        something in the folder.
    """
    network = bundle.load_network()
    with whole_folder(folder) as partial:
        for name in ("configs", "models", "docs"):
            (partial / name).mkdir()
        description = describe(bundle)
        extra = {DESCRIPTION: as_text(description)}
        write_program(bundle, network, partial / _PROGRAM, extra)
        outcome = compare(bundle, network, load_program(partial / _PROGRAM))
        plain = _has_definition(bundle)
        if plain:
            torch.save(network.state_dict(), partial / _STATE)
        _write(partial, "metadata", _metadata(bundle))
        _write(partial, "inference", _inference(bundle, with_definition=plain))
        _write(partial, "labels", description["labels"])
        readme = bundle.folder / "docs" / "README.md"
        if readme.is_file():
            shutil.copyfile(readme, partial / "docs" / "README.md")
        return outcome


def _has_definition(bundle: Bundle) -> bool:
    """Whether what `network_def` builds takes canonical windows itself."""
    known = bundle.network_definition.get("_target_") != SCRIPTED
    return known and bundle.dimensions == 3 and getattr(bundle, "axcodes", CANONICAL) == CANONICAL


def _metadata(bundle: Bundle) -> dict[str, Any]:
    names = {number: name for name, number in bundle.class_of.items()}
    channels = {"0": "background", **{str(n): names[n] for n in sorted(names)}}
    window = bundle.preprocessing.window
    shape = list(bundle.sliding_window.size)
    image = {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [window.lowest, window.highest],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }
    pred = {
        **image,
        "format": "segmentation",
        "num_channels": len(channels),
        "value_range": [0, 1],
        "channel_def": channels,
    }
    return {
        **bundle.metadata,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }


def _inference(bundle: Bundle, *, with_definition: bool) -> dict[str, Any]:
    definition = {"network_def": dict(bundle.network_definition)} if with_definition else {}
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "./data",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        **definition,
        "network": f"$torch.jit.load(@bundle_root + '/{_PROGRAM}', map_location=@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(bundle)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(bundle.sliding_window.size),
            "sw_batch_size": bundle.sliding_window.batch,
            "overlap": bundle.sliding_window.overlap,
            "mode": "gaussian",
            "cval": bundle.preprocessing.window.lowest,
        },
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(bundle)},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def _preprocessing(bundle: Bundle) -> list[dict[str, Any]]:
    settings = bundle.preprocessing
    steps = [
        _step("LoadImaged"),
        _step("EnsureChannelFirstd"),
        _step("EnsureTyped"),
        # our order of axes, so that spacing, window and weights need no turning
        _step("Orientationd", axcodes=CANONICAL),
        *_sampling(settings.grid),
    ]
    if settings.crop and settings.grid.spacing_mm is not None:
        margin = [round(MARGIN_MM / mm) for mm in settings.grid.spacing_mm]
        steps.append(
            _step(
                "CropForegroundd",
                source_key="image",
                select_fn=f"$lambda hu: hu > {BODY_HU}",
                margin=margin,
                allow_smaller=True,
            )
        )
    window = settings.window
    steps.append(
        _step(
            "ScaleIntensityRanged",
            a_min=window.low_hu,
            a_max=window.high_hu,
            b_min=window.lowest,
            b_max=window.highest,
            clip=True,
        )
    )
    return steps


def _sampling(grid: NetworkGrid) -> list[dict[str, Any]]:
    if grid.spacing_mm is not None:
        return [_step("Spacingd", pixdim=list(grid.spacing_mm), mode="bilinear")]
    shape = [-1 if n is None else n for n in grid.shape or ()]
    if all(n == -1 for n in shape):
        return []
    return [_step("Resized", spatial_size=shape, mode="trilinear")]


def _postprocessing(bundle: Bundle) -> list[dict[str, Any]]:
    steps = [
        _step("Activationsd", "pred", softmax=True),
        _step(
            "Invertd",
            "pred",
            transform="@preprocessing",
            orig_keys="image",
            nearest_interp=False,
            to_tensor=True,
        ),
        _step("AsDiscreted", "pred", argmax=True),
    ]
    if bundle.single_pieces:
        steps.append(
            _step(
                "KeepLargestConnectedComponentd",
                "pred",
                applied_labels=bundle.single_pieces,
                connectivity=1,
            )
        )
    saved = _step(
        "SaveImaged",
        "pred",
        output_dir="@output_dir",
        output_postfix="seg",
        output_dtype="uint8",
        separate_folder=False,
        resample=False,
    )
    return [*steps, saved]


def _step(name: str, keys: str = "image", **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": keys, **arguments}


def _write(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / "configs" / f"{name}.json").write_text(text + "\n", encoding="utf-8")
