"""One folder for one run: its configuration, environment, curves, checkpoint and result."""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from models.errors import TrainingError
from models.training.parallel import first_process
from models.training.plan import TrainingPlan
from models.training.plan_json import plan_to_json

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"
ENVIRONMENT = "environment.json"
LOCK = "run.lock"
#: Distributions whose versions a result may depend on.
DISTRIBUTIONS = ("viscera", "monai", "numpy", "scipy", "nibabel", "tensorboard")


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """The folder of a run that this process may write to.

    Parameters
    ----------
    settings
        All that the samples and the network were made from (JSON), besides the plan: the run's
        checkpoint is only taken up with the same.
    """

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, settings: Mapping[str, Any]) -> Iterator[RunFolder]:
        """Make the folder and hold it until the end; of several processes of one run the first.

        Raises
        ------
        TrainingError
            If another run writes to it, or it cannot be made.
        """
        run = cls(folder=folder, settings=settings)
        if not first_process():
            yield run
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as exc:
            raise TrainingError(f"cannot use the folder {folder}: {exc.strerror or exc}") from exc
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed by death too
            except OSError as exc:
                raise TrainingError(f"another training writes to {folder}") from exc
            yield run
        finally:
            os.close(lock)

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    def describe(
        self, plan: TrainingPlan, cases: tuple[str, ...], device: torch.device, processes: int
    ) -> None:
        """Write `config.json` and `environment.json`."""
        config = {"plan": plan_to_json(plan), "settings": self.settings, "cases": list(cases)}
        _write_json(self.folder / CONFIG, config)
        _write_json(self.folder / ENVIRONMENT, environment(device, processes))


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """Versions and hardware, but nothing that names the machine."""
    # a build for CUDA may hide that from its distribution's version, but not from its own
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())
    return {
        "versions": versions,
        "device": device.type,
        "device_name": hardware,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "system": platform.system(),
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    text = json.dumps(content, indent=2, ensure_ascii=False)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, path)
