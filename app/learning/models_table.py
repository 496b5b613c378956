"""`viscera models`: which models there are, what they know and whether they are trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from models.bundle_folders import DEFAULT_MODEL, SHIPPED, bundles_in
from models.variants import variants_of


def run_models(root: Path | None, *, as_json: bool) -> int:
    """Print the bundles in a folder, or those that come with the package."""
    bundles = bundles_in(
        root or SHIPPED, lambda fault: print(f"left out: {fault}", file=sys.stderr)
    )
    entries = [entry_of(bundle) for bundle in bundles]
    print(json.dumps(entries, indent=2, ensure_ascii=False) if as_json else table(entries))
    return 0


def entry_of(bundle: Bundle) -> dict[str, Any]:
    """What there is to say of one bundle."""
    weights = bundle.weights
    trained = weights.is_file()
    return {
        "name": bundle.name,
        "version": bundle.version,
        "title": str(bundle.metadata.get("name", "")),
        "default": bundle.name == DEFAULT_MODEL and bundle.folder.parent == SHIPPED,
        "trained": trained,
        "weights_mb": round(weights.stat().st_size / 1e6, 1) if trained else None,
        "sha256": bundle.sha256,
        "network": str(bundle.network_definition["_target_"]).rpartition(".")[2],
        "organs": [segment.name for segment in bundle.segments],
        "variants": variants_of(bundle.folder),
        "folder": str(bundle.folder),
    }


def table(entries: Sequence[dict[str, Any]]) -> str:
    """The entries as text, each a line of facts and one of organs."""
    width = max((len(entry["name"]) for entry in entries), default=0)
    lines: list[str] = []
    for entry in entries:
        weights = f"{entry['weights_mb']:.1f} MB" if entry["trained"] else "to be trained"
        default = ", the default" if entry["default"] else ""
        lines.append(f"{entry['name']:<{width}}  {entry['network']}, {weights}{default}")
        lines.append(f"{'':<{width}}  {entry['title']}")
        lines.append(f"{'':<{width}}  {', '.join(entry['organs'])}")
        lines += [
            f"{'':<{width}}  variant {name}: {description}"
            for name, description in entry["variants"].items()
        ]
    return "\n".join(lines)
