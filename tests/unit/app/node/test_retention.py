from __future__ import annotations

import os
from pathlib import Path

from app.node.retention import (
    Entry,
    RetentionSettings,
    apply_retention,
    choose_deletions,
    delete_entries,
    list_entries,
)

DAY_S = 86400.0


def entry(name: str, size: int, day: float, needed: bool = False) -> Entry:
    return Entry(Path(name), size, day * DAY_S, needed)


def test_what_is_older_than_the_limit_goes_and_what_is_needed_stays() -> None:
    entries = [entry("c", 1, 9), entry("b", 1, 2, needed=True), entry("a", 1, 1), entry("d", 1, 3)]
    settings = RetentionSettings(longest_age_s=5 * DAY_S)
    chosen = choose_deletions(entries, settings, 8.0 * DAY_S)
    assert [str(e.path) for e in chosen] == ["a"]
    chosen = choose_deletions(entries, settings, 8.1 * DAY_S)
    assert [str(e.path) for e in chosen] == ["a", "d"]


def test_the_oldest_goes_until_the_size_is_kept() -> None:
    entries = [entry("new", 40, 9), entry("old", 30, 1), entry("middle", 50, 5)]
    settings = RetentionSettings(longest_age_s=None, largest_bytes=90)
    assert choose_deletions(entries, settings, 10 * DAY_S) == [entries[1]]
    settings = RetentionSettings(longest_age_s=None, largest_bytes=89)
    assert choose_deletions(entries, settings, 10 * DAY_S) == [entries[1], entries[2]]


def test_needed_entries_stay_even_where_they_are_too_many() -> None:
    entries = [entry("a", 100, 1, needed=True), entry("b", 10, 2), entry("c", 100, 3, needed=True)]
    settings = RetentionSettings(longest_age_s=None, largest_bytes=50)
    assert choose_deletions(entries, settings, 4 * DAY_S) == [entries[1]]


def test_nothing_goes_without_limits() -> None:
    settings = RetentionSettings(longest_age_s=None)
    assert choose_deletions([entry("a", 10**15, 0)], settings, 1e12) == []


def make(folder: Path, name: str, size: int, changed_at: float) -> Path:
    path = folder / name
    (path / "out").mkdir(parents=True)
    (path / "out" / "seg.dcm").write_bytes(b"x" * size)
    for each in (path / "out" / "seg.dcm", path / "out", path):
        os.utime(each, (changed_at, changed_at))
    return path


def test_folders_are_measured_with_all_in_them_and_deleted_as_a_whole(tmp_path: Path) -> None:
    old, new = make(tmp_path, "old", 9000, 1000.0), make(tmp_path, "new", 9000, 2000.0)
    entries = list_entries([old, new, tmp_path / "gone"], lambda path: False)
    assert [(e.path, e.changed_at) for e in entries] == [(old, 1000.0), (new, 2000.0)]
    assert all(e.size_bytes >= 9000 for e in entries)
    gone = apply_retention(
        [old, new], RetentionSettings(longest_age_s=500.0), lambda path: False, 2100.0
    )
    assert [e.path for e in gone] == [old]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_what_is_needed_by_the_time_of_its_deletion_stays(tmp_path: Path) -> None:
    path = make(tmp_path, "job", 10, 1.0)
    entries = list_entries([path], lambda path: False)
    assert delete_entries(entries, lambda path: True) == []
    assert path.is_dir()


def test_a_link_is_deleted_and_not_what_it_leads_to(tmp_path: Path) -> None:
    kept = make(tmp_path, "kept", 10, 1.0)
    link = tmp_path / "link"
    link.symlink_to(kept)
    assert len(delete_entries(list_entries([link], lambda path: False), lambda path: False)) == 1
    assert not link.is_symlink()
    assert (kept / "out" / "seg.dcm").is_file()
