"""Where a network runs and how exactly."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.errors import BundleError
from models.networks.vnet import VNet
from models.precision import Runtime, _sample_size, choose_device, choose_runtime, run_window
from models.registry import build_network

CPU = torch.device("cpu")


class Recorder(nn.Module):
    """Notes the windows that it is measured on."""

    def __init__(self, parameter: str):
        super().__init__()
        self.register_parameter(parameter, nn.Parameter(torch.zeros(1)))
        self.shapes: set[tuple[int, ...]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.add(tuple(x.shape))
        return x


class SlowIn(nn.Module):
    """Much slower in one precision than in the other."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.slow_in_half = dtype == torch.bfloat16

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") == self.slow_in_half:
            time.sleep(0.05)
        return x


def test_auto_takes_a_gpu_only_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu:99", "cuda:99"])
def test_a_gpu_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match=f"expected {name}, found"):
        choose_device(name)


@pytest.mark.parametrize("name", ["", "gpux", "gpu:-1", "the fast one", "meta"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="expected a device"):
        choose_device(name)


@pytest.mark.parametrize("slow", [torch.float32, torch.bfloat16])
def test_the_faster_precision_is_chosen(slow: torch.dtype) -> None:
    runtime = choose_runtime(SlowIn(slow), (32, 32, 32), CPU)
    assert runtime.device == CPU
    assert {runtime.dtype, slow} == {torch.float32, torch.bfloat16}


def test_a_large_window_is_measured_on_a_part_that_the_network_takes() -> None:
    network = Recorder("weight")
    choose_runtime(network, (64, 96, 160), CPU)
    assert network.shapes == {(1, 1, 32, 64, 64)}


def test_a_small_window_is_measured_whole() -> None:
    network = Recorder("weight")
    choose_runtime(network, (16, 32, 32), CPU)
    assert network.shapes == {(1, 1, 16, 32, 32)}


def test_a_transformer_is_measured_on_its_own_window() -> None:
    network = Recorder("position_embeddings")
    choose_runtime(network, (64, 96, 96), CPU)
    assert network.shapes == {(1, 1, 64, 96, 96)}


#: Steps of seven levels, as nnU-Net plans them for thick slices.
THICK = [[1, 1, 1], *[[1, 2, 2]] * 3, *[[2, 2, 2]] * 2, [1, 2, 2]]


@pytest.mark.parametrize(
    ("definition", "window"),
    [
        (
            {
                "_target_": "monai.networks.nets.UNet",
                "spatial_dims": 3,
                "channels": [2, 2, 4, 4, 4, 4],
                "strides": [2, 2, 2, 2, 2],
            },
            (64, 64, 64),
        ),
        (
            {
                "_target_": "models.networks.plain_conv_unet.PlainConvUNet",
                "features": [2] * 7,
                "kernel_sizes": [[3, 3, 3]] * 7,
                "strides": THICK,
                "convolutions": [1] * 7,
                "decoder_convolutions": [1] * 6,
            },
            (16, 320, 320),
        ),
    ],
    ids=["one voxel left", "sizes that do not fit"],
)
def test_a_network_too_deep_for_a_part_is_measured_on_its_window(
    definition: dict[str, Any], window: tuple[int, int, int]
) -> None:
    network = build_network({**definition, "in_channels": 1, "out_channels": 2}).eval()
    part = torch.zeros(1, 1, *_sample_size(network, window))
    with pytest.raises((ValueError, RuntimeError)):
        run_window(network, part, torch.float32)
    assert choose_runtime(network, window, CPU).device == CPU


def test_memory_that_runs_out_is_not_asked_for_more() -> None:
    class Greedy(nn.Module):
        runs = 0

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            raise torch.OutOfMemoryError("no memory")

    network = Greedy()
    with pytest.raises(torch.OutOfMemoryError):
        choose_runtime(network, (64, 64, 64), CPU)
    assert network.runs == 1


def test_logits_are_float32_and_nearly_equal_in_both_precisions() -> None:
    torch.manual_seed(0)
    network = VNet(out_channels=3, width=4, kernel_size=3).eval()
    patches = torch.randn(1, 1, 32, 32, 32)
    single = run_window(network, patches, torch.float32)
    half = run_window(network, patches, torch.bfloat16)
    assert single.dtype == half.dtype == torch.float32
    assert not single.requires_grad
    torch.testing.assert_close(single, network(patches))
    assert 0 < (single - half).abs().max() < 0.1 * single.abs().max()


def test_a_runtime_reads_as_device_and_precision() -> None:
    assert str(Runtime(device=CPU, dtype=torch.bfloat16)) == "cpu bfloat16"
