"""Which Python packages a MAP holds, and a folder of their wheels for a build without network.

The versions are those installed beside the program: what was tested is what is packaged.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from app.errors import PackagingError
from app.packages import DISTRIBUTION

#: With all that only they need: the node, the packager itself, and what clients of inference
#: servers can do beyond being importable, which is all that the App SDK asks of them.
LEFT_OUT = frozenset(
    {
        "aiohttp",
        "cuda-python",
        "dbos",
        "holoscan-cli",
        "perf-analyzer",
        "prometheus-client",
        "pydantic",
        "pynetdicom",
        "sqlalchemy",
    }
)
#: Holoscan imports it where it is, and never uses it without a GPU.
LEFT_OUT_ON_CPU = frozenset({"cupy-cuda13x"})
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def needed_distributions(gpu: bool) -> dict[str, str]:
    """Version by name of all that the program needs in a MAP, read from what is installed.

    Raises
    ------
    PackagingError
        If something is not installed.
    """
    left_out = LEFT_OUT if gpu else LEFT_OUT | LEFT_OUT_ON_CPU
    found: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(DISTRIBUTION, frozenset())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            installed = distribution(name)
        except PackageNotFoundError as exc:
            raise PackagingError(f"expected {name} to be installed, as a MAP needs it") from exc
        found[name] = installed.version
        for requirement in map(Requirement, installed.requires or ()):
            child = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if child not in seen and child[0] not in left_out and _applies(requirement, extras):
                seen.add(child)
                waiting.append(child)
    del found[DISTRIBUTION]
    return dict(sorted(found.items()))


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def collect_wheels(folder: Path, gpu: bool, source: Path | None = None) -> None:
    """Put all wheels of a MAP into a folder that is empty; needs a package index, or `source`.

    Parameters
    ----------
    folder
        Gets the wheels.
    gpu
        PyTorch with CUDA and its libraries rather than the far smaller build without.
    source
        Folder of wheels to take them from; None asks the package index.

    Raises
    ------
    PackagingError
        If a wheel cannot be had.
    """
    versions = needed_distributions(gpu)
    torch = versions.pop("torch").partition("+")[0]
    places = ["--no-index", "--find-links", str(source)] if source else []
    if gpu:
        _download_cuda(folder, places, torch, versions)
    else:
        index = places or ["--extra-index-url", TORCH_CPU_INDEX]
        _download(folder, [*index, "--no-deps", f"torch=={torch}+cpu"])
    there = {parse_wheel_filename(file.name)[0] for file in folder.glob("*.whl")}
    pins = [f"{name}=={version}" for name, version in versions.items() if name not in there]
    _download(folder, [*places, "--no-deps", *pins])


def _download_cuda(
    folder: Path, places: Sequence[str], torch: str, versions: Mapping[str, str]
) -> None:
    """PyTorch with its CUDA libraries, of which it demands other versions than are installed."""
    pins = [f"{k}=={v}" for k, v in versions.items() if not k.startswith(("cuda", "nvidia"))]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins), "utf-8")
    # three signs: the build without CUDA, `+cpu`, would be the later version
    _download(folder, [*places, "-c", str(constraints), f"torch==={torch}"])
    constraints.unlink()


def _download(folder: Path, arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines() or ["no reason given"]
        raise PackagingError(f"pip cannot download the wheels of the MAP: {reason[-1]}")
