"""What an exported file says about its network."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from models.bundle import Bundle

#: Parts of a bundle's inference that describe; others only serve MONAI's runner.
_PARTS = ("network_def", "dimensions", "preprocessing", "sliding_window", "postprocessing")


def describe(bundle: Bundle) -> dict[str, Any]:
    """Name, version, sha256 of the weights, and all that is needed to use the network."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "weights_sha256": bundle.sha256,
        "metadata": dict(bundle.metadata),
        "inference": {part: bundle.inference[part] for part in _PARTS if part in bundle.inference},
        "labels": {"segments": label_entries(bundle)},
    }


def label_entries(bundle: Bundle) -> list[dict[str, Any]]:
    """One entry a class, as `configs/labels.json` has them; without codes where not an output."""
    by_name = {segment.name: asdict(segment) for segment in bundle.segments}
    return [
        {"class": number, **by_name.get(name, {"number": None, "name": name})}
        for name, number in sorted(bundle.class_of.items(), key=lambda item: item[1])
    ]


def as_text(value: Any) -> str:
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False)
