from __future__ import annotations

import os
from pathlib import Path

import pytest

from operators.folders import files_below


def found(folder: Path) -> list[tuple[str, str | None]]:
    return [
        (file.path.relative_to(folder).as_posix(), problem) for file, problem in files_below(folder)
    ]


def test_files_come_in_order_of_name_and_folder(tmp_path):
    for name in ("z", "b/y", "b/x", "a/c/w", "a/v"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("words")
    assert [name for name, _ in found(tmp_path)] == ["z", "a/v", "a/c/w", "b/x", "b/y"]


def test_what_cannot_be_opened_comes_with_the_reason(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == [
        ("dangling", "cannot be read: No such file or directory"),
        ("empty", "empty file"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        ("pipe", "not a regular file"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    names = found(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert names == [("closed", "cannot be read: Permission denied")]


def test_links_are_followed_and_loops_end(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_text("words")
    (tmp_path / "scanned").mkdir()
    (tmp_path / "scanned" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "scanned")
    assert found(tmp_path / "scanned") == [("link/x", None)]
