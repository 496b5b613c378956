"""The command line: `viscera segment|select|demo|train|evaluate`, and the start of a MAP."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.outcomes import EXPECTED_ERRORS, INTERNAL_ERROR, outcome_of, sentence_of
from app.progress import make_progress
from app.run_settings import RunSettings
from operators.holoscan_runtime import prepare
from operators.product import product_version
from operators.slice_stack import LARGEST_GAP_MM

if TYPE_CHECKING:  # loads PyTorch, for which the other commands need not wait
    from app.report import Report

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `viscera`; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return _guarded(parsed.command, parsed)


def main_map(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m app`, as App SDK applications are started; flags beat the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m app", description="Segment a folder of DICOM CT."
    )
    env = os.environ
    # a MAP sets HOLOSCAN_*, so MONAI_* is there only where somebody means it
    source = _path(env, "MONAI_INPUTPATH", "HOLOSCAN_INPUT_PATH")
    output = _path(env, "MONAI_OUTPUTPATH", "HOLOSCAN_OUTPUT_PATH")
    models = _path(env, "MONAI_MODELPATH", "HOLOSCAN_MODEL_PATH")
    parser.add_argument("-i", "--input", type=Path, default=source)
    parser.add_argument("-o", "--output", type=Path, default=output)
    parser.add_argument("-m", "--models", "--model_path", type=Path, default=models)
    parser.add_argument("-w", "--workdir", type=Path, help="accepted; nothing is kept in it")
    parser.add_argument("-l", "--log-level", type=str.upper, choices=_LEVELS)
    _run_options(parser)
    parsed = parser.parse_args(arguments)
    if parsed.input is None or parsed.output is None:
        parser.error("expected -i and -o, or HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH")
    parsed.config = _path(env, "HOLOSCAN_CONFIG_PATH")
    return _guarded(_segment, parsed)


_INPUT = "folder, zip archive, DICOMDIR or DICOM file"
_RULES = "series selection rules: the App SDK's JSON, or YAML such as app.yaml"
_LEVELS = ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL")


def _path(env: os._Environ[str], *names: str) -> Path | None:
    """The first of these variables that is set."""
    return next((Path(env[name]) for name in names if env.get(name)), None)


def _guarded(command: Callable[[argparse.Namespace], int], parsed: argparse.Namespace) -> int:
    """Run a command; whatever ends it becomes a sentence and an exit code."""
    named = getattr(parsed, "log_level", None) or ("INFO" if parsed.verbose else "ERROR")
    logging.basicConfig(
        level=logging.getLevelName(named), format="%(levelname)s %(name)s: %(message)s"
    )
    if not parsed.verbose:  # what is wrong with a peer is told in a sentence of ours
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names need not be text
            stream.reconfigure(errors="backslashreplace")
    try:
        prepare()  # before anything imports MONAI, which imports Holoscan
        return command(parsed)
    except EXPECTED_ERRORS as exc:
        outcome = outcome_of(exc)
        print(f"viscera: {sentence_of(exc)}", file=sys.stderr)
        return outcome.exit_code
    except Exception as exc:
        # where, but not the message: those of other libraries may quote a patient's data
        traceback.print_tb(exc.__traceback__)
        print(f"viscera: {sentence_of(exc)}; please report it", file=sys.stderr)
        return INTERNAL_ERROR.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="viscera",
        description="Segment abdominal organs in CT. Not for clinical use.",
    )
    parser.add_argument("--version", action="version", version=f"viscera {product_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="segment the CT in a folder of DICOM")
    segment.add_argument("input", type=Path, metavar="INPUT", help=_INPUT)
    segment.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    segment.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    segment.add_argument(
        "--bundle",
        dest="models",
        type=Path,
        metavar="FOLDER|FILE",
        help="a model: MONAI bundle, nnU-Net results, or exported TorchScript",
    )
    _run_options(segment)
    segment.set_defaults(command=_segment)

    select = commands.add_parser("select", help="show which series would be segmented, and why")
    select.add_argument("input", type=Path, metavar="INPUT", help=_INPUT)
    _selection_options(select)
    select.add_argument("--json", action="store_true", help="print JSON instead of a table")
    select.add_argument("-v", "--verbose", action="store_true", help="print what is being done")
    select.set_defaults(command=_select)

    demo = commands.add_parser("demo", help="segment a generated patient and compare with truth")
    demo.add_argument("-o", "--output", type=Path, default=Path("out"), metavar="OUT")
    demo.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    demo.add_argument("--seed", type=int, default=1, help="which patient (default 1)")
    _run_options(demo)
    demo.set_defaults(command=_demo)

    _learning_commands(commands)
    _node_commands(commands)
    _package_command(commands)
    return parser


def _learning_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from app.learning.commands import add_commands

    add_commands(commands)


def _node_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from app.node import commands as peers
    from app.node import serving

    serving.add_commands(commands)
    peers.add_commands(commands, serving.configured_peers)


def _package_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from app.package.command import add_command

    add_command(commands)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="name of the bundle (default: the one there is)")
    _selection_options(parser)
    parser.add_argument(
        "--any-anatomy",
        action="store_true",
        help="segment even what shows another part of the body than the model knows",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:N")
    parser.set_defaults(config=None)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")


def _selection_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rules", type=Path, help=_RULES)
    parser.add_argument(
        "--largest-gap-mm",
        type=float,
        default=LARGEST_GAP_MM,
        metavar="MM",
        help=f"widest gap between images that is filled in (default {LARGEST_GAP_MM:g})",
    )


def _segment(parsed: argparse.Namespace) -> int:
    from app.runner import Runner

    runner = Runner(_settings(parsed))
    return _finish(runner.run(parsed.input, parsed.output, make_progress(parsed.quiet)), parsed)


def _select(parsed: argparse.Namespace) -> int:
    from app.runner import read_rules
    from app.selection_table import run_selection

    rules = read_rules(parsed.rules)
    return run_selection(parsed.input, rules, parsed.largest_gap_mm, as_json=parsed.json)


def _demo(parsed: argparse.Namespace) -> int:
    from app.demo import run_demo
    from app.runner import Runner

    progress = make_progress(parsed.quiet)
    runner = Runner(_settings(parsed))
    return _finish(run_demo(runner, parsed.output, parsed.seed, progress), parsed)


def _settings(parsed: argparse.Namespace) -> RunSettings:
    return RunSettings(
        models=parsed.models,
        model=parsed.model,
        rules=parsed.rules,
        config=parsed.config,
        device=parsed.device,
        largest_gap_mm=parsed.largest_gap_mm,
        any_anatomy=parsed.any_anatomy,
    )


def _finish(report: Report, parsed: argparse.Namespace) -> int:
    """Write the report and say how the run went."""
    from app.summary import summarise

    report.write()
    if not parsed.quiet:
        print(summarise(report))
    if report.message:
        print(f"viscera: {report.message}", file=sys.stderr)
    return report.outcome.exit_code
