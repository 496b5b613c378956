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
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data.miniature import make_btcv, make_flare22, make_msd, make_png
from models.phantom import phantom_case
from operators.ct_series import SeriesIdentity, write_ct_series

#: Dice on training cases that shows that a recipe learns.
GOAL = 0.9


@dataclass(frozen=True)
class Recipe:
    """A bundle and the function that makes its miniature data set."""

    model: str
    make: Callable[[Path], Path]


RECIPES = (
    Recipe("unetr_btcv", lambda folder: make_btcv(folder, 4)),
    Recipe("vnet_flare22", lambda folder: make_flare22(folder, 4)),
    Recipe("vnet_four_organs", lambda folder: make_flare22(folder, 4)),
    Recipe("unet_liver_msd", lambda folder: make_msd(folder, "Task03_Liver", 4)),
    Recipe("mobilenetv3_rsna", lambda folder: make_png(folder, 4)),
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
    return 0 if rows and all(row["passed"] for row in rows) else 1


def _write_study(folder: Path) -> None:
    """A phantom that no recipe learns from, as a DICOM series."""
    shutil.rmtree(folder, ignore_errors=True)
    phantom = phantom_case(77, spacing_mm=4.0)
    write_ct_series(phantom.volume, folder, SeriesIdentity(seed_text="recipes"))


def _try(recipe: Recipe, folder: Path, study: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    data = recipe.make(folder / "data")
    bundle = folder / "run" / f"{recipe.model}_miniature"
    _viscera("data", "check", data, "-o", folder / "check")
    begun = time.monotonic()
    _viscera(
        "train", "--model", recipe.model, "--variant", "miniature", "--data", data,
        "--run", folder / "run",
    )  # fmt: skip
    minutes = (time.monotonic() - begun) / 60
    _viscera(
        "evaluate", "-m", bundle, "--data", data, "--part", "training",
        "-o", folder / "report", "--scenes", 1,
    )  # fmt: skip
    _viscera("export", "-m", bundle, "--format", "monai", "-o", folder / "export")
    _viscera("segment", study, "-o", folder / "segmented", "--bundle", folder / "export", "-q")
    row = _figures(recipe.model, folder, bundle, minutes)
    print(_table([row]), flush=True)
    return row


def _viscera(*arguments: object) -> None:
    """Run the installed command; its failure is ours."""
    command = [str(Path(sys.executable).with_name("viscera")), *map(str, arguments)]
    print("$ viscera " + " ".join(command[1:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"recipes: expected exit code 0, found {done.returncode}: {' '.join(command)}")


def _figures(model: str, folder: Path, bundle: Path, minutes: float) -> dict[str, Any]:
    evaluation = json.loads((folder / "report" / "evaluation.json").read_text())
    dice: dict[str, list[float]] = {}
    for case in evaluation["cases"]:
        for organ, measures in case["organs"].items():
            if measures["dice"] is not None:
                dice.setdefault(organ, []).append(measures["dice"])
    means = {organ: sum(values) / len(values) for organ, values in dice.items()}
    mean = sum(means.values()) / len(means)
    worst = min(means, key=lambda organ: means[organ])
    notes = json.loads((bundle / "configs" / "metadata.json").read_text())["trained_on"]
    (seg,) = (folder / "segmented").rglob("segmentation.dcm")
    fault = _seg_fault(seg)
    return {
        "model": model,
        "organs": len(means),
        "steps": notes["steps"],
        "minutes": f"{minutes:.1f}",
        "dice": f"{mean:.3f}",
        "lowest": f"{means[worst]:.3f} ({worst})",
        "seg": fault or "valid",
        "passed": mean > GOAL and not fault,
    }


def _seg_fault(seg: Path) -> str:
    """The first error of dciodvfy, or that it is absent."""
    if shutil.which("dciodvfy") is None:
        return "dciodvfy is absent"
    done = subprocess.run(["dciodvfy", str(seg)], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    return errors[0] if errors else ""


def _table(rows: list[dict[str, Any]]) -> str:
    head = "| recipe | organs | steps | minutes | Dice, cases learnt from | lowest | SEG |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    lines += [
        "| {model} | {organs} | {steps} | {minutes} | {dice} | {lowest} | {seg} |".format(**row)
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
