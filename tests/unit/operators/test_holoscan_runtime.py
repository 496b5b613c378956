from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from operators import holoscan_runtime
from operators.errors import EngineError

ROOT = Path(__file__).parents[3]
IMPORT = (
    "from operators.holoscan_runtime import prepare; prepare(); prepare(); "
    "import holoscan, resource; print(resource.getrlimit(resource.RLIMIT_STACK)[0] // 2**20)"
)


def import_under(limits: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Import Holoscan after `prepare` in a process that starts with other limits."""
    command = ["sh", "-c", f'{limits}; exec "$0" "$@"', sys.executable, *options, "-c", IMPORT]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_holoscan_is_imported_without_a_warning_and_with_its_recommended_stack() -> None:
    result = import_under("ulimit -Ss 8192", "-W", "error")
    assert (result.returncode, result.stdout, result.stderr) == (0, "32\n", "")


def test_a_stack_that_may_not_grow_is_kept_in_silence() -> None:
    result = import_under("ulimit -s 8192")
    assert (result.returncode, result.stdout, result.stderr) == (0, "8\n", "")


def test_the_installed_package_provides_the_cuda_13_runtime() -> None:
    library = holoscan_runtime._installed_cuda_runtime()
    assert library is not None
    version = ctypes.c_int()
    assert ctypes.CDLL(str(library)).cudaRuntimeGetVersion(ctypes.byref(version)) == 0
    assert version.value // 1000 == 13


def test_a_missing_cuda_runtime_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holoscan_runtime, "CUDA_RUNTIME", "libcudart.so.0")
    with pytest.raises(EngineError, match=r"libcudart\.so\.0.*pip install 'nvidia-cuda-runtime"):
        holoscan_runtime.prepare()
