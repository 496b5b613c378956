"""Cases on a network's grid, kept on disk between runs and shared by processes.

An entry is a folder of `hu.npy`, `labels.npy` and `case.json`, named by a SHA-256 of the bytes of
all its files and of every setting that decides what comes out. Names, folders and dates of files
play no part: changed bytes or settings make a new entry, moved files find the old one. An entry is
made under another name and renamed when it is whole, so that processes may share a cache; what it
holds is compared with its digests when a process first uses it, and a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from models.data.grid import resample_case
from models.data.listing import is_hidden_below
from models.data.reading import Reading, read_case
from models.data.records import Record
from models.digests import sha256_of_file
from models.errors import TrainingError
from models.network_grid import NetworkGrid
from models.training.cases import Case

#: Raised whenever the same settings lead to other voxels.
VERSION = 1
#: Larger arrays are mapped; smaller ones are read, since a process may hold 65,000 maps at most.
MAPPED_BYTES = 4 * 2**20
_ARRAYS: dict[str, np.dtype[Any]] = {"hu": np.dtype(np.int16), "labels": np.dtype(np.uint8)}
#: Processes that make one entry at once may be in each other's way so often.
_ATTEMPTS = 5


class GridCache:
    """Reads, resamples and keeps cases.

    Parameters
    ----------
    folder
        Made where there is none.
    grid
        The network's grid; None keeps cases on their own.
    reading
        How files become cases.
    """

    def __init__(self, folder: Path, grid: NetworkGrid | None, reading: Reading) -> None:
        self.folder = folder
        self.grid = grid
        self.reading = reading
        self._keys: dict[Record, str] = {}
        self._trusted: set[str] = set()

    def case(self, record: Record) -> Case:
        """The case of a record, made where it is not kept yet.

        Its arrays are read-only, and mapped where they are large.

        Raises
        ------
        TrainingError
            As `read_case`, or if the cache cannot be written.
        """
        if record not in self._keys:
            self._keys[record] = self._key(record)
        key = self._keys[record]
        for _ in range(_ATTEMPTS):
            kept = self._kept(record, key)
            if kept is not None:
                return kept
            case = read_case(record, self.reading)
            self._keep(record, key, case if self.grid is None else resample_case(case, self.grid))
        raise TrainingError(f"{self.folder / key}: expected what was just written, found less")

    def cases(self, records: Sequence[Record]) -> CachedCases:
        """The cases of records, each read when it is asked for."""
        return CachedCases(self, records)

    def _key(self, record: Record) -> str:
        paths = [path for path in (record.image, record.label, record.status) if path is not None]
        content = {
            "version": VERSION,
            "grid": None if self.grid is None else [self.grid.spacing_mm, self.grid.shape],
            "reading": self.reading.settings,
            "kind": record.kind,
            "series": record.series,
            "files": [digest_of(path) for path in paths],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _kept(self, record: Record, key: str) -> Case | None:
        """The entry's case; None where there is none, or it is damaged."""
        entry = self.folder / key
        try:
            notes = json.loads((entry / "case.json").read_text(encoding="utf-8"))
            arrays = {name: _load(entry / f"{name}.npy", dtype) for name, dtype in _ARRAYS.items()}
            if key not in self._trusted:
                if any(_sha256(array) != notes[name] for name, array in arrays.items()):
                    return None
                self._trusted.add(key)
            dk, dj, di = notes["spacing_mm"]
            return Case(
                name=record.name,
                patient=record.patient,
                hu=arrays["hu"],
                labels=arrays["labels"],
                spacing_mm=(dk, dj, di),
                unlabelled=frozenset(notes["unlabelled"]),
                spacing_stated=record.states_spacing,
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None  # absent or cut short: made again

    def _keep(self, record: Record, key: str, case: Case) -> None:
        part = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            part.mkdir(parents=True)
            arrays: dict[str, NDArray[Any]] = {"hu": case.hu, "labels": case.labels}
            for name, array in arrays.items():
                np.save(part / f"{name}.npy", array, allow_pickle=False)
            notes = {
                "spacing_mm": case.spacing_mm,
                "unlabelled": sorted(case.unlabelled),
                **{name: _sha256(array) for name, array in arrays.items()},
            }
            (part / "case.json").write_text(json.dumps(notes), encoding="utf-8")
            self._put(part, record, key)
        except OSError as exc:
            raise TrainingError(
                f"{self.folder}: expected room for a cache, found {exc.strerror or exc}"
            ) from exc
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _put(self, part: Path, record: Record, key: str) -> None:
        """Give an entry its name; where another process was quicker, its entry stays."""
        entry = self.folder / key
        try:
            os.rename(part, entry)
        except OSError:
            if not entry.exists():
                raise
            if self._kept(record, key) is None:  # damaged: out of the way with it
                old = self.folder / f".{secrets.token_hex(8)}.old"
                with suppress(FileNotFoundError):  # another process did so first
                    os.rename(entry, old)
                shutil.rmtree(old, ignore_errors=True)
                with suppress(FileExistsError, NotADirectoryError):
                    os.rename(part, entry)


class CachedCases(Sequence[Case]):
    """Cases that are read from a cache when they are asked for.

    Parameters
    ----------
    cache
        Where they come from.
    records
        In this order.
    """

    def __init__(self, cache: GridCache, records: Sequence[Record]) -> None:
        self.cache = cache
        self.records = tuple(records)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cases, without reading one."""
        return tuple(record.name for record in self.records)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Case: ...

    @overload
    def __getitem__(self, index: slice) -> CachedCases: ...

    def __getitem__(self, index: int | slice) -> Case | CachedCases:
        if isinstance(index, slice):
            return CachedCases(self.cache, self.records[index])
        return self.cache.case(self.records[index])


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the sorted digests of all files in a folder.

    Raises
    ------
    TrainingError
        If a file cannot be read.
    """
    if path.is_dir():
        digests = sorted(digest_of(file) for file in _files_in(path))
        return hashlib.sha256("".join(digests).encode()).hexdigest()
    try:
        return sha256_of_file(path)
    except OSError as exc:
        raise TrainingError(f"{path}: expected a readable file, found {exc.strerror}") from exc


def _files_in(folder: Path) -> Iterator[Path]:
    return (
        path for path in folder.rglob("*") if path.is_file() and not is_hidden_below(path, folder)
    )


def _load(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    mapped = path.stat().st_size > MAPPED_BYTES
    array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    if array.dtype != dtype or array.ndim != 3:
        raise ValueError("another array")
    array.setflags(write=False)
    return np.asarray(array)


def _sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
