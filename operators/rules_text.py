"""The text of selection rules, in YAML or JSON, as plain data.

YAML 1.1, which PyYAML reads, turns some plain words into something else, silently: `NO` into
false, `010` into 8, `1_000` into 1000, `12:30` into 750, `>5` into an empty text. Only what every
reader of YAML and JSON takes for the same is read here; anything else is an error that names line
and column. The same holds for a key that comes twice, in JSON too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from operators.errors import RulesError

#: Lists and mappings within each other, at most.
DEEPEST_DOCUMENT = 60

_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_YAML = "tag:yaml.org,2002:"
_QUOTE = "put it in quotes"
#: What a plain word may stand for besides text; numbers are those of JSON.
_WORDS = {"bool": ("true", "false"), "null": ("", "~", "null")}


def read_document(text: str) -> Any:
    """Parse YAML or JSON.

    Parameters
    ----------
    text
        A document; one that begins with `{` is tried as JSON first.

    Returns
    -------
    Any
        Dictionaries with text as keys, lists, text, numbers, booleans and None.

    Raises
    ------
    RulesError
        If it is neither, or ambiguous; names the place.
    """
    text = text.removeprefix("\ufeff")
    try:
        if not text.lstrip().startswith("{"):
            return _read_yaml(text)
        try:
            return json.loads(text, object_pairs_hook=_without_repeats)
        except json.JSONDecodeError as exc:
            return _read_yaml(text, f"the rules are not JSON: {exc}; nor YAML")
    except RecursionError as exc:
        raise RulesError("the rules are nested too deeply") from exc
    except (ValueError, OverflowError) as exc:  # numbers and escapes out of all bounds
        raise RulesError(f"the rules cannot be read: {exc}") from exc


def check_depth(document: Any) -> None:
    """Refuse what is nested deeper than any rules can be; raises RulesError."""
    level = [document]
    for _ in range(DEEPEST_DOCUMENT):
        level = [item for item in level if isinstance(item, Mapping | list)]
        if not level:
            return
        inner = [item.values() if isinstance(item, Mapping) else item for item in level]
        level = [item for items in inner for item in items]
    raise RulesError("the rules are nested too deeply")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RulesError(f"the key {key!r} comes twice in one object")
        found[key] = value
    return found


def _read_yaml(text: str, failure: str = "the rules are not YAML") -> Any:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        raise RulesError(
            f"{failure}: {_place(exc.problem_mark)}: {exc.problem}; text with signs such as "
            "> ! * & ? : , # [ { % @ | has to be in quotes"
        ) from exc
    except yaml.YAMLError as exc:
        raise RulesError(f"{failure}: {exc}") from exc
    return None if root is None else _Reader().value(root)


class _Reader:
    """From YAML nodes to plain data."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        if id(node) in self._seen:  # also what lets a short text grow without bound
            raise _error(node, "anchors and aliases (&, *) are not read: repeat what is meant")
        self._seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_YAML}seq":
            return [self.value(item) for item in node.value]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_YAML}map":
            return self._mapping(node)
        raise _error(node, f"the tag {node.tag!r} is not read: {_QUOTE} if it is text")

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error(key_node, "expected text as a key")
            if key_node.tag != f"{_YAML}str" or key_node.style in (">", "|"):
                raise _error(key_node, f"the key {key_node.value!r} is no text: {_QUOTE}")
            if key_node.value in found:
                raise _error(key_node, f"the key {key_node.value!r} comes twice")
            found[key_node.value] = self.value(value_node)
        return found


def _scalar(node: yaml.ScalarNode) -> Any:
    text, kind = node.value, node.tag.removeprefix(_YAML)
    if node.style in (">", "|"):
        raise _error(node, f"{node.style} begins a block of text: {_QUOTE} if it is a sign")
    is_number = _JSON_NUMBER.fullmatch(text) is not None
    if kind == "str":
        if is_number and node.style is None:  # `1e5` is text to some readers of YAML
            raise _error(node, f"{text} is a number to some readers of YAML: {_QUOTE}, or use 0-9.")
        return text
    if (kind in ("int", "float") and is_number) or text in _WORDS.get(kind, ()):
        return json.loads(text) if text not in _WORDS["null"] else None
    if node.tag.startswith("!"):
        found = node.tag.rstrip(",")
        raise _error(node, f"{found} begins with an exclamation mark: {_QUOTE}")
    raise _error(
        node, f"{text!r} is not text but of type {kind} to YAML: {_QUOTE}, or write it as in JSON"
    )


def _error(node: yaml.Node, problem: str) -> RulesError:
    return RulesError(f"the rules, {_place(node.start_mark)}: {problem}")


def _place(mark: yaml.Mark | None) -> str:
    return "at the end" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
