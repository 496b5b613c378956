"""The training loop: bounded by time, resumable from its last checkpoint, averaged weights."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import TrainingError
from models.intensity import Window
from models.training.augmentation import Augmentation, random_patch
from models.training.cases import Case
from models.training.loss import partial_loss

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """All that a run depends on besides its cases and network.

    Parameters
    ----------
    patch, spacing_mm, window
        What the network sees.
    minutes
        Length of the run in minutes of training, over all its sessions.
    batch, learning_rate, weight_decay, warmup
        Patches a step; AdamW's settings; part of the run in which the rate rises.
    ema_decay
        Decay a step of the averaged weights, which are the result.
    synthetic_share
        Share of patches taken from synthetic cases, where there are both kinds.
    seed
        Every step draws from `(seed, step)`, so a resumed run sees the patches it would have seen;
        its learning rate follows the time it has trained.
    """

    patch: tuple[int, int, int]
    spacing_mm: float
    window: Window
    minutes: float
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.02
    ema_decay: float = 0.995
    synthetic_share: float = 0.15
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass
class TrainingState:
    """Where a run stands: what a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    cases: list[str]
    step: int = 0
    trained_s: float = 0.0

    @classmethod
    def start(cls, network: nn.Module, plan: TrainingPlan, cases: Sequence[Case]) -> TrainingState:
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        names = sorted(case.name for case in cases)
        return cls(network=network, optimizer=optimizer, average=average, cases=names)

    def save(self, path: Path) -> None:
        """Write the checkpoint; an interrupted write leaves the last one in place."""
        partial = path.with_suffix(".partial")
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "cases": self.cases,
            "step": self.step,
            "trained_s": self.trained_s,
        }
        torch.save(content, partial)
        os.replace(partial, path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of the same network and cases.

        Raises
        ------
        TrainingError
            If it learnt from other cases: what it was not meant to see could then be called unseen.
        """
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if content.get("cases", []) != self.cases:
            raise TrainingError(
                f"{path} was trained on other cases: expected {', '.join(self.cases)}, "
                f"found {', '.join(content.get('cases', ['none']))}"
            )
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        for name, value in content["average"].items():
            self.average[name].copy_(value)  # stays where the network is
        self.step = content["step"]
        self.trained_s = content["trained_s"]


def train(
    network: nn.Module,
    cases: Sequence[Case],
    plan: TrainingPlan,
    checkpoint: Path,
    *,
    synthetic: Sequence[Case] = (),
    device: torch.device | None = None,
    checkpoint_every_s: float = 120.0,
    on_step: Callable[[int, float, float], None] | None = None,
) -> dict[str, Tensor]:
    """Train until `plan.minutes` are used up, going on from `checkpoint` where it exists.

    Parameters
    ----------
    on_step
        Called with the step, its loss and the share of the run that is done.

    Returns
    -------
    The averaged weights, on the CPU.

    Raises
    ------
    TrainingError
        If there is no case, or the loss or its gradient is no longer finite.
    """
    if not cases and not synthetic:
        raise TrainingError("expected at least one case to train on, found none")
    device = device or torch.device("cpu")
    network.to(device).train()
    state = TrainingState.start(network, plan, [*cases, *synthetic])
    if checkpoint.exists():
        state.restore(checkpoint)
        log.info("going on from step %d, %.0f s trained", state.step, state.trained_s)
    saved = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as loader:
        ahead = loader.submit(draw_batch, cases, synthetic, plan, state.step)
        while state.trained_s < plan.minutes * 60:
            begun = time.monotonic()
            images, labels, unlabelled = ahead.result()
            ahead = loader.submit(draw_batch, cases, synthetic, plan, state.step + 1)
            done = state.trained_s / (plan.minutes * 60)
            loss = _step(state, images.to(device), labels.to(device), unlabelled, plan, done)
            state.trained_s += time.monotonic() - begun
            if on_step is not None:
                on_step(state.step, loss, state.trained_s / (plan.minutes * 60))
            if time.monotonic() - saved > checkpoint_every_s:
                state.save(checkpoint)
                saved = time.monotonic()
    state.save(checkpoint)
    return {name: value.cpu() for name, value in state.average.items()}


def draw_batch(
    cases: Sequence[Case], synthetic: Sequence[Case], plan: TrainingPlan, step: int
) -> tuple[Tensor, Tensor, list[frozenset[int]]]:
    """Draw the patches of one step: images `(N, 1, D, H, W)`, labels `(N, D, H, W)`.

    Patients are drawn evenly, so that one with many scans does not count for more.
    """
    rng = np.random.default_rng((plan.seed, step))
    images, labels, unlabelled = [], [], []
    for _ in range(plan.batch):
        made_up = not cases or (bool(synthetic) and rng.random() < plan.synthetic_share)
        pool = synthetic if made_up else cases
        patients = sorted({case.patient for case in pool})
        patient = patients[rng.integers(len(patients))]
        of_patient = [case for case in pool if case.patient == patient]
        case = of_patient[rng.integers(len(of_patient))]
        image, label = random_patch(
            case,
            rng,
            shape=plan.patch,
            spacing_mm=plan.spacing_mm,
            window=plan.window,
            augmentation=plan.augmentation,
        )
        images.append(image)
        labels.append(label)
        unlabelled.append(case.unlabelled)
    return torch.stack(images), torch.stack(labels), unlabelled


def _step(
    state: TrainingState,
    images: Tensor,
    labels: Tensor,
    unlabelled: Sequence[frozenset[int]],
    plan: TrainingPlan,
    done: float,
) -> float:
    """One optimiser step at the rate of this part of the run: warm-up, then a cosine to zero."""
    rate = plan.learning_rate * min(1.0, (done + 1e-3) / plan.warmup)
    rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, torch.bfloat16):
        logits = state.network(images)
    loss = partial_loss(logits, labels, unlabelled)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(f"the loss is {value} at step {state.step}; lower the learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(state.network.parameters(), 1.0))
    if not math.isfinite(norm):
        raise TrainingError(f"the gradient is {norm} at step {state.step}")
    state.optimizer.step()
    state.step += 1
    decay = min(plan.ema_decay, state.step / (state.step + 10))
    with torch.no_grad():
        for name, current in state.network.state_dict().items():
            state.average[name].lerp_(current, 1 - decay)
    return value
