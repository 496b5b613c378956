"""A run that comes first: a variant of the bundle is trained, and the bundle starts from it.

    "first": {"variant": "transformer",     of `configs/variants`, with the bundle's own classes
              "part": "vit",                the module that the bundle takes from it; all without
              "train": {"steps": 3000}}     what else differs from the variant's recipe

It has the same data, without those that are held out, and lies in `first` of the run's folder. A
length that the command line gives is that of the bundle's own run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import BundleError, TrainingError
from models.training.plan_json import LENGTHS
from models.training.recipe import Recipe, refuse_unknown
from models.training.teacher import refuse_other_task
from models.variants import make_variant, merge, read_variant

#: Folder within a run's.
FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """What `first` of a recipe says."""

    variant: str
    part: str | None = None
    train: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe) -> FirstRun | None:
        """Read it; None where there is none, or `initial_weights` take its place.

        Raises
        ------
        TrainingError
            If a key of it is unknown or of the wrong kind.
        """
        content = recipe.content.get("first")
        if content is None or recipe.content.get("initial_weights") is not None:
            return None
        settings = recipe.part("first")
        refuse_unknown(settings, ("variant", "part", "train"), "first")
        variant, part, train = map(settings.get, ("variant", "part", "train"))
        if not isinstance(variant, str):
            raise TrainingError(f"first.variant: expected the name of a variant, found {variant!r}")
        if not (part is None or (isinstance(part, str) and part)):
            raise TrainingError(f"first.part: expected the name of a module, found {part!r}")
        if not (train is None or isinstance(train, Mapping)):
            raise TrainingError(f"first.train: expected an object, found {train!r}")
        return cls(variant=variant, part=part, train=train or {})

    def recipe(self, recipe: Recipe, folder: Path) -> Recipe:
        """The recipe of this run, with a bundle that is written to `folder`.

        It is that of the bundle, as it was changed for this training, under the variant's changes.

        Raises
        ------
        TrainingError
            If there is no such variant, or it differs in classes, grid, window or dimensions: the
            same cases have to serve both.
        """
        own = recipe.bundle
        try:
            bundle = make_variant(own, [self.variant], folder / f"{own.name}_{self.variant}")
            change = read_variant(own.folder, self.variant)
        except BundleError as exc:
            raise TrainingError(f"first: {exc}") from exc
        refuse_other_task(bundle, own, f"first.variant {self.variant!r}")
        content: Any = {key: value for key, value in recipe.content.items() if key not in _OWN}
        for part in (change.get("train", {}), self.train):
            if LENGTHS & part.keys():
                content = {key: value for key, value in content.items() if key not in LENGTHS}
            content = merge(content, part)
        return Recipe(bundle=bundle, content=content)


#: Keys that are the bundle's own run's.
_OWN = ("first", "initial_part")
