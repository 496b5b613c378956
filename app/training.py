"""`viscera train` and `viscera evaluate`."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from models.bundle import Bundle, find_bundle
from models.errors import TrainingError
from models.geometry import Volume
from models.phantom import phantom_case
from models.precision import choose_device
from models.segmenter import Segmenter
from models.training.augmentation import Augmentation
from models.training.cases import Case, folds
from models.training.evaluation import CaseResult, evaluate, markdown_table
from models.training.loop import TrainingPlan, train
from models.training.sources import check_sources, read_sources
from operators.loading import scan
from operators.rules import default_rules
from operators.selection import select_series
from operators.volumes import build_volume

log = logging.getLogger(__name__)

#: Name of the checkpoint in a run's folder.
CHECKPOINT = "checkpoint.pt"
#: Steps between two printed lines.
TELL_EVERY = 25


def run_training(parsed: argparse.Namespace) -> int:
    """Train a copy of a bundle in `--run`, going on from its checkpoint where there is one."""
    bundle = find_bundle(parsed.model, parsed.models)
    config = read_config(bundle, parsed.config)
    cases = [
        case
        for case in read_cases(bundle, config, parsed.data)
        if not {case.name, case.patient} & set(parsed.exclude)
    ]
    trained = _train_bundle(bundle, config, cases, parsed, parsed.run)
    print(f"trained on {len(cases)} cases: {trained.folder}, sha256 {trained.sha256}")
    return 0


def run_evaluation(parsed: argparse.Namespace) -> int:
    """Print Dice per case and organ, of the bundle or, with `--folds`, leaving patients out."""
    bundle = find_bundle(parsed.model, parsed.models)
    config = read_config(bundle, parsed.config)
    cases = read_cases(bundle, config, parsed.data)
    wanted = [c for c in cases if not parsed.only or {c.name, c.patient} & set(parsed.only)]
    if not wanted:
        raise TrainingError("expected at least one case to evaluate, found none")
    if parsed.folds:
        results = _leave_patients_out(bundle, config, cases, parsed)  # all of them train
        results = [r for r in results if r.name in {case.name for case in wanted}]
    else:
        results = evaluate(Segmenter(bundle, parsed.device), wanted)
    print(markdown_table(results, bundle))
    return 0


def read_config(bundle: Bundle, path: Path | None) -> dict[str, Any]:
    """Read `training.json` of a bundle, or the file named instead; raises TrainingError."""
    path = path or bundle.folder / "configs" / "training.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise TrainingError(f"cannot read the training configuration {path}: {exc}") from exc
    return config


def read_cases(bundle: Bundle, config: dict[str, Any], data: Path) -> list[Case]:
    """Read the real cases that a configuration names."""
    with configuration_errors():
        sources = config["sources"]
        check_sources(sources)
    return read_sources(sources, data, bundle.class_of, read_dicom_folder)


def read_dicom_folder(folder: Path) -> Volume:
    """The volume that the default rules choose in a folder."""
    (chosen, *_) = select_series(scan(folder).studies, default_rules()).chosen
    return build_volume(chosen.candidate).volume


def make_phantoms(bundle: Bundle, config: dict[str, Any]) -> list[Case]:
    """Generate the synthetic cases of a configuration, each a person of its own."""
    wanted = config.get("phantoms")
    if not wanted:
        return []
    with configuration_errors():
        labels = {organ: int(value) for organ, value in wanted["labels"].items()}
        seeds = range(wanted["first_seed"], wanted["first_seed"] + wanted["count"])
    unlabelled = [n for organ, n in bundle.class_of.items() if organ not in labels]
    classes = {v: bundle.class_of[organ] for organ, v in labels.items() if organ in bundle.class_of}
    cases = []
    for seed in seeds:
        phantom = phantom_case(seed)
        cases.append(
            Case.from_volume(
                phantom.volume,
                phantom.label_map,
                name=f"phantom-{seed}",
                patient=f"phantom-{seed}",
                classes=classes,
                unlabelled=unlabelled,
            )
        )
    return cases


def make_plan(bundle: Bundle, config: dict[str, Any], minutes: float | None) -> TrainingPlan:
    """The plan of a configuration, for another length of run where one is given."""
    kept = {
        name: config[name]
        for name in ("batch", "learning_rate", "weight_decay", "synthetic_share", "seed")
        if name in config
    }
    with configuration_errors():
        depth, height, width = config.get("patch", bundle.sliding_window.size)
        return TrainingPlan(
            patch=(int(depth), int(height), int(width)),
            spacing_mm=bundle.preprocessing.spacing_mm,
            window=bundle.preprocessing.window,
            minutes=float(config["minutes"] if minutes is None else minutes),
            augmentation=Augmentation(**config.get("augmentation", {})),
            **kept,
        )


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Tell a missing or misspelt setting as such; for code that only reads settings."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as exc:
        raise TrainingError(f"the training configuration is incomplete or wrong: {exc!r}") from exc


def _leave_patients_out(
    bundle: Bundle, config: dict[str, Any], cases: Sequence[Case], parsed: argparse.Namespace
) -> list[CaseResult]:
    """Train once per fold without its patients and evaluate on them alone."""
    if parsed.run is None:
        raise TrainingError("--folds needs --run FOLDER for the folds' checkpoints")
    results: list[CaseResult] = []
    for number, patients in enumerate(folds(cases, parsed.folds)):
        held_out = [case for case in cases if case.patient in patients]
        others = [case for case in cases if case.patient not in patients]
        log.info("fold %d holds out %s", number, ", ".join(patients))
        trained = _train_bundle(bundle, config, others, parsed, parsed.run / f"fold{number}")
        results += evaluate(Segmenter(trained, parsed.device), held_out)
    return sorted(results, key=lambda result: result.name)


def _train_bundle(
    bundle: Bundle,
    config: dict[str, Any],
    cases: Sequence[Case],
    parsed: argparse.Namespace,
    run: Path,
) -> Bundle:
    """Train a copy of a bundle below `run` and return it."""
    plan = make_plan(bundle, config, parsed.minutes)
    copy = run / bundle.name
    shutil.copytree(bundle.folder, copy, dirs_exist_ok=True)
    torch.manual_seed(plan.seed)
    losses: list[float] = []

    def tell(step: int, loss: float, done: float) -> None:
        losses.append(loss)
        if step % TELL_EVERY == 0:
            recent = sum(losses[-TELL_EVERY:]) / len(losses[-TELL_EVERY:])
            print(
                f"step {step}  loss {recent:.3f}  {100 * done:.1f} %", file=sys.stderr, flush=True
            )

    average = train(
        bundle.build_network(),
        cases,
        plan,
        run / CHECKPOINT,
        synthetic=make_phantoms(bundle, config),
        device=choose_device(parsed.device),
        on_step=tell,
    )
    trained_on = {
        "cases": sorted(case.name for case in cases),
        "phantoms": config.get("phantoms", {}).get("count", 0),
        "minutes": plan.minutes,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return Bundle.read(copy).save_weights(average, {"trained_on": trained_on})
