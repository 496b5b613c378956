"""What may be deleted of received instances and job folders, by age and by size."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

log = logging.getLogger(__name__)


class RetentionSettings(BaseModel):
    """How much is kept of one folder; None is without limit.

    Parameters
    ----------
    longest_age_s
        What was not changed for longer is deleted.
    largest_bytes
        Where there is more, the oldest is deleted until this remains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_age_s: float | None = Field(default=14 * 86400.0, gt=0)
    largest_bytes: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Entry:
    """A file or folder that is kept or deleted as a whole; `changed_at` in seconds since 1970."""

    path: Path
    size_bytes: int
    changed_at: float
    needed: bool


def choose_deletions(
    entries: Sequence[Entry], settings: RetentionSettings, now: float
) -> list[Entry]:
    """What to delete, the oldest first; never what is needed, even where too much remains."""
    by_age = sorted(entries, key=lambda entry: (entry.changed_at, str(entry.path)))
    total = sum(entry.size_bytes for entry in entries)
    chosen: list[Entry] = []
    for entry in by_age:
        if entry.needed:
            continue
        limit_s = settings.longest_age_s
        too_old = limit_s is not None and now - entry.changed_at > limit_s
        too_much = settings.largest_bytes is not None and total > settings.largest_bytes
        if too_old or too_much:
            chosen.append(entry)
            total -= entry.size_bytes
    return chosen


def list_entries(paths: Iterable[Path], needed: Callable[[Path], bool]) -> list[Entry]:
    """Measure files and folders; what vanishes meanwhile is left out."""
    entries = []
    for path in paths:
        try:
            size_bytes, changed_at = _measure(path)
        except FileNotFoundError:
            continue
        entries.append(Entry(path, size_bytes, changed_at, needed(path)))
    return entries


def delete_entries(entries: Iterable[Entry], needed: Callable[[Path], bool]) -> list[Entry]:
    """Delete what is still not needed at that moment; returns what is gone.

    An entry is renamed first, so that nobody meets half of it.
    """
    gone = []
    for entry in entries:
        if needed(entry.path):
            continue
        doomed = entry.path.with_name(f".deleting-{entry.path.name}")
        try:
            os.replace(entry.path, doomed)
            if doomed.is_dir() and not doomed.is_symlink():
                shutil.rmtree(doomed)
            else:
                doomed.unlink()
        except FileNotFoundError:
            pass
        except OSError as exc:
            log.error("cannot delete %s: %s", entry.path, exc.strerror)
            continue
        gone.append(entry)
    return gone


def apply_retention(
    paths: Iterable[Path],
    settings: RetentionSettings,
    needed: Callable[[Path], bool],
    now: float,
) -> list[Entry]:
    """Delete what is too old or too much among the paths; returns what is gone."""
    return delete_entries(choose_deletions(list_entries(paths, needed), settings, now), needed)


def _measure(path: Path) -> tuple[int, float]:
    """Bytes on disk and latest change of a file, or of a folder with all in it."""
    state = path.lstat()
    size_bytes, changed_at = state.st_blocks * 512, state.st_mtime
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            try:
                inner = _measure(child)
            except FileNotFoundError:
                continue
            size_bytes, changed_at = size_bytes + inner[0], max(changed_at, inner[1])
    return size_bytes, changed_at
