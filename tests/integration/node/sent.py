"""Where tests send to by C-STORE, and what became of it."""

from __future__ import annotations

from typing import Any

from pydicom.uid import CTImageStorage, SegmentationStorage

from app.node.delivery import FileResult
from app.node.destinations import DimseDestination

CLASSES = (CTImageStorage, SegmentationStorage)


def peer(port: int, ae_title: str = "PACS", **settings: Any) -> DimseDestination:
    return DimseDestination(ae_title=ae_title, host="127.0.0.1", port=port, **settings)


def verdicts(results: tuple[FileResult, ...]) -> list[str]:
    return [result.verdict.value for result in results]
