"""A bundle's recipe: what its `configs/train.json` says of data, samples and training.

    {"data": {"layout": "btcv", "labels": {"liver": 6, ...}, "other_labels": [...],
              "validation_share": 0.2, "patient_pattern": "...", "shades": {...}},
     "samples": {"kind": "patches" | "volumes" | "slices" | "patients", ...},
     "augmentation": {...},
     ...}                        the training plan, see models/training/plan_json.py

`labels` gives the value, or values, of each organ in the data set. The starter models have
`sources` (models/training/sources.py) and `phantoms` in place of `data`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from models.errors import TrainingError
from models.training.plan import TrainingPlan
from models.training.plan_json import LENGTHS, plan_from_json
from models.variants import merge

#: Keys that are MONAI's bundle runner's, not ours.
RUNNER_KEYS = frozenset(("imports", "run", "bundle_root", "dataset_dir", "run_dir", "device"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A bundle and how it is trained.

    Parameters
    ----------
    bundle
        With or without weights.
    content
        Of `train.json`, without what is the runner's.
    """

    bundle: Bundle
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(
        cls, bundle: Bundle, path: Path | None = None, changes: Sequence[Mapping[str, Any]] = ()
    ) -> Recipe:
        """Read a bundle's own recipe, or the one in `path`, and merge `changes` over it.

        Raises
        ------
        TrainingError
            If it cannot be read.
        """
        path = path or bundle.folder / "configs" / "train.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise TrainingError(f"cannot read the training configuration {path}: {exc}") from exc
        if not isinstance(content, dict):
            raise TrainingError(f"{path}: expected an object, found {type(content).__name__}")
        for change in changes:
            content = merge(content, change)
        kept = {key: value for key, value in content.items() if key not in RUNNER_KEYS}
        return cls(bundle=bundle, content=kept)

    @property
    def plan(self) -> TrainingPlan:
        """How long and with what the network is trained; raises TrainingError."""
        return plan_from_json(self.content)

    def part(self, name: str) -> Mapping[str, Any]:
        """One object of the recipe, empty where there is none; raises TrainingError."""
        value = self.content.get(name, {})
        if not isinstance(value, Mapping):
            raise TrainingError(f"{name}: expected an object, found {value!r}")
        return value

    def lasting(self, name: str, value: float) -> Recipe:
        """The same recipe with another length: `epochs`, `steps` or `minutes` of every stage."""
        content = {key: v for key, v in self.content.items() if key not in LENGTHS}
        if "stages" in content:
            content["stages"] = [
                {key: v for key, v in stage.items() if key not in LENGTHS}
                for stage in content["stages"]
            ]
        return replace(self, content={**content, name: value})

    @property
    def seed(self) -> int:
        return int(self.content.get("seed", 0))


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Tell a missing or misspelt setting as such; for code that only reads settings."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as exc:
        raise TrainingError(f"the training configuration is incomplete or wrong: {exc!r}") from exc
