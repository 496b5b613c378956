"""The options of the learning commands."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from app.learning.commands import add_commands


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="viscera")
    add_commands(parser.add_subparsers(required=True))
    return parser


def parse(parser: argparse.ArgumentParser, line: str) -> argparse.Namespace:
    return parser.parse_args(line.split())


def test_a_training_has_the_options_of_its_recipe(parser: argparse.ArgumentParser) -> None:
    parsed = parse(
        parser,
        "train --model m --data d --run r --variant a --variant b --set x=1 --set y.z=2 "
        "--exclude p --exclude q --epochs 3",
    )
    assert (parsed.model, parsed.data, parsed.run) == ("m", Path("d"), Path("r"))
    assert (parsed.variant, parsed.set) == (["a", "b"], ["x=1", "y.z=2"])
    assert (parsed.exclude, parsed.epochs, parsed.steps) == (["p", "q"], 3, None)
    assert (parsed.device, parsed.cache, parsed.quiet) == ("auto", None, False)


def test_the_folder_of_a_run_has_a_name_that_torchrun_lets_pass(
    parser: argparse.ArgumentParser,
) -> None:
    """`torchrun viscera train --run r` is "ambiguous: --run could match --run-path"."""
    assert parse(parser, "train --data d -o r").run == Path("r")


def test_an_evaluation_takes_two_millimetres_and_two_scenes(
    parser: argparse.ArgumentParser,
) -> None:
    parsed = parse(parser, "evaluate --data d")
    assert (parsed.nsd_tolerance_mm, parsed.scenes, parsed.part) == (2.0, 2, "auto")
    assert (parsed.output, parsed.folds, parsed.only) == (None, None, [])


def test_a_data_set_is_checked_for_a_model(parser: argparse.ArgumentParser) -> None:
    parsed = parse(parser, "data check d")
    assert (parsed.folder, parsed.model, parsed.models, parsed.set) == (Path("d"), None, None, [])
    parsed = parse(parser, "data check d --model n -m b --set data.layout=png --set seed=1")
    assert (parsed.model, parsed.models) == ("n", Path("b"))
    assert parsed.set == ["data.layout=png", "seed=1"]


@pytest.mark.parametrize(
    "line",
    [
        "train --data d",
        "train --run r",
        "train --data d --run r --epochs 2 --steps 3",
        "train --data d --run r --epochs many",
        "evaluate --data d --part test",
        "evaluate",
        "data",
        "data check",
        "export --format keras -o x",
    ],
)
def test_a_line_that_cannot_be_meant_ends_with_the_usage(
    line: str, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(parser, line)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: viscera {line.split()[0]}")


@pytest.mark.parametrize("command", ["models", "train", "evaluate", "data", "data check", "export"])
def test_every_command_explains_itself(
    command: str, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([*command.split(), "--help"])
    assert ended.value.code == 0
    assert f"usage: viscera {command}" in capsys.readouterr().out
