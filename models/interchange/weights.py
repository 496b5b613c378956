"""State dicts of other makers, read without running what a pickle may hold."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.errors import BundleError
from models.memory import memory_errors

#: Where trainers put the network's own state: nnU-Net, Lightning, MONAI's CheckpointSaver.
_NESTED = ("network_weights", "state_dict", "model", "network", "net")
#: Put before every name by wrappers: data parallel, `torch.compile`.
_WRAPPERS = ("module.", "_orig_mod.")
#: What damaged files raise; a pickle's opcodes fail in many ways.
_DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
    SafetensorError,
)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, in float32 on the CPU.

    Raises
    ------
    BundleError
        If the file cannot be read, holds objects other than tensors, plain values and NumPy
        numbers (reading those would run code), or no state dict.
    """
    content = _read(path)
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise BundleError(f"expected a state dict in {path}, found {type(content).__name__}")
    strange = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise BundleError(f"expected tensors in {path}, found others under {strange[:3]}")
    return {
        _bare(str(name)): value.float() if value.is_floating_point() else value
        for name, value in content.items()
    }


def _bare(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _read(path: Path) -> Any:
    try:
        with memory_errors(f"the weights {path}"):
            if path.suffix == ".safetensors":
                return load_file(path)
            with torch.serialization.safe_globals(_numpy_numbers()):
                return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as exc:
        raise BundleError(f"cannot read the weights {path}: {_told(exc)}") from exc


def _told(error: Exception) -> str:
    """What to say of damage: PyTorch's advice is to load such a file with all that it runs."""
    if isinstance(error, (OSError, SafetensorError)):
        return first_line(error)
    expected = "expected a checkpoint of tensors, numbers and text, found"
    if "TorchScript" in str(error):
        return f"{expected} a TorchScript program"
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named and isinstance(error, pickle.UnpicklingError):
        return (
            f"{expected} objects of {named[1]}; other objects are not loaded, since that can run "
            "code"
        )
    kind, said = type(error).__name__, first_line(error)
    more = "" if said == kind or "weights_only" in said else f": {said}"
    return f"the file is damaged or none of PyTorch's ({kind}{more})"


def first_line(error: Exception) -> str:
    """PyTorch's errors go on for pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def last_line(error: Exception) -> str:
    """What went wrong comes last where TorchScript's interpreter tells its own traceback first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _numpy_numbers() -> list[Any]:
    """What unpickles NumPy scalars, which nnU-Net keeps among its curves; runs no other code."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")]
    # by the name of NumPy 1 as well as of NumPy 2
    return [np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar"), *kinds]
