"""Tell a lack of memory from every other failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.errors import OutOfMemoryError


@contextmanager
def memory_errors(needed: str) -> Iterator[None]:
    """Raise `OutOfMemoryError` where NumPy, CUDA or the CPU's allocator run out of memory.

    Parameters
    ----------
    needed
        What there was not enough memory for.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as exc:
        raise OutOfMemoryError(f"not enough memory for {needed}") from exc
    except RuntimeError as exc:  # the CPU's allocator has no class of its own
        if "DefaultCPUAllocator" not in str(exc):
            raise
        raise OutOfMemoryError(f"not enough memory for {needed}") from exc
