"""Preprocessed cases on disk: the same bytes, whole or not at all, shared by processes."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.data.cache import GridCache, digest_of
from models.data.grid import resample_case
from models.data.reading import Reading, read_case
from models.data.records import Record
from models.errors import TrainingError
from models.network_grid import NetworkGrid
from tests.datasets.tiny import body, organs, write, write_case

GRID = NetworkGrid(spacing_mm=(3.0, 3.0, 3.0))
READING = Reading(classes={6: 1, 1: 2}, unlabelled=frozenset({3}))


def make_record(folder: Path, seed: int = 0) -> Record:
    image, label = folder / f"i{seed}.nii.gz", folder / f"l{seed}.nii.gz"
    write_case(image, label, seed)
    return Record(name=f"case-{seed}", patient=f"p{seed}", kind="nifti", image=image, label=label)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_cached_case_is_the_resampled_one(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    cache = GridCache(tmp_path / "cache", GRID, READING)
    expected = resample_case(read_case(record, READING), GRID)
    for found in (cache.case(record), cache.case(record)):
        np.testing.assert_array_equal(found.hu, expected.hu)
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert found.spacing_mm == pytest.approx(expected.spacing_mm)
        assert (found.name, found.patient, found.unlabelled) == ("case-0", "p0", {3})
        assert not found.hu.flags.writeable
    (entry,) = entries(tmp_path / "cache")
    assert len(entry.name) == 64


def test_without_a_grid_cases_stay_on_their_own(tmp_path: Path) -> None:
    case = GridCache(tmp_path / "cache", None, READING).case(make_record(tmp_path))
    np.testing.assert_array_equal(case.hu, body())


def test_what_is_kept_is_not_read_again(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    GridCache(tmp_path / "cache", GRID, READING).case(record)
    (entry,) = entries(tmp_path / "cache")
    before = (entry / "hu.npy").stat().st_mtime_ns
    GridCache(tmp_path / "cache", GRID, READING).case(record)
    assert (entry / "hu.npy").stat().st_mtime_ns == before


def test_the_same_bytes_again_wherever_the_files_lie(tmp_path: Path) -> None:
    first = make_record(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    second = replace(
        first, image=tmp_path / "b" / first.image.name, label=tmp_path / "b" / "l0.nii.gz"
    )
    for record, cache in ((first, "c1"), (second, "c2")):
        GridCache(tmp_path / cache, GRID, READING).case(record)
    assert content(tmp_path / "c1") == content(tmp_path / "c2")


def test_changed_bytes_or_settings_make_a_new_entry(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    folder = tmp_path / "cache"
    GridCache(folder, GRID, READING).case(record)
    others = [
        GridCache(folder, NetworkGrid(spacing_mm=(3.0, 3.0, 2.0)), READING),
        GridCache(folder, GRID, replace(READING, classes={6: 1, 1: 1})),
        GridCache(folder, GRID, replace(READING, unlabelled=frozenset())),
    ]
    for number, cache in enumerate(others, start=2):
        cache.case(record)
        assert len(entries(folder)) == number
    labels = organs()
    labels[2, 3, 3] = 0
    assert record.label is not None
    write(record.label, labels)
    GridCache(folder, GRID, READING).case(record)
    assert len(entries(folder)) == 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "absent", "notes", "empty"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    record = make_record(tmp_path)
    folder = tmp_path / "cache"
    expected = GridCache(folder, GRID, READING).case(record)
    before = content(folder)
    (entry,) = entries(folder)
    file = entry / "labels.npy"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:-9])
    elif damage == "flipped":
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "absent":
        file.unlink()
    elif damage == "notes":
        (entry / "case.json").write_text("{")
    else:
        shutil.rmtree(entry)
        entry.mkdir()
    found = GridCache(folder, GRID, READING).case(record)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert content(folder) == before


def test_large_arrays_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.data.cache.MAPPED_BYTES", 0)
    case = GridCache(tmp_path / "cache", GRID, READING).case(make_record(tmp_path))
    assert isinstance(case.hu.base, np.memmap)
    assert not case.hu.flags.writeable


def test_cases_are_read_when_asked_for(tmp_path: Path) -> None:
    records = [make_record(tmp_path, seed) for seed in range(3)]
    cases = GridCache(tmp_path / "cache", GRID, READING).cases(records)
    assert (len(cases), cases.names) == (3, ("case-0", "case-1", "case-2"))
    assert not (tmp_path / "cache").exists()
    assert cases[1].name == "case-1"
    assert len(entries(tmp_path / "cache")) == 1
    assert cases[1:].names == ("case-1", "case-2")


def _fill(folder: Path, records: list[Record], out: Path) -> None:
    cache = GridCache(folder, GRID, READING)
    for record in records:
        cache.case(record)
    out.touch()


def test_processes_share_a_cache(tmp_path: Path) -> None:
    """Both make every entry at once; each is whole, and nothing else stays behind."""
    records = [make_record(tmp_path, seed) for seed in range(6)]
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_fill, args=(folder, records, tmp_path / f"done{n}"))
        for n in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "done0").exists()
    assert (tmp_path / "done1").exists()
    assert [len(path.name) for path in entries(folder)] == [64] * 6
    alone = tmp_path / "alone"
    _fill(alone, records, tmp_path / "done2")
    assert content(folder) == content(alone)


def test_errors_of_files_and_folders_are_told(tmp_path: Path) -> None:
    record = make_record(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="expected room for a cache"):
        GridCache(tmp_path / "file", GRID, READING).case(record)
    record.image.unlink()
    with pytest.raises(TrainingError, match="expected a readable file"):
        GridCache(tmp_path / "cache", GRID, READING).case(record)
    with pytest.raises(TrainingError, match="expected a label"):
        GridCache(tmp_path / "cache", GRID, READING).case(
            replace(make_record(tmp_path), label=None)
        )
    assert not (tmp_path / "cache").exists()


def test_a_folder_has_the_digest_of_its_files_whatever_their_names(tmp_path: Path) -> None:
    for folder, names in (("a", "xy"), ("b", "yx")):
        for name, text in zip(names, ("1", "2"), strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(text)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    (tmp_path / "b" / "x").write_text("3")
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")
