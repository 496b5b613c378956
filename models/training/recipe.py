"""A bundle's recipe: what its `configs/train.json` says of data, samples and training.

    {"data": {"layout": "btcv", "labels": {"liver": 6, ...}, "other_labels": [...],
              "validation_share": 0.2, "patient_pattern": "...", "shades": {...}},
     "samples": {"kind": "patches" | "volumes" | "slices" | "patients", ...},
     "augmentation": {...},
     "initial_weights": "NAME" | "FOLDER" | "FILE.pth",      weights to start from
     "initial_part": "vit",           take these alone of them, by the start of their names
     "first": {"variant": "NAME", ...}, or train a variant first, models/training/first_run.py
     "pseudo_labels": {"teacher": "NAME", "least_confidence": 0.9},
     ...}                        the training plan, see models/training/plan_json.py

`labels` gives the value, or values, of each organ in the data set; `other_labels` are background,
`unknown_labels` take no part. `status` names each organ's key in `<name>_status.json`, and
`unlabelled_when` the states without labels. `overlap` (`error` or `first`) decides where organs of
SEG and RTSTRUCT overlap. The starter models have `sources` (models/training/sources.py) and
`phantoms` in place of `data`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from models.errors import TrainingError
from models.json_files import read_object
from models.training.plan import TrainingPlan
from models.training.plan_json import LENGTHS, plan_from_json
from models.variants import merge

#: Keys that are MONAI's bundle runner's, not ours.
RUNNER_KEYS = frozenset(("imports", "run", "bundle_root", "dataset_dir", "run_dir", "device"))
#: Keys of the objects whose readers look for these alone.
KEYS: Mapping[str, Collection[str]] = {
    "data": (
        "layout",
        "labels",
        "other_labels",
        "unknown_labels",
        "validation_share",
        "patient_pattern",
        "shades",
        "dicom_names",
        "overlap",
        "status",
        "unlabelled_when",
    ),
    "phantoms": ("count", "first_seed", "labels"),
}


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
        own = bundle.folder / "configs" / "train.json"
        if path is None and not own.is_file():
            raise TrainingError(f"{bundle.name}: no recipe in {own}; give one with --config")
        path = path or own
        content = read_object(path, TrainingError)
        for change in changes:
            content = changed(content, change)
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
        if name in KEYS:
            refuse_unknown(value, KEYS[name], name)
        return value

    def lasting(self, name: str, value: float) -> Recipe:
        """The same recipe with another length: `epochs`, `steps` or `minutes` of every stage.

        A warm-up in epochs keeps its share of the whole where that is known.
        """
        content = _without_length(self.content, {}, name)
        if isinstance(content.get("stages"), list):
            content["stages"] = [
                _without_length(stage, self.content, name) if isinstance(stage, Mapping) else stage
                for stage in content["stages"]
            ]
        return replace(self, content={**content, name: value})

    @property
    def seed(self) -> int:
        """What decides the samples and who validates; raises TrainingError."""
        seed = self.content.get("seed", 0)
        if type(seed) is not int or seed < 0:
            raise TrainingError(f"seed: expected a whole number from 0 up, found {seed!r}")
        return seed

    def write(self, path: Path) -> None:
        """Write this recipe over a `train.json`, whose keys for MONAI's runner stay."""
        there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kept = {key: value for key, value in there.items() if key in RUNNER_KEYS}
        text = json.dumps({**kept, **self.content}, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")


def changed(content: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe under a change; values of labels that it takes away stay known in the files."""
    merged: dict[str, Any] = merge(content, change)
    before, after = (_labels_of(each) for each in (content, merged))
    gone = [before[organ] for organ in before if organ in after and after[organ] is None]
    values = [v for each in gone for v in (each if isinstance(each, (list, tuple)) else [each])]
    if others := [value for value in values if value is not None]:
        kept = merged["data"].get("other_labels") or []
        others = [*kept, *(value for value in others if value not in kept)]
        merged["data"] = {**merged["data"], "other_labels": others}
    return merged


def _labels_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    data = content.get("data")
    labels = data.get("labels") if isinstance(data, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}


def _without_length(
    entry: Mapping[str, Any], inherited: Mapping[str, Any], wanted: str
) -> dict[str, Any]:
    """A stage, or what holds for all, without a length; `wanted` is the kind of the next one."""
    content = {key: value for key, value in entry.items() if key not in LENGTHS}
    schedule = entry.get("schedule", inherited.get("schedule"))
    rise = schedule.get("warmup_epochs") if isinstance(schedule, Mapping) else None
    if not isinstance(schedule, Mapping) or not isinstance(rise, (int, float)):
        return content
    others = {key: value for key, value in schedule.items() if key != "warmup_epochs"}
    epochs = (entry if LENGTHS & entry.keys() else inherited).get("epochs")
    if isinstance(epochs, (int, float)) and 0 < rise < epochs:
        content["schedule"] = {**others, "warmup": rise / epochs}
    elif wanted != "epochs":  # a share of nothing that is known
        content["schedule"] = others
    return content


def refuse_unknown(settings: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise TrainingError for a key that nobody would look at, naming the one that was meant."""
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = (
                f"did you mean {close[0]}" if close else f"known are {', '.join(known) or 'none'}"
            )
            raise TrainingError(f"{where}: unknown key {key!r}; {hint}")


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Tell a missing or misspelt setting as such; for code that only reads settings."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as exc:
        raise TrainingError(f"the training configuration is incomplete or wrong: {exc!r}") from exc
