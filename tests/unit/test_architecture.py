"""The rules of the source tree. Each rule is a function, shown to fail on a bad sample."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
#: From the top down: a package may import those after it.
PACKAGES = ("app", "operators", "models")
MAX_LINES = 400
#: Home folders and other places that exist on one machine only.
PRIVATE_PATH = re.compile(
    r"(?<![\w.~}-])/(?:home/(?!holoscan|viscera)\w|Users/\w|root/|work/|tmp/w/)"
)
TEXT_SUFFIXES = {"", ".py", ".md", ".toml", ".json", ".yaml", ".yml", ".csv", ".txt", ".sh"}
FOLDERS = (*PACKAGES, "benchmarks", "docs", "scripts", "tests", ".ci")


# --- the rules


def imported_modules(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def imports_upwards(package: str, source: str) -> list[str]:
    above = PACKAGES[: PACKAGES.index(package)]
    return [name for name in imported_modules(source) if name.partition(".")[0] in above]


def relative_imports(source: str) -> list[int]:
    nodes = ast.walk(ast.parse(source))
    return [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


def search_path_edits(source: str) -> list[int]:
    """Lines that touch `sys.path`, also through `from sys import path` or `site`."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.module == "sys" and "path" in [alias.name for alias in node.names]:
                lines.append(node.lineno)
        elif isinstance(node, ast.Attribute) and (
            ast.unparse(node) == "sys.path" or node.attr == "addsitedir"
        ):
            lines.append(node.lineno)
    return lines


def taken_names() -> set[str]:
    """Top-level names of the standard library, of what is installed, and our own three."""
    owners = packages_distributions()
    foreign = {name for name, owner in owners.items() if set(owner) != {"viscera"}}
    return foreign | set(sys.stdlib_module_names) | set(PACKAGES)


def clashing_modules(paths: list[PurePosixPath], taken: set[str]) -> list[str]:
    """Modules and sub-packages with a name that is taken; `paths` are relative to the root."""
    return [
        str(path)
        for path in paths
        if any(part.removesuffix(".py") in taken for part in path.parts[1:])
    ]


def wheel_faults(held: set[str], expected: set[str]) -> set[str]:
    """Files that a wheel lacks or should not hold, its own metadata apart."""
    return {name for name in held ^ expected if ".dist-info/" not in name}


def is_too_long(source: str) -> bool:
    return len(source.splitlines()) > MAX_LINES


def private_paths(text: str) -> list[str]:
    return [match.group() for match in PRIVATE_PATH.finditer(text)]


# --- the tree


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[Path]:
    files = [file for file in ROOT.iterdir() if file.is_file()]
    for folder in FOLDERS:
        files += [file for file in (ROOT / folder).rglob("*") if file.is_file()]
    return (file for file in files if file.suffix in TEXT_SUFFIXES)


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_imports_go_one_way_from_app_to_operators_to_models() -> None:
    wrong = {
        name_of(file): found
        for package in PACKAGES
        for file in python_files(package)
        if (found := imports_upwards(package, file.read_text("utf-8")))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "source",
    ["import app.cli", "from operators.seg import write", "def f():\n    from app import x"],
)
def test_an_upward_import_is_found(source: str) -> None:
    assert imports_upwards("models", source)
    assert not imports_upwards("app", source)


def test_imports_are_absolute_and_the_search_path_stays_as_it_is() -> None:
    wrong = {
        name_of(file): found
        for file in python_files(*PACKAGES, "tests", "benchmarks", "scripts")
        if (
            found := relative_imports(source := file.read_text("utf-8")) + search_path_edits(source)
        )
    }
    assert wrong == {}


def test_relative_imports_and_path_edits_are_found() -> None:
    assert relative_imports("from . import x\nfrom ..y import z\nimport ok") == [1, 2]
    source = "import sys\nsys.path.insert(0, '.')\nfrom sys import path\nsite.addsitedir('.')"
    assert sorted(search_path_edits(source)) == [2, 3, 4]
    assert search_path_edits("import os\nos.path.join('a')\nsys.argv") == []


def test_no_module_hides_the_standard_library_or_a_dependency() -> None:
    paths = [PurePosixPath(name_of(file)) for file in python_files(*PACKAGES)]
    assert clashing_modules(paths, taken_names()) == []


@pytest.mark.parametrize(
    "path", ["operators/queue.py", "app/monai/x.py", "models/app.py", "models/torch/__init__.py"]
)
def test_a_module_with_a_taken_name_is_found(path: str) -> None:
    assert clashing_modules([PurePosixPath(path)], taken_names()) == [path]


def test_python_files_are_of_a_readable_length() -> None:
    files = python_files(*PACKAGES, "tests", "benchmarks", "scripts")
    assert [name_of(file) for file in files if is_too_long(file.read_text("utf-8"))] == []


def test_a_file_that_is_too_long_is_found() -> None:
    assert is_too_long("x = 1\n" * 401)
    assert not is_too_long("x = 1\n" * 400)


def test_no_file_names_a_path_of_one_machine() -> None:
    wrong = {
        name_of(file): found
        for file in text_files()
        if (found := private_paths(file.read_text("utf-8", errors="replace")))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "parts", [("root", "x"), ("home", "me", "x"), ("Users", "me"), ("work", "x")]
)
def test_a_private_path_is_found(parts: tuple[str, ...]) -> None:
    assert private_paths("see " + "/".join(("", *parts)))
    assert not private_paths("https://example.org/root/x and /opt/holoscan/app")


# --- the wheel


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What a wheel holds that is built from a copy, for a build leaves files in its folder."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in (*PACKAGES, "tests", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    wheels = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(wheels), str(source)], check=True)
    (wheel,) = wheels.glob("viscera-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def expected_names() -> set[str]:
    """Every module of the three packages and the data they read."""
    data = (
        *(ROOT / "models" / "bundles").rglob("*"),
        *(ROOT / "operators").glob("*.json"),
        *(ROOT / "app").glob("*.yaml"),
        *(ROOT / "app").rglob("*.html"),
    )
    files = (*python_files(*PACKAGES), *(file for file in data if file.is_file()))
    return {name_of(file) for file in files}


def test_the_wheel_holds_the_three_packages_with_their_data_and_nothing_else(
    wheel_names: set[str],
) -> None:
    assert wheel_faults(wheel_names, expected_names()) == set()
    metadata = {name.partition("/")[0] for name in wheel_names} - set(PACKAGES)
    assert len(metadata) == 1
    assert metadata.pop().endswith(".dist-info")


def test_the_wheel_holds_the_weights_and_the_default_rules(wheel_names: set[str]) -> None:
    weights = [name for name in wheel_names if name.endswith(".safetensors")]
    assert weights
    assert all(name.startswith("models/bundles/") for name in weights)
    assert "operators/default_rules.json" in wheel_names


def test_a_stray_or_missing_file_in_the_wheel_is_found() -> None:
    expected = {"app/cli.py", "models/bundles/a/model.safetensors"}
    assert wheel_faults(expected | {"viscera-1.dist-info/RECORD"}, expected) == set()
    assert wheel_faults({*expected, "tests/x.py"}, expected) == {"tests/x.py"}
    assert wheel_faults({"app/cli.py"}, expected) == {"models/bundles/a/model.safetensors"}
