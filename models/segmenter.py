"""One resident network that segments any number of volumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from models.bundle import Bundle
from models.components import keep_largest
from models.geometry import LabelMap, Volume
from models.memory import memory_errors
from models.precision import Runtime, choose_device, choose_runtime, run_window
from models.preprocessing import ScoresOfSlice, restore
from models.sliding_window import infer
from models.turns import Turn, any_time

log = logging.getLogger(__name__)

#: Told the name of the step and its done share, 0 to 1.
StageProgress = Callable[[str, float], None]


class Segmenter:
    """A bundle's network on a device.

    Parameters
    ----------
    bundle
        The model; its weights are read and checked here, once.
    device
        `auto` (CUDA where there is one), `cpu`, `gpu` or `gpu:N`.
    turn
        Held while the network works.

    Raises
    ------
    BundleError
        If the weights are missing or altered, or there is no such device.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", turn: Turn = any_time):
        begun = time.perf_counter()
        self.bundle = bundle
        self._turn = turn
        chosen = choose_device(device)
        with memory_errors(f"the network of {bundle.name} on {chosen}"):
            self._network = bundle.load_network().to(chosen)
            self.runtime: Runtime = choose_runtime(
                self._network, bundle.sliding_window.size, chosen
            )
        #: Seconds it took to read the weights and choose the precision.
        self.load_s = time.perf_counter() - begun
        log.info("model %s %s on %s", bundle.name, bundle.version, self.runtime)

    def segment(
        self,
        volume: Volume,
        on_progress: StageProgress | None = None,
        on_scores: ScoresOfSlice | None = None,
    ) -> LabelMap:
        """Label every voxel of a CT volume with a segment number.

        Parameters
        ----------
        volume
            The CT.
        on_progress
            Told the step and its done share.
        on_scores
            Told the class scores of each slice, in canonical order.

        Raises
        ------
        OutOfMemoryError
            If neither the device nor the machine can hold the work.
        """
        with memory_errors(f"a volume of {volume.geometry.shape} voxels"):
            return self._segment(volume, on_progress, on_scores)

    def _segment(
        self,
        volume: Volume,
        on_progress: StageProgress | None,
        on_scores: ScoresOfSlice | None,
    ) -> LabelMap:
        def tell(stage: str) -> Callable[[float], None]:
            return lambda share: on_progress(stage, share) if on_progress else None

        prepared = self.bundle.preprocessing.prepare(volume)
        with self._turn():
            scores = infer(
                prepared.image,
                lambda patches: run_window(self._network, patches, self.runtime.dtype),
                self.bundle.sliding_window,
                air=self.bundle.preprocessing.window.lowest,
                # slices at full resolution are many voxels, each decided once
                dtype=torch.float32 if self.bundle.dimensions == 3 else torch.float16,
                device=self.runtime.device,
                on_progress=tell("segment"),
            )
        keep_largest(scores, self.bundle.single_pieces)
        numbers = self.bundle.label_numbers[: len(scores)]
        return restore(scores, prepared, numbers, tell("restore"), on_scores)
