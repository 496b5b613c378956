"""One step of the optimiser: forward and backward passes over its samples, then the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import TrainingError
from models.memory import memory_errors
from models.training.batches import Batch
from models.training.distillation import Distiller
from models.training.loss import case_losses
from models.training.parallel import Processes
from models.training.plan import Optimiser, Stage

#: A float16 gradient that is not finite at this scale will not become so at a lower one.
SMALLEST_SCALE = 1.0


def make_optimiser(network: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD with Nesterov's momentum over all weights that learn."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.name == "SGD":
        return torch.optim.SGD(
            weights, lr=rate, weight_decay=decay, momentum=settings.momentum, nesterov=True
        )
    kind = torch.optim.AdamW if settings.name == "AdamW" else torch.optim.Adam
    return kind(weights, lr=rate, weight_decay=decay)


def forward_precision(amp: str, device: torch.device) -> torch.dtype | None:
    """The type that autocast works in, None for float32."""
    if amp == "auto":
        if device.type == "cuda":
            amp = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            able = torch.cpu.get_capabilities()
            amp = "bf16" if any(able.get(name) for name in ("avx512_bf16", "bf16")) else "off"
    return {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make what is random in a step (dropout) a function of these numbers alone.

    So a run that goes on in the middle needs no state of any generator.
    """
    (mixed,) = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed))


class Stepper:
    """Takes the steps of one stage.

    Gradients of a step's batches add up to those of one batch of all its samples (networks with
    batch normalisation apart: their statistics are each batch's own).

    Parameters
    ----------
    wrapped
        The network as `Processes.wrap` gives it.
    teacher
        Where the stage distils: in evaluation mode, on the device.
    """

    def __init__(
        self,
        network: nn.Module,
        wrapped: nn.Module,
        stage: Stage,
        processes: Processes,
        seed: int,
        teacher: nn.Module | None = None,
    ) -> None:
        self.network = network
        self.optimiser = make_optimiser(network, stage.optimiser)
        self._stage = stage
        self._processes = processes
        self._seed = seed
        self._dtype = forward_precision(stage.amp, processes.device)
        self.scaler = torch.amp.GradScaler(
            processes.device.type, enabled=self._dtype is torch.float16
        )
        self._wrapped = wrapped
        self._distiller: Distiller | None = None
        if stage.distillation is not None and teacher is not None:
            self._distiller = Distiller(teacher, stage.distillation)

    def step(
        self,
        batches: Iterator[Batch],
        number: int,
        rate: float,
        news: Callable[[], Sequence[float]],
    ) -> list[float]:
        """Take the run's step `number` (from 0) at a learning rate.

        Returns
        -------
        The mean loss of the step's samples, then the sums over all processes of each one's `news`.

        Raises
        ------
        TrainingError
            If the loss or its gradient is not finite, before any weight is altered.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        seed_step(self._seed, number, self._processes.rank)
        losses = [self._backward(batch) for batch in batches]
        self.scaler.unscale_(self.optimiser)
        clip = self._stage.gradient_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        loss, size = torch.stack([torch.stack(losses).sum(), norm]).tolist()  # one wait for a GPU
        loss, *heard = self._processes.total([loss, *news()])
        self._check(loss, size, number)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        with torch.no_grad():
            self._processes.average_buffers(self.network)
        return [loss, *heard]

    def _backward(self, batch: Batch) -> Tensor:
        device, job = self._processes.device, batch.job
        with memory_errors(f"a batch of {tuple(batch.images.shape)} on {device}"):
            images = batch.images.to(device, non_blocking=True)
            labels = batch.labels.to(device, non_blocking=True)
            together = nullcontext() if job.last else self._processes.no_exchange(self._wrapped)
            with together:
                with torch.autocast(device.type, self._dtype, enabled=self._dtype is not None):
                    taught = self._distiller.ask(images) if self._distiller else None
                    logits = self._wrapped(images)
                losses = case_losses(logits, labels, batch.unlabelled, self._stage.loss)
                if self._distiller is not None and taught is not None:
                    losses = self._distiller.blend(losses, logits, taught, labels, batch.unlabelled)
                loss = losses.sum() * (job.weight / job.group)
                # processes exchange means, and the loss is a sum over all of them
                self.scaler.scale(loss * self._processes.count).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _check(self, loss: float, norm: float, number: int) -> None:
        """Loss and gradient are the same in all processes, and so is what this raises."""
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} at step {number}; lower the learning rate")
        if math.isfinite(norm):
            return
        if not self.scaler.is_enabled():
            raise TrainingError(f"the gradient is {norm} at step {number}")
        if self.scaler.get_scale() <= SMALLEST_SCALE:
            raise TrainingError(
                f"the gradient is {norm} at step {number} at every scale of float16; take bf16"
            )
        # else the scaler leaves this step out and lowers its scale
