"""The parsers of `viscera models|train|evaluate|export|data`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_commands(commands: Commands) -> None:
    """Add the commands; what they need is imported when one of them runs."""
    _add_models(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_data(commands)
    _add_import(commands)
    from app.export import add_command

    add_command(commands)


def _add_models(commands: Commands) -> None:
    models = commands.add_parser("models", help="list the models and their organs")
    models.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    models.add_argument("--json", action="store_true", help="print JSON instead of text")
    models.add_argument("-v", "--verbose", action="store_true", help=argparse.SUPPRESS)
    models.set_defaults(command=_models)


def _add_train(commands: Commands) -> None:
    train = commands.add_parser("train", help="train a model by its recipe")
    _common(train)
    # short too: torchrun takes --run for an abbreviation of its own --run-path
    train.add_argument(
        "-o", "--run", type=Path, required=True, help="folder of checkpoints and result"
    )
    train.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME",
        help="another form of the model, as `viscera models` lists them",
    )
    _length(train)
    train.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    train.set_defaults(command=_train)


def _add_evaluate(commands: Commands) -> None:
    evaluate = commands.add_parser("evaluate", help="measure a model on labelled cases")
    _common(evaluate)
    evaluate.add_argument("-o", "--output", type=Path, help="folder of the report (default: none)")
    evaluate.add_argument(
        "--part",
        choices=("auto", "training", "validation", "all"),
        default="auto",
        help="which cases (default: those that training leaves out, where there are any)",
    )
    evaluate.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CASE|PATIENT",
        help="leave out all others; may be repeated",
    )
    evaluate.add_argument(
        "--nsd-tolerance-mm",
        type=float,
        default=2.0,
        metavar="MM",
        help="distance at which surfaces still agree (default 2)",
    )
    evaluate.add_argument(
        "--scenes", type=int, default=2, metavar="N", help="worst cases rendered in 3D (default 2)"
    )
    evaluate.add_argument("--folds", type=int, help="train and test leaving patients out")
    evaluate.add_argument("--run", type=Path, help="folder of the folds' checkpoints")
    evaluate.add_argument(
        "--teachers",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="of other folds: each fold's teachers and initial weights; may be repeated",
    )
    _length(evaluate)
    evaluate.set_defaults(command=_evaluate)


def _add_data(commands: Commands) -> None:
    data = commands.add_parser("data", help="look at a labelled data set")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="summary, problems and pictures of a data set")
    check.add_argument("folder", type=Path, metavar="FOLDER")
    check.add_argument("--layout", help="in place of what the folder looks like")
    check.add_argument("--patient-pattern", metavar="REGEX", help="patient in a case's name")
    check.add_argument("--model", metavar="NAME", help="compare with the recipe of this model")
    check.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    check.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help='change the recipe, such as data.shades={"0": 0, "255": 1}',
    )
    check.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder of the pictures")
    check.add_argument("-v", "--verbose", action="store_true", help="print what is being done")
    check.set_defaults(command=_data_check)


def _add_import(commands: Commands) -> None:
    parser = commands.add_parser("import", help="give a model the weights of a checkpoint")
    parser.add_argument("weights", type=Path, metavar="FILE", help=".safetensors, .pt or .pth")
    parser.add_argument("--model", required=True, help="name of the bundle whose network it is")
    parser.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    parser.add_argument("-o", "--output", type=Path, required=True, help="gets the bundle")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")
    parser.set_defaults(command=_import)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="name of the bundle (default: the one there is)")
    parser.add_argument("-m", "--models", type=Path, help="folder of bundles, or one bundle")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--layout", help="of the data set, in place of the recipe's")
    parser.add_argument("--config", type=Path, help="instead of the bundle's train.json")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe, such as optimiser.learning_rate=0.001",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="CASE|PATIENT",
        help="leave out a case, or all of a patient; may be repeated",
    )
    parser.add_argument("--cache", type=Path, help="folder of prepared cases (default: the run's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, gpu or gpu:N")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is being done")


def _length(parser: argparse.ArgumentParser) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, help="length of each stage (default: the recipe's)")
    length.add_argument("--steps", type=int, help="length in steps of the optimiser")
    length.add_argument("--minutes", type=float, help="length in minutes of training")


def _models(parsed: argparse.Namespace) -> int:
    from app.learning.models_table import run_models

    return run_models(parsed.models, as_json=parsed.json)


def _train(parsed: argparse.Namespace) -> int:
    from app.learning.training import run_training

    return run_training(parsed)


def _evaluate(parsed: argparse.Namespace) -> int:
    from app.learning.evaluation import run_evaluation

    return run_evaluation(parsed)


def _import(parsed: argparse.Namespace) -> int:
    from app.learning.importing import run_import

    return run_import(parsed)


def _data_check(parsed: argparse.Namespace) -> int:
    from app.data_check import run_data_check

    return run_data_check(parsed)
