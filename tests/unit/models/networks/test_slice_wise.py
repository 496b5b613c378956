"""A 2D network on every slice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.errors import BundleError
from models.networks.mobilenetv3_unet import MobileNetV3UNet
from models.networks.slice_wise import SliceWise


def test_each_slice_gives_what_it_gives_alone() -> None:
    torch.manual_seed(0)
    network = MobileNetV3UNet(out_channels=4).eval()
    volume = torch.randn(2, 1, 3, 32, 64)
    with torch.no_grad():
        logits = SliceWise(network)(volume)
        assert logits.shape == (2, 4, 3, 32, 64)
        for n in range(2):
            for k in range(3):
                alone = network(volume[n, :, k].expand(3, -1, -1)[None])[0]
                torch.testing.assert_close(logits[n, :, k], alone, rtol=1e-4, atol=1e-5)


def test_each_channel_is_normalised_by_its_own_mean_and_deviation() -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    volume = torch.rand(1, 1, 2, 4, 4)
    channels = SliceWise(nn.Identity(), channels=3, mean=mean, std=std)(volume)
    expected = torch.stack([(volume[:, 0] - m) / s for m, s in zip(mean, std, strict=True)], dim=1)
    torch.testing.assert_close(channels, expected)


def test_without_figures_the_grey_value_is_stacked_as_it_is() -> None:
    volume = torch.randn(1, 1, 2, 3, 4)
    stacked: Tensor = SliceWise(nn.Identity(), channels=2)(volume)
    assert torch.equal(stacked, volume.expand(-1, 2, -1, -1, -1))


def test_the_networks_weights_keep_their_names_and_are_the_only_ones() -> None:
    network = nn.Conv2d(3, 2, 1)
    wrapped = SliceWise(network, mean=[0.5] * 3, std=[0.5] * 3)
    assert list(wrapped.state_dict()) == ["network.weight", "network.bias"]
    network.load_state_dict({"weight": torch.ones(2, 3, 1, 1), "bias": torch.zeros(2)})
    assert float(wrapped(torch.ones(1, 1, 1, 1, 1)).detach().sum()) == pytest.approx(6.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"channels": 3, "mean": [0.5]},
        {"channels": 1, "std": [1.0, 1.0]},
        {"channels": 1, "std": [0.0]},
        {"channels": 1, "std": [float("nan")]},
        {"channels": 0},
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="expected"):
        SliceWise(nn.Identity(), **settings)


@pytest.mark.parametrize("shape", [(1, 3, 2, 4, 4), (1, 4, 4)], ids=str)
def test_what_is_no_grey_volume_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a volume"):
        SliceWise(nn.Identity())(torch.zeros(shape))


def test_slices_of_training_are_seen_as_those_of_a_volume() -> None:
    network = SliceWise(torch.nn.Conv2d(3, 2, 3), channels=3, mean=[0.4, 0.5, 0.6], std=[2, 3, 4])
    volume = torch.rand(2, 1, 5, 8, 9)
    slices = volume.transpose(1, 2).flatten(0, 1)  # (N * D, 1, H, W)
    torch.testing.assert_close(
        network(slices), network(volume).transpose(1, 2).flatten(0, 1), rtol=0, atol=1e-6
    )
