"""What must be in place before `import holoscan`, also on a machine without a GPU."""

from __future__ import annotations

import ctypes
import resource
import warnings
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from operators.errors import EngineError

CUDA_RUNTIME = "libcudart.so.13"
CUDA_RUNTIME_DISTRIBUTION = "nvidia-cuda-runtime"
#: Holoscan warns below this soft limit of the stack.
STACK_BYTES = 32 * 1024 * 1024


def prepare() -> None:
    """Make `import holoscan` work, and keep it quiet; to be called before that import.

    Raises
    ------
    EngineError
        If the CUDA runtime library, which Holoscan is linked with even where it computes on the
        CPU, is neither known to the system nor installed as a Python package.
    """
    _load_cuda_runtime()
    _raise_stack_limit()


def _load_cuda_runtime() -> None:
    try:
        ctypes.CDLL(CUDA_RUNTIME, mode=ctypes.RTLD_GLOBAL)
    except OSError as exc:
        # the wheel's folder is not searched, but a library already loaded is found by its name
        library = _installed_cuda_runtime()
        if library is None:
            raise EngineError(
                f"expected {CUDA_RUNTIME}, which Holoscan needs, on the system or in the Python "
                f"package {CUDA_RUNTIME_DISTRIBUTION}, found neither: "
                f"pip install '{CUDA_RUNTIME_DISTRIBUTION}>=13.0,<14'"
            ) from exc
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _installed_cuda_runtime() -> Path | None:
    try:
        installed = files(CUDA_RUNTIME_DISTRIBUTION) or []
    except PackageNotFoundError:
        return None
    found = (Path(str(file.locate())) for file in installed if file.name == CUDA_RUNTIME)
    return next((path for path in found if path.is_file()), None)


def _raise_stack_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft == resource.RLIM_INFINITY or soft >= STACK_BYTES:
        return
    if hard == resource.RLIM_INFINITY or hard >= STACK_BYTES:
        resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, hard))
        return
    # our operators run Python on stacks of the usual size, so the advice does not concern users
    warnings.filterwarnings("ignore", message=r"Current stack size \(", category=RuntimeWarning)
