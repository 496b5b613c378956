"""How the learning commands reach their data."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from models.bundle import Bundle
from models.bundle_folders import find_bundle
from models.data.layouts import open_data_set
from models.data.layouts_labels import left_out, values_of_organs
from models.errors import TrainingError
from models.geometry import Volume
from models.segments import Segment
from models.training.data_access import DataAccess
from models.training.parallel import first_process
from models.training.recipe import Recipe, changed
from models.training.recipe_data import label_values
from operators.label_reading_folder import DicomFolderReader
from operators.label_reading_names import LabelNumbers
from operators.label_reading_slices import Overlap
from operators.loading import scan
from operators.rules import default_rules
from operators.selection import select_series
from operators.volumes import build_volume

#: Layouts whose label values are the user's own.
_WITHOUT_VALUES = ("png", "pairs", "dicom")


def read_recipe(parsed: argparse.Namespace, bundle: Bundle | None = None) -> Recipe:
    """The recipe of `--model`, with `--config`, `--set`, `--layout` and a length applied."""
    bundle = bundle or find_bundle(parsed.model, parsed.models)
    changes = [change_of(text) for text in parsed.set]
    if parsed.layout is not None:
        changes.append({"data": {"layout": parsed.layout}})
    recipe = Recipe.read(bundle, parsed.config, changes)
    own = Recipe.read(bundle, parsed.config)
    if _is_elsewhere(parsed, own, recipe):
        quiet = getattr(parsed, "quiet", False) or not first_process()
        data = _on_data_set(own, parsed.data, recipe.part("data").get("layout"), quiet=quiet)
        for change in changes:  # what is asked for explicitly wins
            data = changed({"data": data}, {"data": change.get("data", {})})["data"]
        apart = ("sources", "phantoms")  # cases of its own
        kept = {key: value for key, value in recipe.content.items() if key not in apart}
        recipe = replace(recipe, content={**kept, "data": data})
    for name in ("epochs", "steps", "minutes"):
        value = getattr(parsed, name, None)
        if value is not None:
            recipe = recipe.lasting(name, value)
    return recipe


def _is_elsewhere(parsed: argparse.Namespace, own: Recipe, changed: Recipe) -> bool:
    """Whether a recipe takes a data set in another layout than the one it was made for."""
    if "sources" in own.content:
        return changed.part("data").get("layout") is not None
    return bool(own.part("data").get("layout") != changed.part("data").get("layout"))


def _on_data_set(
    own: Recipe, folder: Path, layout: str | None, *, quiet: bool
) -> Mapping[str, Any]:
    """`data` of a recipe on a data set in another layout: organs that both know.

    Where the layout states no label values, the recipe's stay. What only one of them knows is told
    on standard error, unless `quiet`.
    """
    data, organs = own.part("data"), own.bundle.class_of
    if layout == "dicom" and "sources" in own.content:
        return {"labels": dict(organs), "other_labels": []}  # found by names and codes
    if layout in _WITHOUT_VALUES:
        return data
    found = open_data_set(folder, layout, dicom=DicomFolderReader())
    if found.layout == data.get("layout") or not found.label_values:
        return data
    values = values_of_organs(found.label_values, organs)
    if not values.labels:
        raise TrainingError(
            f"{folder}: expected an organ of {own.bundle.name} ({', '.join(organs)}), "
            f"found {', '.join(found.label_values)}"
        )
    told = left_out(found.label_values, organs, values)
    if told and not quiet:
        print(f"{folder} for {own.bundle.name}: {told}", file=sys.stderr)
    return {
        **data,
        "labels": values.labels,
        "other_labels": list(values.other),
        "unknown_labels": list(values.unknown),
    }


def change_of(text: str) -> Mapping[str, Any]:
    """Read `optimiser.learning_rate=0.001` as `{"optimiser": {"learning_rate": 0.001}}`.

    What is not JSON is text.
    """
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise TrainingError(f"expected --set KEY=VALUE or KEY.KEY=VALUE, found {text!r}")
    try:
        change: Any = json.loads(value)
    except ValueError:
        change = value
    for key in reversed(path.split(".")):
        change = {key: change}
    found: Mapping[str, Any] = change
    return found


def data_access(recipe: Recipe, parsed: argparse.Namespace, cache: Path) -> DataAccess:
    """The data of `--data`; organs of DICOM labels are found by their names and codes.

    `data.overlap` says what becomes of voxels that several of them claim: `error`, or `first`.
    """
    overlap = recipe.part("data").get("overlap", "error")
    if overlap not in get_args(Overlap):
        choices = " or ".join(get_args(Overlap))
        raise TrainingError(f"data.overlap: expected {choices}, found {overlap!r}")
    return DataAccess(
        root=parsed.data,
        cache=cache,
        exclude=parsed.exclude,
        only=getattr(parsed, "only", ()),
        dicom=DicomFolderReader(_numbers(recipe), overlap=overlap),
        read_folder=read_dicom_folder,
        on_warning=_warner(parsed),
    )


def _warner(parsed: argparse.Namespace) -> Callable[[str], None] | None:
    """Tells each warning once, on standard error."""
    if getattr(parsed, "quiet", False) or not first_process():
        return None
    told: set[str] = set()

    def warn(text: str) -> None:
        if text not in told:
            told.add(text)
            print(f"warning: {text}", file=sys.stderr)

    return warn


def _numbers(recipe: Recipe) -> LabelNumbers | None:
    """The label value that each organ of a SEG or RTSTRUCT gets: the recipe's own.

    Organs are known by the bundle's labels, names and codes, and by the texts that
    `data.dicom_names` gives (`{"Leber": "liver"}`).
    """
    if "data" not in recipe.content:
        return None
    of_organ = {organ: values[0] for organ, values in label_values(recipe).items()}
    values = {
        key: of_organ[segment.name]
        for segment in recipe.bundle.segments
        if segment.name in of_organ
        for key in (segment.label, segment.name, _coded(segment))
    }
    given = recipe.part("data").get("dicom_names", {})
    if not isinstance(given, Mapping) or not all(organ in of_organ for organ in given.values()):
        raise TrainingError(
            f"data.dicom_names: expected names of {', '.join(of_organ)}, found {given!r}"
        )
    return LabelNumbers({**values, **{text: of_organ[organ] for text, organ in given.items()}})


def _coded(segment: Segment) -> str:
    codes = [segment.type, *([segment.modifier] if segment.modifier else [])]
    return "+".join(f"{code.scheme}:{code.value}" for code in codes)


def read_dicom_folder(folder: Path) -> Volume:
    """The volume that the default rules choose in a folder."""
    (chosen, *_) = select_series(scan(folder).studies, default_rules()).chosen
    return build_volume(chosen.candidate).volume
