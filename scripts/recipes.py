"""Try every recipe on a miniature data set: check, train, evaluate, export, segment a DICOM study.

usage: python scripts/recipes.py [-o OUT] [--only RECIPE]

The data sets are phantoms in the exact layouts of the public ones and the models their
`miniature` variants, so that all of it takes minutes on two cores. What comes out shows that the
recipes work, not how good they are on patients. Ends with 1 where a recipe misses a Dice of 0.9
on the cases that it learnt from, or its SEG is not valid.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from models.data.miniature import make_btcv, make_flare22, make_msd, make_png
from models.data.miniature_people import person
from operators.ct_series import SeriesIdentity, write_ct_series

#: Dice on training cases that shows that a recipe learns.
GOAL = 0.9
COLUMNS = (
    "recipe",
    "organs",
    "steps",
    "minutes",
    "of one core",
    "Dice, cases learnt from",
    "lowest organ",
    "export differs by",
    "SEG",
    "organs in it",
)


@dataclass(frozen=True)
class Recipe:
    """A bundle and the function that makes its miniature data set."""

    model: str
    make: Callable[[Path], Path]


RECIPES = (
    Recipe("unetr_btcv", lambda folder: make_btcv(folder, 4, spacing_mm=6.0)),
    Recipe("vnet_flare22", lambda folder: make_flare22(folder, 3, spacing_mm=6.0)),
    Recipe("vnet_four_organs", lambda folder: make_flare22(folder, 4, spacing_mm=6.0)),
    Recipe("unet_liver_msd", lambda folder: make_msd(folder, "Task03_Liver", 4)),
    Recipe("mobilenetv3_rsna", lambda folder: make_png(folder, 3)),
)


def main() -> int:
    """Try the recipes and print the table."""
    parser = argparse.ArgumentParser(description="Try every recipe on a miniature data set.")
    parser.add_argument("-o", "--output", type=Path, default=Path("recipes"))
    parser.add_argument("--only", action="append", default=[], metavar="RECIPE")
    parsed = parser.parse_args()
    study = parsed.output / "study"
    _write_study(study)
    rows = [
        _try(recipe, parsed.output / recipe.model, study)
        for recipe in RECIPES
        if not parsed.only or recipe.model in parsed.only
    ]
    table = _table(rows)
    print(table)
    (parsed.output / "recipes.md").write_text(table + "\n", encoding="utf-8")
    return 0 if rows and all(map(_passed, rows)) else 1


def _write_study(folder: Path) -> None:
    """A person that no recipe learns from, as a DICOM series."""
    shutil.rmtree(folder, ignore_errors=True)
    write_ct_series(person(77, 5.0).hu, folder, SeriesIdentity(seed_text="recipes"))


def _try(recipe: Recipe, folder: Path, study: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    data = recipe.make(folder / "data")
    bundle = folder / "run" / f"{recipe.model}_miniature"
    _viscera("data", "check", data, "-o", folder / "check")
    begun, used_s = time.monotonic(), _processor_s()
    _viscera(
        "train", "--model", recipe.model, "--variant", "miniature", "--data", data,
        "--run", folder / "run",
    )  # fmt: skip
    minutes = (time.monotonic() - begun) / 60
    processor_minutes = (_processor_s() - used_s) / 60
    _viscera(
        "evaluate", "-m", bundle, "--data", data, "--part", "training",
        "-o", folder / "report", "--scenes", 1,
    )  # fmt: skip
    told = _viscera("export", "-m", bundle, "--format", "monai", "-o", folder / "export")
    _viscera("segment", study, "-o", folder / "segmented", "--bundle", folder / "export", "-q")
    notes = json.loads((bundle / "configs" / "metadata.json").read_text())["trained_on"]
    row = {
        "model": recipe.model,
        "steps": notes["steps"],
        "minutes": minutes,
        "processor": processor_minutes,
        "export": _largest_difference(told),
        **_dice(folder / "report" / "evaluation.json"),
        **_seg(folder / "segmented"),
    }
    print(_table([row]), flush=True)
    return row


def _viscera(*arguments: object) -> str:
    """Run the installed command and return what it prints; its failure is ours."""
    command = [str(Path(sys.executable).with_name("viscera")), *map(str, arguments)]
    print("$ viscera " + " ".join(command[1:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", file=sys.stderr, flush=True)
    if done.returncode:
        sys.exit(f"recipes: expected exit code 0, found {done.returncode}: {' '.join(command)}")
    return done.stdout


def _processor_s() -> float:
    """Seconds that all commands so far kept the processor's cores busy, added up."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _dice(path: Path) -> dict[str, Any]:
    """Mean Dice over organs, and that of the lowest, each the mean over patients.

    A patient's slices, where each is a case, are put together: their voxels are counted as one.
    """
    shared: dict[tuple[str, str], float] = {}
    total: dict[tuple[str, str], float] = {}
    evaluation = json.loads(path.read_text())
    for case in evaluation["cases"]:
        confusion = case["confusion"]  # truth x prediction, background first
        for at, organ in enumerate(evaluation["organs"], 1):
            key = organ["name"], case["patient"]
            both = sum(confusion[at]) + sum(row[at] for row in confusion)
            total[key] = total.get(key, 0.0) + both
            shared[key] = shared.get(key, 0.0) + 2 * confusion[at][at]
    by_organ: dict[str, list[float]] = {}
    for (organ, patient), both in total.items():
        if both:
            by_organ.setdefault(organ, []).append(shared[organ, patient] / both)
    means = {organ: sum(values) / len(values) for organ, values in by_organ.items()}
    lowest = min(means, key=lambda organ: means[organ])
    return {
        "organs": len(means),
        "dice": sum(means.values()) / len(means),
        "lowest": lowest,
        "lowest_dice": means[lowest],
    }


def _largest_difference(told: str) -> str:
    """What `viscera export` found between the logits of the exported and the own network."""
    found = re.search(r"largest difference (\S+)", told)
    return found[1] if found else "not told"


def _seg(folder: Path) -> dict[str, Any]:
    """Whether the study's SEG is valid, and how many organs it shows."""
    (path,) = folder.rglob("segmentation.dcm")
    seg = pydicom.dcmread(path, stop_before_pixels=True)
    # with one segment alone, the groups that all frames share name it
    groups = [*seg.SharedFunctionalGroupsSequence, *seg.PerFrameFunctionalGroupsSequence]
    shown = {
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for group in groups
        if "SegmentIdentificationSequence" in group
    }
    return {"seg": _seg_fault(path) or "valid", "found": len(shown)}


def _seg_fault(path: Path) -> str:
    """The first error of dciodvfy, or that it is absent."""
    if shutil.which("dciodvfy") is None:
        return "dciodvfy is absent"
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    return errors[0] if errors else ""


def _passed(row: dict[str, Any]) -> bool:
    return bool(row["dice"] > GOAL and row["seg"] == "valid")


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [
        "| {model} | {organs} | {steps} | {minutes:.1f} | {processor:.1f} | {dice:.3f} "
        "| {lowest_dice:.3f} ({lowest}) | {export} | {seg} | {found} |".format(**row)
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
