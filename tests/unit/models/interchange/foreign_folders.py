"""Folders such as other makers' models come in, with small networks of random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.networks.plain_conv_unet import PlainConvUNet, ResidualEncoderUNet

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "num_res_units": 2,
    "norm": "batch",
}


def zoo_inference(**changes: Any) -> dict[str, Any]:
    """The inference configuration of a zoo bundle for the spleen, with the usual expressions."""
    content: dict[str, Any] = {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "spacing": [1.5, 1.5, 2.0],
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@bundle_root + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(NETWORK),
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "@image_key"},
                {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
                {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
                {
                    "_target_": "Spacingd",
                    "keys": "@image_key",
                    "pixdim": "@spacing",
                    "mode": "bilinear",
                },
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "@image_key",
                    "a_min": -57,
                    "a_max": 164,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", "keys": "@image_key"},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [80, 64, 48],
            "sw_batch_size": 4,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "@image_key",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {"_target_": "SupervisedEvaluator", "network": "@network", "amp": True},
    }
    return {**content, **changes}


def zoo_transforms(*added: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The preprocessing's transforms with others before the last."""
    steps = zoo_inference()["preprocessing"]["transforms"]
    return [*steps[:-1], *(dict(step) for step in added), steps[-1]]


def zoo_metadata(names: Sequence[str] = ("background", "spleen")) -> dict[str, Any]:
    channels = {str(number): name for number, name in enumerate(names)}
    return {
        "version": "0.5.4",
        "name": "Spleen CT segmentation",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1}},
            "outputs": {"pred": {"num_channels": len(channels), "channel_def": channels}},
        },
    }


def zoo_metadata_of_channels(inputs: int, outputs: int) -> dict[str, Any]:
    """Metadata that says so many channels, and names background and one class."""
    metadata = zoo_metadata()
    formats = metadata["network_data_format"]
    formats["inputs"]["image"]["num_channels"] = inputs
    formats["outputs"]["pred"]["num_channels"] = outputs
    return metadata


def unet(seed: int = 0, outputs: int = 2) -> nn.Module:
    """MONAI's UNet of `NETWORK`, its classes told apart by what it sees."""
    from monai.networks.nets import UNet

    torch.manual_seed(seed)
    arguments = {name: value for name, value in NETWORK.items() if name != "_target_"}
    network = UNet(**{**arguments, "out_channels": outputs})
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    return network.eval()


def write_zoo_bundle(
    folder: Path,
    inference: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    nested: str | None = None,
    scripted: bool = False,
) -> nn.Module:
    """Write a bundle with random weights, as a state dict or TorchScript; its network."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    write_json(folder / "configs" / "inference.json", inference or zoo_inference())
    write_json(folder / "configs" / "metadata.json", metadata or zoo_metadata())
    network = unet()
    if scripted:
        program = torch.jit.trace(network, torch.zeros(1, 1, 48, 48, 48), check_trace=False)
        torch.jit.save(program, str(folder / "models" / "model.ts"))
    else:
        state = network.state_dict()
        content = state if nested is None else {nested: state, "epoch": 3}
        torch.save(content, folder / "models" / "model.pt")
    return network


def plans(kind: str = "PlainConvUNet", **changes: Any) -> dict[str, Any]:
    """nnU-Net's plans with a small network."""
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "batch_size": 2,
        "patch_size": [16, 32, 48],
        "spacing": [3.0, 0.8, 0.8],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [4, 8, 16],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
                "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                blocks: [2, 2, 2],
                "n_conv_per_stage_decoder": [2, 1],
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    return {
        "dataset_name": "Dataset017_Abdomen",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"3d_fullres": {**configuration, **changes}},
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": 80.0,
                "std": 140.0,
                "percentile_00_5": -900.0,
                "percentile_99_5": 270.0,
                "min": -1024.0,
                "max": 3000.0,
                "median": 90.0,
            }
        },
    }


def dataset(**labels: Any) -> dict[str, Any]:
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **(labels or {"spleen": 1, "right_kidney": 2})},
        "file_ending": ".nii.gz",
    }


def write_nnunet(
    folder: Path,
    plans_content: Mapping[str, Any] | None = None,
    dataset_content: Mapping[str, Any] | None = None,
    folds: Sequence[str] = ("0",),
    axcodes: str | None = "LPS",
) -> dict[str, nn.Module]:
    """Write a folder such as nnU-Net's results and return the folds' networks.

    `axcodes` are written beside the plans where their reader does not turn images.
    """
    content = plans_content or plans()
    folder.mkdir(parents=True)
    write_json(folder / "plans.json", content)
    write_json(folder / "dataset.json", dataset_content or dataset())
    if axcodes is not None and not content["image_reader_writer"].endswith("WithReorient"):
        write_json(folder / "viscera.json", {"axcodes": axcodes})
    networks = {}
    for number, fold in enumerate(folds):
        torch.manual_seed(number)
        networks[fold] = nnunet_network(content)
        (folder / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": networks[fold].state_dict(),
            "optimizer_state": {"param_groups": [{"lr": 0.01}]},
            "logging": {
                "mean_fg_dice": [np.float64(0.5), np.float32(0.6)],
                "epochs": [np.int64(1)],
            },
            "_best_ema": np.float64(0.7),
            "init_args": {"configuration": "3d_fullres", "plans": dict(content)},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return networks


def nnunet_network(content: Mapping[str, Any]) -> nn.Module:
    architecture = content["configurations"]["3d_fullres"]["architecture"]
    arguments = architecture["arch_kwargs"]
    residual = architecture["network_class_name"].endswith("ResidualEncoderUNet")
    kind = ResidualEncoderUNet if residual else PlainConvUNet
    return kind(
        1,
        3,
        arguments["features_per_stage"],
        arguments["kernel_sizes"],
        arguments["strides"],
        arguments["n_blocks_per_stage" if residual else "n_conv_per_stage"],
        arguments["n_conv_per_stage_decoder"],
    ).eval()


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
