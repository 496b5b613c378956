"""Reads the node's settings from a file and the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import SettingsError
from app.node.job_settings import JobSettings
from app.node.settings import NodeSettings, with_names
from app.node.settings_problems import Place, inline_secret, problems_of, text_of_place
from operators.errors import RulesError
from operators.rules_sdk import nearest
from operators.rules_text import check_depth, read_document

_M = TypeVar("_M", bound=BaseModel)

#: How the names of variables begin that change settings.
PREFIX = "VISCERA_NODE__"
_SECTION = "node"
_SHOWN = 10
#: Keys below which names are free and keep their case.
_FREE_NAMES: tuple[Place, ...] = (("workflows",), ("destinations",), ("sources",))
#: Paths that have to be there when the node starts, besides those whose key ends in `_file`.
_NEEDED = ("rules", "models")


def read_settings(path: Path, environ: Mapping[str, str] | None = None) -> NodeSettings:
    """Read the settings of the node.

    Parameters
    ----------
    path
        YAML or JSON file: the settings, or a document such as `app.yaml` with them below `node`.
        Paths in it that are not absolute begin at its folder.
    environ
        Environment variables, `os.environ` by default; those that begin with `VISCERA_NODE__`
        change single values. A value is read as JSON where it is JSON, and is text otherwise.

    Raises
    ------
    SettingsError
        Naming every place that is wrong, and the nearest key for an unknown one.
    """
    document = _section_of(path)
    sources = _override(document, os.environ if environ is None else environ)
    secrets = [place for place, key, value in _leaves(document) if inline_secret(key, value)]
    if secrets:
        raise _error(path, [(place, _ABOUT_SECRETS) for place in secrets], sources)
    try:
        # through JSON, as only there a strict model takes a list for a tuple and text for a path
        settings = NodeSettings.model_validate_json(json.dumps(with_names(document)), strict=True)
    except ValidationError as exc:
        raise _error(path, problems_of(exc, NodeSettings, document), sources) from exc
    settings = _anchored_model(settings, path.absolute().parent)
    missing = [(place, _unreadable(file)) for place, file in _needed_files(settings)]
    if unreadable := [(place, problem) for place, problem in missing if problem]:
        raise _error(path, unreadable, sources)
    return settings


def read_secret(path: Path) -> str:
    """The text of a secret's file without the line's end; raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8").strip("\r\n")
    except OSError as exc:
        raise SettingsError(f"cannot read the secret {path}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"the secret {path} is not text in UTF-8") from exc
    if not text:
        raise SettingsError(f"the secret {path} is empty")
    return text


def secret_job_settings(settings: NodeSettings) -> JobSettings:
    """Those of the job engine, with the database's password from its file; raises SettingsError."""
    password = settings.database_password_file
    return settings.job_settings("" if password is None else read_secret(password))


_ABOUT_SECRETS = (
    "holds a secret: put the secret into a file, and the file's name here, as in "
    "password_file: /run/secrets/name"
)


def _section_of(path: Path) -> dict[str, Any]:
    try:
        document = read_document(path.read_text(encoding="utf-8"))
        check_depth(document)
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"cannot read the settings {path}: {exc}") from exc
    except RulesError as exc:
        told = str(exc).removeprefix("the rules, ").replace("the rules", "the settings", 1)
        raise SettingsError(f"{path}: {told}") from exc
    if isinstance(document, dict) and _SECTION in document:
        document = document[_SECTION]
    elif isinstance(document, dict) and "application" in document:
        hint = nearest(_SECTION, document)
        raise SettingsError(f"{path}: expected a section {_SECTION!r}, found none{hint}")
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: expected a mapping of settings such as state: FOLDER")
    return document


def _override(document: dict[str, Any], environ: Mapping[str, str]) -> dict[Place, str]:
    """Put values of the environment into the document; from their places to the variables."""
    sources: dict[Place, str] = {}
    for variable in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        words = variable[len(PREFIX) :].split("__")
        if not all(words):
            raise SettingsError(f"{variable}: expected names of keys between two underscores")
        place: Place = ()
        parent = document
        for n, word in enumerate(words):
            key = _key_meant(word, parent, place, variable)
            place = (*place, key)
            if n + 1 == len(words):
                parent[key] = _value(environ[variable], variable)
                break
            inner = parent.setdefault(key, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"{variable}: {text_of_place(place)} holds no keys")
            parent = inner
        sources[place] = variable
    return sources


def _key_meant(word: str, parent: Mapping[str, Any], place: Place, variable: str) -> str:
    """The key that is there, whatever its case; a new one in lower case but for free names."""
    alike = [key for key in parent if key.casefold() == word.casefold()]
    if word in alike:
        return word
    if len(alike) > 1:
        raise SettingsError(f"{variable}: {' and '.join(alike)} may be meant")
    if alike:
        return alike[0]
    return word if place in _FREE_NAMES else word.lower()


def _value(text: str, variable: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return read_document(text)
        except RulesError as exc:
            told = str(exc).removeprefix("the rules, ").replace("the rules", "the value", 1)
            raise SettingsError(f"{variable}: {told}") from exc
    try:
        return json.loads(text, parse_constant=lambda _: text)
    except ValueError:
        return text


def _leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, str, Any]]:
    """Every value that holds no others, with its place and the nearest key above it."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from _leaves(inner, (*place, key))
        else:
            names = [step for step in (*place, key) if isinstance(step, str)]
            yield (*place, key), names[-1] if names else "", inner


def _error(
    path: Path, problems: list[tuple[Place, str]], sources: Mapping[Place, str]
) -> SettingsError:
    lines = []
    for place, problem in problems[:_SHOWN]:
        variable = next(
            (sources[place[:n]] for n in range(len(place), 0, -1) if place[:n] in sources), None
        )
        origin = str(path) if variable is None else f"environment variable {variable}"
        lines.append(f"{origin}: {text_of_place((_SECTION, *place))}: {problem}")
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN} more")
    return SettingsError("\n".join(lines))


def _anchored_model(settings: _M, folder: Path) -> _M:
    """The same settings with every path absolute."""
    given = settings.model_fields_set
    changed = {name: _anchored(value, folder) for name, value in settings if name in given}
    return settings.model_copy(update=changed)


def _anchored(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, BaseModel):
        return _anchored_model(value, folder)
    if isinstance(value, dict):
        return {key: _anchored(inner, folder) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_anchored(inner, folder) for inner in value)
    return value


def _needed_files(value: Any, place: Place = ()) -> Iterator[tuple[Place, Path]]:
    items: Any = ()
    if isinstance(value, BaseModel):
        items = value
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, tuple):
        items = enumerate(value)
    for key, inner in items:
        if isinstance(inner, Path):
            if key in _NEEDED or str(key).endswith("_file"):
                yield (*place, key), inner
        elif not isinstance(inner, str):
            yield from _needed_files(inner, (*place, key))


def _unreadable(path: Path) -> str:
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            path.open("rb").close()
    except OSError as exc:
        return f"cannot read {path}: {exc.strerror or exc}"
    return ""
