from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.errors import BundleError
from models.interchange.axes import CANONICAL, TurnedNetwork, check_directions, turned
from models.interchange.axes import in_canonical_order as canonical_order


class Marked(nn.Module):
    """Adds a ramp along its own axes, so that it tells them apart."""

    def forward(self, windows: Tensor) -> Tensor:
        a, b, c = (torch.arange(n, dtype=torch.float32) for n in windows.shape[2:])
        return windows + 10000 * a[:, None, None] + 100 * b[:, None] + c


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "LAS", "SPL", "PIR", "ASL"])
def test_a_turned_network_sees_what_nibabel_turns_to_its_axes(axcodes: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    generator = torch.Generator().manual_seed(0)
    canonical = torch.rand(2, 1, 3, 4, 5, generator=generator)
    # a canonical array's axes lead to S, P and L
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("SPL"), nibabel.orientations.axcodes2ornt(axcodes)
    )
    seen = []

    class Witness(nn.Module):
        def forward(self, windows: Tensor) -> Tensor:
            seen.append(windows)
            return windows

    back = TurnedNetwork(Witness(), axcodes)(canonical)
    expected = nibabel.orientations.apply_orientation(canonical[1, 0].numpy(), turn)
    np.testing.assert_array_equal(seen[0][1, 0].numpy(), expected)
    assert torch.equal(back, canonical)


def test_the_output_is_turned_back_to_canonical_order() -> None:
    zeros = torch.zeros(1, 1, 3, 4, 5)  # z to the head, y to the back, x to the left
    logits = TurnedNetwork(Marked(), "RAS")(zeros)[0, 0]
    # the rightmost voxel in front at the feet is (0, 0, 0) for nobody: R is 0 at the far left
    assert logits[0, 3, 4] == 0
    assert logits[2, 3, 4] == 2
    assert logits[0, 2, 4] == 100
    assert logits[0, 3, 3] == 10000


def test_a_network_of_our_axes_stays_itself() -> None:
    network = Marked()
    assert turned(network, CANONICAL) is network


def test_values_by_foreign_axis_come_in_canonical_order() -> None:
    assert canonical_order([1.5, 1.6, 2.0], "RAS") == [2.0, 1.6, 1.5]
    assert canonical_order([1.5, 1.6, 2.0], "PIR") == [1.6, 1.5, 2.0]


@pytest.mark.parametrize("axcodes", ["RA", "RAA", "RLS", "XYZ", "RASL", None, 3])
def test_axes_that_are_not_three_directions_are_refused(axcodes: object) -> None:
    with pytest.raises(BundleError, match="expected three directions"):
        check_directions(axcodes, "zoo: axcodes")
