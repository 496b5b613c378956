"""Values of a MONAI configuration without running it.

MONAI's own reader evaluates every string that begins with `$` as Python. Here references to other
values are followed, and literals, choices between them and texts put together are read; anything
else is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from models.errors import BundleError

#: `@network_def::out_channels`, of old `@network_def#out_channels`.
_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
#: References that lead to references; more is a circle.
_DEEPEST = 20


class References:
    """The values of one configuration.

    Parameters
    ----------
    config
        Content of `inference.json`.
    name
        Of the bundle, for errors.
    """

    def __init__(self, config: Mapping[str, Any], name: str):
        self.config = config
        self.name = name

    def value(self, written: Any, key: str, depth: int = 0) -> Any:
        """What a written value stands for.

        Parameters
        ----------
        written
            Text, number, list or mapping as the file has it.
        key
            Where it was found, for errors.

        Raises
        ------
        BundleError
            If it can only be known by running code, or refers to nothing.
        """
        if depth > _DEEPEST:
            raise BundleError(f"{self.name}: {key}: expected an end of its references, found none")
        if isinstance(written, list):
            return [self.value(each, key, depth + 1) for each in written]
        if isinstance(written, dict):
            return {name: self.value(each, key, depth + 1) for name, each in written.items()}
        if not isinstance(written, str):
            return written
        if match := _REFERENCE.fullmatch(written.replace("%", "@", 1)):
            return self.value(self._look_up(match[1], key), key, depth + 1)
        return self._literal(written, key, depth) if written[:1] == "$" else written

    def _look_up(self, path: str, key: str) -> Any:
        found: Any = self.config
        for part in re.split("::|#", path):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, ValueError, TypeError) as exc:
                raise BundleError(
                    f"{self.name}: {key}: expected something at {path!r}, found nothing"
                ) from exc
        return found

    def _literal(self, written: str, key: str, depth: int) -> Any:
        def substitute(match: re.Match[str]) -> str:
            return repr(self.value(self._look_up(match[1], key), key, depth + 1))

        try:
            tree = ast.parse(_REFERENCE.sub(substitute, written[1:]).strip(), mode="eval")
            return _read(tree.body)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as exc:
            raise BundleError(
                f"{self.name}: {key}: expected a value or a reference to one, found {written!r}; "
                "a configuration is not run as code"
            ) from exc


def _read(node: ast.expr) -> Any:
    """A literal, `A if B else C` or `text + text`; raises ValueError for what would be run."""
    if isinstance(node, ast.IfExp):
        return _read(node.body if _read(node.test) else node.orelse)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [_read(node.left), _read(node.right)]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
    return ast.literal_eval(node)
