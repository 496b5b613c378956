from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.errors import BundleError
from models.geometry import Volume, VolumeGeometry
from models.interchange.nnunet import is_nnunet, read_nnunet
from tests.unit.models.interchange.foreign_folders import dataset, plans, write_json, write_nnunet


def test_plans_and_data_set_become_a_bundle(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    bundle = read_nnunet(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    assert is_nnunet(bundle.folder)
    assert bundle.class_of == {"spleen": 1, "kidney_right": 2}
    assert [segment.label for segment in bundle.segments] == ["Spleen", "Right kidney"]
    assert bundle.preprocessing.grid.spacing_mm == (3.0, 0.8, 0.8)
    assert bundle.sliding_window.size == (16, 32, 48)
    assert bundle.axcodes == "SPL"
    assert bundle.metadata["name"] == "Dataset017_Abdomen"


def test_the_network_sees_clipped_hu_less_mean_by_deviation(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "model")
    preprocessing = read_nnunet(tmp_path / "model").preprocessing
    hu = np.random.default_rng(0).integers(-1024, 1500, (8, 30, 40)).astype(np.int16)
    geometry = VolumeGeometry.from_spacing(hu.shape, (3.0, 0.8, 0.8))
    image = preprocessing.prepare(Volume(hu=hu, geometry=geometry)).image[0, 0].numpy()
    expected = (np.clip(hu.astype(np.float32), -900, 270) - 80) / 140
    np.testing.assert_allclose(image, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["PlainConvUNet", "ResidualEncoderUNet"])
def test_a_checkpoint_gives_its_networks_output(tmp_path: Path, kind: str) -> None:
    networks = write_nnunet(tmp_path / "model", plans(kind))
    network = read_nnunet(tmp_path / "model").load_network()
    windows = torch.randn(2, 1, 16, 32, 48)
    assert torch.equal(network(windows), networks["0"](windows))


def test_old_plans_describe_the_network_otherwise(tmp_path: Path) -> None:
    content = plans()
    chosen = content["configurations"]["3d_fullres"]
    arguments = chosen.pop("architecture")["arch_kwargs"]
    chosen |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 1],
        "conv_kernel_sizes": arguments["kernel_sizes"],
        "pool_op_kernel_sizes": arguments["strides"],
    }
    networks = write_nnunet(tmp_path / "model")
    write_json(tmp_path / "model" / "plans.json", content)
    network = read_nnunet(tmp_path / "model").load_network()
    windows = torch.randn(1, 1, 16, 32, 48)
    assert torch.equal(network(windows), networks["0"](windows))


def test_one_fold_is_run_and_all_before_the_lowest(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "five", folds=("1", "0", "2"))
    assert read_nnunet(tmp_path / "five").weights.parent.name == "fold_0"
    assert read_nnunet(tmp_path / "five", fold="2").weights.parent.name == "fold_2"
    write_nnunet(tmp_path / "all", folds=("0", "all"))
    assert read_nnunet(tmp_path / "all").weights.parent.name == "fold_all"
    with pytest.raises(BundleError, match=r"in fold_7, found folds 0, 1, 2"):
        read_nnunet(tmp_path / "five", fold="7")


def test_settings_beside_the_plans_say_what_nnunet_does_not(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "model", plans(), folds=("0", "1"))
    write_json(tmp_path / "model" / "viscera.json", {"axcodes": "LAS", "fold": 1})
    bundle = read_nnunet(tmp_path / "model")
    assert bundle.weights.parent.name == "fold_1"
    assert bundle.axcodes == "SAL"


def test_axes_follow_reader_and_transposition(tmp_path: Path) -> None:
    content = {
        **plans(),
        "transpose_forward": [2, 0, 1],
        "image_reader_writer": "NibabelIOWithReorient",
    }
    write_nnunet(tmp_path / "model", content)
    bundle = read_nnunet(tmp_path / "model")
    # the file's axes lead to R, A, S; nnU-Net's arrays to S, A, R; here the last is put first
    assert bundle.axcodes == "RSA"
    assert bundle.preprocessing.grid.spacing_mm == (0.8, 0.8, 3.0)
    assert bundle.sliding_window.size == (32, 48, 16)


def test_a_configuration_inherits(tmp_path: Path) -> None:
    content = plans()
    known = content["configurations"]
    known["3d_lowres"] = {"inherits_from": "3d_fullres", "spacing": [5.0, 2.0, 2.0]}
    write_nnunet(tmp_path / "model", content)
    bundle = read_nnunet(tmp_path / "model", configuration="3d_lowres")
    assert bundle.preprocessing.grid.spacing_mm == (5.0, 2.0, 2.0)
    with pytest.raises(BundleError, match=r"of 3d_fullres, 3d_lowres, found none \(name it in"):
        read_nnunet(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"previous_stage": "3d_lowres"}, "expected one network, found a cascade"),
        ({"patch_size": [512, 512]}, "expected a network of three dimensions"),
        ({"normalization_schemes": ["ZScoreNormalization"]}, "found ZScoreNormalization"),
        ({"spacing": None}, "incomplete or malformed plans"),
    ],
)
def test_configurations_that_we_cannot_run_are_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    write_nnunet(tmp_path / "model")
    write_json(tmp_path / "model" / "plans.json", plans(**changes))
    with pytest.raises(BundleError, match=told):
        read_nnunet(tmp_path / "model")


@pytest.mark.parametrize(
    ("argument", "value", "told"),
    [
        ("conv_op", "torch.nn.modules.conv.Conv2d", "conv_op: expected Conv3d"),
        ("norm_op", "torch.nn.modules.batchnorm.BatchNorm3d", "norm_op: expected InstanceNorm3d"),
        ("nonlin", "torch.nn.GELU", "nonlin: expected LeakyReLU or ReLU, found GELU"),
        ("nonlin_first", True, "nonlin_first: expected none"),
    ],
)
def test_layers_that_we_lack_are_refused(
    tmp_path: Path, argument: str, value: Any, told: str
) -> None:
    write_nnunet(tmp_path / "model")
    content = plans()
    content["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"][argument] = value
    write_json(tmp_path / "model" / "plans.json", content)
    with pytest.raises(BundleError, match=told):
        read_nnunet(tmp_path / "model")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (dataset(tumour=[1, 2], liver=1), "found regions"),
        (dataset(liver=1, spleen=3), "labels: expected 0 to N"),
        ({**dataset(), "channel_names": {"0": "T1", "1": "T2"}}, "expected one channel"),
    ],
)
def test_labels_and_channels_that_we_cannot_run_are_refused(
    tmp_path: Path, content: dict[str, Any], told: str
) -> None:
    write_nnunet(tmp_path / "model", dataset_content=content)
    with pytest.raises(BundleError, match=told):
        read_nnunet(tmp_path / "model")


def test_the_label_to_ignore_is_no_class(tmp_path: Path) -> None:
    content = dataset(spleen=1, right_kidney=2, ignore=3)
    write_nnunet(tmp_path / "model", dataset_content=content)
    assert read_nnunet(tmp_path / "model").class_of == {"spleen": 1, "kidney_right": 2}


@pytest.mark.parametrize("reader", ["NibabelIOWithReorient", "SimpleITKIOWithReorient"])
def test_both_reorienting_readers_mean_ras(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reader: str
) -> None:
    write_nnunet(tmp_path / "model", {**plans(), "image_reader_writer": reader})
    with caplog.at_level(logging.WARNING):
        bundle = read_nnunet(tmp_path / "model")
    # the file's axes lead to R, A, S; nnU-Net's arrays begin with the last
    assert bundle.axcodes == "SAR"
    assert not caplog.records


@pytest.mark.parametrize("reader", ["NibabelIO", "SimpleITKIO", "Tiff3DIO"])
def test_axes_that_nothing_tells_are_refused_rather_than_guessed(
    tmp_path: Path, reader: str
) -> None:
    write_nnunet(tmp_path / "model", {**plans(), "image_reader_writer": reader}, axcodes=None)
    told = f'read by {reader} as .* such as {{"axcodes": "LPS"}}, into viscera.json beside'
    with pytest.raises(BundleError, match=told):
        read_nnunet(tmp_path / "model")
    assert read_nnunet(tmp_path / "model", axcodes="LPS").axcodes == "SPL"
    write_json(tmp_path / "model" / "viscera.json", {"axcodes": "RAS"})
    assert read_nnunet(tmp_path / "model").axcodes == "SAR"


def test_a_misspelt_setting_is_refused(tmp_path: Path) -> None:
    write_nnunet(tmp_path / "model")
    write_json(tmp_path / "model" / "viscera.json", {"axcode": "RAS", "fold": "0"})
    told = "viscera.json: expected settings of axcodes, configuration, fold, found axcode$"
    with pytest.raises(BundleError, match=told):
        read_nnunet(tmp_path / "model")
