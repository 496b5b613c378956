"""How good a network is while it trains: Dice on whole cases it does not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bundle import Bundle
from models.metrics.overlap import dice
from models.precision import run_window
from models.sliding_window import infer
from models.training.cases import UNKNOWN, Case


class Validator:
    """Segments cases that lie on the network's grid and compares them there.

    That is quicker than the way of clinical input and close enough to choose among epochs; a
    result is measured on the source's own grid by `models.evaluation`.

    Parameters
    ----------
    bundle
        Whose windows and intensities count.
    cases
        On the network's grid.
    device
        Where the windows go.
    """

    def __init__(self, bundle: Bundle, cases: Sequence[Case], device: torch.device) -> None:
        self._bundle = bundle
        self._cases = cases
        self._device = device

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        """Mean Dice over organs and cases as `dice`, and of each organ as `dice_<organ>`."""
        was_training = network.training
        network.eval()
        try:
            found = [self._dice_of(network, case) for case in self._cases]
        finally:
            network.train(was_training)
        result: dict[str, float] = {}
        for organ in self._bundle.class_of:
            known = [value for one in found if (value := one[organ]) is not None]
            if known:
                result[f"dice_{organ}"] = float(np.mean(known))
        result["dice"] = float(np.mean(list(result.values()))) if result else 0.0
        return result

    def _dice_of(self, network: nn.Module, case: Case) -> dict[str, float | None]:
        labels = self.predict(network, case)
        return {
            organ: None
            if number in case.unlabelled
            else dice(labels, case.labels, number, unknown=UNKNOWN)
            for organ, number in self._bundle.class_of.items()
        }

    def predict(self, network: nn.Module, case: Case) -> NDArray[np.uint8]:
        """Network classes `(D, H, W)` of one case on the network's grid."""
        window = self._bundle.preprocessing.window
        image = window.apply(torch.from_numpy(np.array(case.hu)))[None, None]
        scores: Tensor = infer(
            image,
            lambda patches: run_window(network, patches, torch.float32),
            self._bundle.sliding_window,
            air=window.lowest,
            device=self._device,
        )
        labels: NDArray[np.uint8] = scores.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return labels
