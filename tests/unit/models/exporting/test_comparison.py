from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from models.errors import BundleError
from models.exporting.comparison import compare, example
from tests.unit.models.exporting.small_bundle import write_bundle


def test_windows_are_random_over_what_the_network_sees(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    windows = example(bundle, batch=2)
    assert windows.shape == (2, 1, 32, 32, 48)
    assert windows.min() == pytest.approx(0, abs=1e-3)
    assert windows.max() == pytest.approx(1, abs=1e-3)
    assert windows.mean() == pytest.approx(0.5, abs=0.01)


def test_a_small_difference_is_told(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    network = bundle.load_network()
    outcome = compare(bundle, network, lambda windows: network(windows) + 2e-5)
    assert outcome.largest == pytest.approx(2e-5, rel=0.05)
    assert outcome.allowed >= 1e-4
    assert outcome.windows == 4


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda logits: logits + 0.01, r"found a difference of 1.0e-02"),
        (lambda logits: logits[:, :2], r"expected logits of shape \(1, 3, 32, 32, 48\)"),
        (lambda logits: logits * float("nan"), "expected finite logits"),
    ],
)
def test_another_result_is_refused(tmp_path: Path, wrong: Any, told: str) -> None:
    bundle = write_bundle(tmp_path / "two_organs")
    network = bundle.load_network()

    def exported(windows: Tensor) -> Tensor:
        logits: Tensor = wrong(network(windows))
        return logits

    with pytest.raises(BundleError, match=told):
        compare(bundle, network, exported)
