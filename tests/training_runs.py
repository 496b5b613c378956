"""A training that takes a second: its feed, network and plan, and a program that runs it.

`python -m tests.training_runs FOLDER` trains in processes of its own, to be killed or to be
started by torchrun; it prints a line a step, and writes the weights of each process at the end.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.training.feed import Sample
from models.training.memory_format import MemoryFormat
from models.training.pace import Progress
from models.training.plan import Optimiser, Schedule, Stage, TrainingPlan
from models.training.run_folder import RunFolder
from models.training.session import TrainingResult, Validate
from models.training.trainer import train


@dataclass(frozen=True)
class BrightFeed:
    """Noise in which the bright half of the voxels is class 1; shifted a little every epoch."""

    samples: int = 10
    shape: tuple[int, ...] = (4, 6, 6)
    names: tuple[str, ...] = ("a", "b")

    @property
    def cases(self) -> tuple[str, ...]:
        return self.names

    def __len__(self) -> int:
        return self.samples

    def draw(self, epoch: int, index: int) -> Sample:
        rng = np.random.default_rng((7, epoch, index))
        image = torch.tensor(rng.uniform(-1, 1, (1, *self.shape)), dtype=torch.float32)
        return Sample(image=image + 0.1, labels=(image[0] > 0).long())


def network(dropout: float = 0.2, seed: int = 0) -> nn.Sequential:
    """Two convolutions, two classes."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1, bias=False),  # a bias would learn from rounding alone
        nn.InstanceNorm3d(4, affine=True),
        nn.Dropout(dropout),
        nn.PReLU(),
        nn.Conv3d(4, 2, 1),
    )


#: Ten samples in groups of four: the last step of an epoch has two.
STAGE = Stage(
    epochs=3,
    batch=2,
    accumulate=2,
    optimiser=Optimiser(learning_rate=0.02),
    schedule=Schedule(name="warmup_cosine", warmup=0.2),
    ema_decay=0.9,
)
STEPS_PER_EPOCH = 3


def plan(
    *stages: Stage,
    checkpoint_every_s: float = 120.0,
    workers: int = 1,
    memory_format: MemoryFormat = "contiguous",
) -> TrainingPlan:
    return TrainingPlan(
        stages=stages or (STAGE,),
        checkpoint_every_s=checkpoint_every_s,
        workers=workers,
        memory_format=memory_format,
    )


def accuracy(trained: nn.Module) -> dict[str, float]:
    """Voxels of an unseen sample that are right, as if it were a Dice."""
    sample = BrightFeed().draw(10**6, 0)
    with torch.no_grad():
        found = trained(sample.image[None]).argmax(dim=1)[0]
    right = float((found == sample.labels).float().mean())
    return {"dice": right, "loss": 1 - right}


def run(
    folder: Path,
    the_plan: TrainingPlan,
    *,
    net: nn.Module | None = None,
    feed: BrightFeed | None = None,
    settings: Mapping[str, object] | None = None,
    validate: Validate | None = accuracy,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainingResult:
    with RunFolder.open(folder, settings or {}) as opened:
        return train(
            network() if net is None else net,
            BrightFeed() if feed is None else feed,
            the_plan,
            opened,
            validate=validate,
            on_progress=on_progress,
        )


def assert_same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=name)


class Observe(nn.Module):
    """Gathers running statistics of what passes, and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = nn.BatchNorm3d(1, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        self.statistics(x)
        return x


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int, default=0, help="step after which to die at once")
    parser.add_argument("--nan-at", type=int, default=0, help="step that fails in process 1")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--every-s", type=float, default=0.0)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--observe", action="store_true")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "0")

    def tell(progress: Progress) -> None:
        print(f"step {progress.step} of rank {rank}", flush=True)
        if progress.step == parsed.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    net = network(parsed.dropout, seed=int(rank))  # the weights of the first process count
    if parsed.observe:
        net.append(Observe()).insert(0, net.pop(-1))
    if parsed.nan_at and rank == "1":
        passes = itertools.count(1)
        net.register_forward_hook(
            lambda module, inputs, output: (
                output * (math.nan if next(passes) == parsed.nan_at else 1)
            )
        )
    the_plan = plan(replace(STAGE, epochs=parsed.epochs), checkpoint_every_s=parsed.every_s)
    result = run(parsed.folder, the_plan, net=net, on_progress=tell)
    torch.save(result.state, parsed.folder / f"rank{rank}.pt")


if __name__ == "__main__":
    sys.exit(main())
