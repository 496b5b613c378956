"""Averaged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.training.averaging import WeightAverage


def test_the_average_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 0.0)
    average = WeightAverage(network, decay=0.9)
    nn.init.constant_(network.weight, 1.0)
    average.update(network, 1)  # decay 1/11 while it settles
    assert float(average.state_dict()["weight"]) == pytest.approx(10 / 11)
    average.update(network, 1000)
    assert float(average.state_dict()["weight"]) == pytest.approx(0.9 * 10 / 11 + 0.1)


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    network = nn.BatchNorm1d(2)
    average = WeightAverage(network, decay=0.5)
    network(torch.randn(8, 2) + 5)
    average.update(network, 1000)
    state = average.state_dict()
    torch.testing.assert_close(state["running_mean"], network.running_mean / 2)
    assert state["num_batches_tracked"] == 1


def test_the_average_is_for_evaluation_and_never_learns() -> None:
    average = WeightAverage(nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train(), 0.9).average
    assert not average.training
    assert not any(weight.requires_grad for weight in average.parameters())
