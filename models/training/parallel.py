"""Several processes that train one network, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.errors import TrainingError

#: How long processes wait for each other: the first may validate for long.
PATIENCE = timedelta(hours=12)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and validates."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose gradients are means over all processes; weights of the first count.

        Buffers are averaged by `average_buffers`: their broadcast within the forward pass would
        need as many passes in each process.
        """
        if self.count == 1:
            return network
        devices = None if self.device.type == "cpu" else [self.device]
        return DistributedDataParallel(
            network,
            device_ids=devices,
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=True,  # MONAI's UNETR has some
        )

    def no_exchange(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Gather gradients in this process alone, for all but the last batch of a step."""
        if isinstance(wrapped, DistributedDataParallel):
            return wrapped.no_sync()
        return nullcontext()

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum over all processes."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return [float(value) for value in sums.tolist()]

    def average_buffers(self, network: nn.Module) -> None:
        """Make running statistics of batch normalisation the mean over all processes."""
        if self.count == 1:
            return
        buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        if not buffers:
            return
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        dist.all_reduce(flat)
        parts = torch.split(flat.div_(self.count), [buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))

    def of_first(self, value: T) -> T:
        """What the first process has, in all of them."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def agree(self, value: int, what: str) -> None:
        """Raise TrainingError in all processes unless each has the same value."""
        (others,) = self.total([float(value != self.of_first(value))])
        if others:
            raise TrainingError(f"the processes of this run disagree on {what}; this one: {value}")


def first_process() -> bool:
    """Whether this process is the only one of its run, or the first that `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, each with a GPU of its own where GPUs train.

    Without `torchrun` this process is alone. Within another `joined` the processes stay together:
    a second group of the same processes would find the addresses of the first one.

    Raises
    ------
    TrainingError
        If there are fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(rank=0, count=1, device=device)
        return
    backend = "gloo"
    if device.type == "cuda":
        backend, local = "nccl", int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"expected a GPU for each process of this machine, found "
                f"{torch.cuda.device_count()}; start torchrun with --nproc-per-node of that"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    within = dist.is_initialized()
    if not within:
        dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(rank=dist.get_rank(), count=dist.get_world_size(), device=device)
    finally:
        if not within:
            dist.destroy_process_group()
