"""Running out of memory, told from every other failure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.errors import OutOfMemoryError
from models.memory import memory_errors


def test_an_array_that_the_machine_cannot_hold_is_named() -> None:
    with (
        pytest.raises(OutOfMemoryError, match="not enough memory for the labels") as caught,
        memory_errors("the labels"),
    ):
        np.empty(2**46, np.float32)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_a_tensor_that_the_machine_cannot_hold_is_named() -> None:
    with (
        pytest.raises(OutOfMemoryError, match="not enough memory for the scores"),
        memory_errors("the scores"),
    ):
        torch.empty(2**46)


def test_a_gpu_that_is_full_is_named() -> None:
    with (
        pytest.raises(OutOfMemoryError, match="not enough memory for a window"),
        memory_errors("a window"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("memory"), KeyError(1)]
)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory_errors("anything"):
        raise error
    assert caught.value is error
