"""The MobileNetV3 U-Net is segmentation_models_pytorch's, tensor by tensor and figure by figure.

The recorded figures are those of `Unet("timm-mobilenetv3_large_100", encoder_weights=None,
in_channels=3, classes=6)` of segmentation_models_pytorch 0.6.0 with timm 1.0.31, and the same to
the bit of 0.3.3 with timm 0.9.2, computed with weights that follow a formula of their names.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.networks.mobilenetv3_unet import MobileNetV3UNet
from tests.unit.models.networks.formula import state_by_formula

#: sha256 of the lines "name [shape]" of their state dict, in its order.
THEIR_TENSORS = "60e6fefdf87a9f4abba4d2597bb6cd04ed7788bf64a0a0f51717bbe5610b3cfa"
#: Mean and standard deviation of each class's logits of `picture()`.
EVAL_FIGURES = [
    [-0.09305195, 0.1524883],
    [0.01395727, 0.1385772],
    [-0.09081659, 0.1429248],
    [-0.2886464, 0.1704067],
    [0.2989705, 0.1435726],
    [0.4960465, 0.3314685],
]
TRAIN_FIGURES = [
    [-0.3154028, 0.749381],
    [-0.1764072, 0.7856549],
    [-0.4590787, 0.5497242],
    [-0.1411225, 0.5958085],
    [1.147328, 0.7468279],
    [0.624236, 0.8106453],
]
#: Logits of the six classes at pixel (1, 40, 77) of the same.
EVAL_PIXEL = [-0.1019778, -0.1582705, 0.03541625, -0.2003781, 0.4344626, 0.6659599]
TRAIN_PIXEL = [-1.499945, -0.07865962, -0.6108761, -0.2872099, 1.079356, 2.661394]


def picture(*shape: int) -> Tensor:
    """Waves of another length in each channel and image."""
    images, channels, height, width = shape
    y = torch.arange(height, dtype=torch.float64)[:, None]
    x = torch.arange(width, dtype=torch.float64)
    waves = [
        ((0.11 + 0.03 * c) * x + (0.07 + 0.05 * n) * y).sin() + 0.3 * (0.9 * x - 0.7 * y + c).cos()
        for n in range(images)
        for c in range(channels)
    ]
    return torch.stack(waves).view(shape).float()


def logits_by_formula(network: nn.Module, train: bool) -> Tensor:
    network.load_state_dict(state_by_formula(network))
    with torch.no_grad():
        logits: Tensor = network.train(train)(picture(2, 3, 96, 160))
    return logits


def figures(logits: Tensor) -> list[list[float]]:
    return [[float(c.mean()), float(c.std())] for c in logits.transpose(0, 1)]


def their_network() -> nn.Module:
    """The network of segmentation_models_pytorch; skips the test where it is not installed."""
    try:
        import segmentation_models_pytorch as theirs
    except (ImportError, RuntimeError) as exc:  # torchvision's, where its build is not torch's
        pytest.skip(f"segmentation_models_pytorch cannot be imported: {exc}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the encoder's name
        network: nn.Module = theirs.Unet(
            "timm-mobilenetv3_large_100", encoder_weights=None, in_channels=3, classes=6
        )
    return network


def test_it_has_their_370_tensors_by_name_shape_and_order() -> None:
    with torch.device("meta"):
        state = MobileNetV3UNet(in_channels=3, out_channels=6).state_dict()
    lines = "\n".join(f"{name} {list(value.shape)}" for name, value in state.items())
    assert len(state) == 370  # batch norms' num_batches_tracked among them
    assert sum(name.endswith("num_batches_tracked") for name in state) == 56
    assert hashlib.sha256(lines.encode()).hexdigest() == THEIR_TENSORS


def test_it_has_6_687_million_parameters() -> None:
    with torch.device("meta"):
        network = MobileNetV3UNet(in_channels=3, out_channels=6)
    assert sum(parameter.numel() for parameter in network.parameters()) == 6_686_550


@pytest.mark.parametrize(
    ("train", "classes", "pixel", "rounding"),
    # batch norms amplify the rounding of another processor's kernels while they train
    [(False, EVAL_FIGURES, EVAL_PIXEL, 1e-5), (True, TRAIN_FIGURES, TRAIN_PIXEL, 5e-4)],
    ids=["eval", "train"],
)
def test_the_output_is_theirs(
    train: bool, classes: list[list[float]], pixel: list[float], rounding: float
) -> None:
    logits = logits_by_formula(MobileNetV3UNet(), train)
    assert logits.shape == (2, 6, 96, 160)
    torch.testing.assert_close(figures(logits), classes, rtol=rounding, atol=rounding)
    torch.testing.assert_close(logits[1, :, 40, 77].tolist(), pixel, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (75, 100)], ids=str)
def test_a_checkpoint_of_the_real_one_loads_and_gives_the_same(size: tuple[int, int]) -> None:
    theirs, ours = their_network(), MobileNetV3UNet()
    theirs.load_state_dict(state_by_formula(theirs))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    image = picture(2, 3, *size)
    for train in (False, True):
        with torch.no_grad():
            expected, found = theirs.train(train)(image), ours.train(train)(image)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 64), (33, 47), (1, 70)], ids=str)
def test_logits_have_the_images_size_whatever_it_is(size: tuple[int, int]) -> None:
    network = MobileNetV3UNet(in_channels=1, out_channels=3).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 1, *size)).shape == (2, 3, *size)


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    network = MobileNetV3UNet()
    logits = network(torch.randn(2, 3, 96, 96))
    (logits * torch.randn_like(logits)).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_half_precision_gradients_on_the_cpu_point_where_the_single_ones_do() -> None:
    """With batch norms at rest: while they train, they amplify rounding, in any implementation."""
    torch.manual_seed(0)
    network, image = MobileNetV3UNet(), picture(2, 3, 70, 96)
    with torch.no_grad():
        for _ in range(8):
            network(image)
    network.eval()
    gradients: list[Any] = []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(image)
        nn.functional.cross_entropy(logits.float(), (image[:, 0] > 0).long()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert nn.functional.cosine_similarity(*gradients, dim=0) > 0.98
