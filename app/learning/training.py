"""`viscera train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from app.learning.access import data_access, read_recipe
from models.bundle import Bundle
from models.bundle_folders import find_bundle
from models.precision import choose_device
from models.training.first_run import FIRST
from models.training.pace import Progress
from models.training.parallel import first_process
from models.training.recipe_run import run_recipe
from models.training.run_folder import CHECKPOINT
from models.variants import make_variant

#: Steps between two plain lines.
TELL_EVERY = 25


def run_training(parsed: argparse.Namespace) -> int:
    """Train a copy of a bundle in `--run`, going on from its checkpoint where there is one."""
    # processes that train together each make the variant for themselves
    with TemporaryDirectory(prefix="viscera-") as scratch:
        original = find_bundle(parsed.model, parsed.models)
        bundle = _varied(original, parsed.variant, Path(scratch))
        recipe = read_recipe(parsed, bundle)
        access = data_access(recipe, parsed, parsed.cache or parsed.run / "cache")
        try:
            trained = run_recipe(
                recipe,
                access,
                parsed.run,
                device=choose_device(parsed.device),
                on_progress=make_teller(parsed.quiet),
                beside=original.folder.parent,  # teachers do not lie beside what is made here
            )
        except KeyboardInterrupt:
            begun = any((run / CHECKPOINT).is_file() for run in (parsed.run, parsed.run / FIRST))
            if first_process() and begun:
                print(f"\nsaved in {parsed.run}; the same command goes on", file=sys.stderr)
            raise
    if first_process() and not parsed.quiet:
        print(_summary(trained))
    return 0


def _summary(trained: Bundle) -> str:
    notes = trained.metadata["trained_on"]
    count = len(notes["cases"])
    return (
        f"trained on {count} case{'s' * (count != 1)}: {trained.folder}, sha256 {trained.sha256}\n"
        f"best {notes['best_by']} {notes['best_value']:.4f} in epoch {notes['best_epoch']} of "
        f"{notes['epochs']}"
    )


def _varied(bundle: Bundle, variants: Sequence[str], folder: Path) -> Bundle:
    """The bundle, or its variant, which is written to a folder under a name of its own."""
    if not variants:
        return bundle
    return make_variant(bundle, variants, folder / "_".join([bundle.name, *variants]))


def make_teller(quiet: bool) -> Callable[[Progress], None] | None:
    """Progress on standard error: a bar on a terminal, plain lines otherwise."""
    if quiet:
        return None
    return _Bar() if sys.stderr.isatty() else _tell


def _tell(progress: Progress) -> None:
    if progress.step % TELL_EVERY == 0 or progress.done_share >= 1:
        print(
            f"{progress.stage}  epoch {progress.epoch}  step {progress.step}  "
            f"loss {progress.loss:.3f}  {100 * progress.done_share:.1f} %  "
            f"{_duration(progress.remaining_s)} left",
            file=sys.stderr,
            flush=True,
        )


class _Bar:
    """One bar a stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __call__(self, progress: Progress) -> None:
        if self._stage != progress.stage:
            self._close()
            self._stage = progress.stage
            self._bar = tqdm(
                total=100,
                file=sys.stderr,
                desc=progress.stage,
                bar_format="{desc} {bar} {n:5.1f} %  {elapsed}<{remaining}{postfix}",
            )
        self._bar.n = 100 * progress.done_share
        self._bar.set_postfix_str(f"epoch {progress.epoch} loss {progress.loss:.3f}")
        if progress.done_share >= 1:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
