"""Dice while training, against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.bundle import Bundle
from models.training.cases import UNKNOWN, Case
from models.training.validation import Validator

#: HU of what the network takes for each class of `tiny_bundle`: liver, left and right kidney.
HU = {0: -200, 1: 0, 2: 100, 3: 250}
SHAPE = (10, 40, 36)  # wider than one window
CPU = torch.device("cpu")


class Bands(nn.Module):
    """Tells the class from the brightness alone; unlike that in training, it is always right."""

    def forward(self, x: Tensor) -> Tensor:
        # the network's scale is -1 to 1 for -200 to 300 HU
        hu = -200 + (x[:, 0] + 1) * 250
        classes = torch.bucketize(hu, torch.tensor([-100.0, 50.0, 175.0]))
        if self.training:
            classes = torch.zeros_like(classes)
        return F.one_hot(classes, 4).movedim(-1, 1).float()


def case(
    predicted: dict[int, slice], truth: dict[int, slice], unlabelled: frozenset[int] = frozenset()
) -> Case:
    """Columns along x, 10 x 40 voxels each, of what is seen and what is true."""
    hu, labels = np.full(SHAPE, HU[0], np.int16), np.zeros(SHAPE, np.uint8)
    for number, columns in predicted.items():
        hu[..., columns] = HU[number]
    for number, columns in truth.items():
        labels[..., columns] = number
    return Case(
        name="case",
        patient="case",
        hu=hu,
        labels=labels,
        spacing_mm=(3.0, 3.0, 3.0),
        unlabelled=unlabelled,
    )


def measure(bundle: Bundle, *cases: Case) -> dict[str, float]:
    return dict(Validator(bundle, cases, CPU)(Bands()))


def test_dice_is_that_of_organs_and_their_mean(tiny_bundle: Bundle) -> None:
    """Liver: 10 columns found, 5 true, 5 in common. Left kidney: 4 and 6, 2 in common."""
    one = case(
        {1: slice(0, 10), 2: slice(20, 24)},
        {1: slice(0, 5), 2: slice(22, 28)},
    )
    assert measure(tiny_bundle, one) == {
        "dice_liver": pytest.approx(2 * 5 / 15),
        "dice_kidney_left": pytest.approx(2 * 2 / 10),
        "dice": pytest.approx((2 / 3 + 0.4) / 2),  # nobody has a right kidney, nor was one found
    }


def test_the_mean_of_an_organ_is_over_the_cases_that_have_it(tiny_bundle: Bundle) -> None:
    whole = case({1: slice(0, 4)}, {1: slice(0, 4)})
    half = case({1: slice(0, 4)}, {1: slice(2, 6)})
    none = case({}, {})
    invented = case({3: slice(0, 1)}, {})
    found = measure(tiny_bundle, whole, half, none, invented)
    assert found == {"dice_liver": 0.75, "dice_kidney_right": 0.0, "dice": 0.375}


def test_what_is_not_labelled_does_not_count(tiny_bundle: Bundle) -> None:
    one = case({1: slice(0, 4), 2: slice(10, 14)}, {1: slice(0, 4)}, frozenset((2,)))
    assert measure(tiny_bundle, one) == {"dice_liver": 1.0, "dice": 1.0}


def test_unknown_voxels_do_not_count(tiny_bundle: Bundle) -> None:
    one = case({1: slice(0, 8)}, {1: slice(0, 4), UNKNOWN: slice(4, 8)})
    assert measure(tiny_bundle, one) == {"dice_liver": 1.0, "dice": 1.0}


def test_nothing_to_measure_counts_as_nothing_found(tiny_bundle: Bundle) -> None:
    assert measure(tiny_bundle, case({}, {})) == {"dice": 0.0}


def test_the_network_is_measured_as_it_is_used_and_then_trains_on(tiny_bundle: Bundle) -> None:
    network = Bands().train()
    one = case({1: slice(0, 4)}, {1: slice(0, 4)})
    assert Validator(tiny_bundle, [one], CPU)(network)["dice"] == 1.0
    assert network.training


def test_classes_lie_where_the_voxels_lie(tiny_bundle: Bundle) -> None:
    one = case({1: slice(3, 9), 3: slice(30, 36)}, {1: slice(3, 9), 3: slice(30, 36)})
    found = Validator(tiny_bundle, [one], CPU).predict(Bands().eval(), one)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, one.labels)
