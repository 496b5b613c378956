from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import UID

from app.node.delivery import FileHead, Verdict
from app.node.destinations import FolderDestination
from app.node.folder_sender import copy_to_folder, file_name

MakeHead = Callable[..., FileHead]


@pytest.fixture
def make_head(tmp_path: Path) -> MakeHead:
    def make(content: bytes = b"data", uid: str = "2.25.17") -> FileHead:
        path = tmp_path / "source"
        path.write_bytes(content)
        return FileHead(
            path=path,
            SOPClassUID=UID("1.2"),
            SOPInstanceUID=UID(uid),
            TransferSyntaxUID=UID("1.2.840.10008.1.2.1"),
        )

    return make


@pytest.fixture
def share(tmp_path: Path) -> FolderDestination:
    (tmp_path / "share").mkdir()
    return FolderDestination(folder=tmp_path / "share")


def test_a_file_arrives_under_its_uid_and_only_once(
    make_head: MakeHead, share: FolderDestination
) -> None:
    (first,) = copy_to_folder([make_head()], share)
    target = share.folder / "2.25.17.dcm"
    written = target.stat().st_mtime_ns, target.stat().st_ino
    (second,) = copy_to_folder([make_head()], share)
    assert (first.verdict, first.text) == (Verdict.STORED, "stored")
    assert (second.verdict, second.text) == (Verdict.STORED, "already there")
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == written
    assert [path.name for path in share.folder.iterdir()] == ["2.25.17.dcm"]
    assert target.read_bytes() == b"data"


def test_a_newer_version_replaces_the_older(make_head: MakeHead, share: FolderDestination) -> None:
    list(copy_to_folder([make_head(b"old!")], share))
    (result,) = copy_to_folder([make_head(b"new!")], share)
    assert result.delivered
    assert (share.folder / "2.25.17.dcm").read_bytes() == b"new!"


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "", ".", "1..2", "1" * 65])
def test_what_is_no_uid_names_no_file(
    make_head: MakeHead, share: FolderDestination, uid: str
) -> None:
    assert file_name(uid) is None
    assert file_name("1.2\n") is None
    (result,) = copy_to_folder([make_head(uid=uid)], share)
    assert (result.verdict, result.retryable) == (Verdict.REFUSED, False)
    assert list(share.folder.iterdir()) == []


def test_a_share_that_is_not_mounted_is_neither_made_nor_given_up(
    make_head: MakeHead, tmp_path: Path
) -> None:
    absent = FolderDestination(folder=tmp_path / "absent")
    (result,) = copy_to_folder([make_head()], absent)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert not absent.folder.exists()


def test_what_stands_in_the_way_fails_one_file_and_leaves_no_remainder(
    make_head: MakeHead, share: FolderDestination
) -> None:
    (share.folder / "2.25.17.dcm").mkdir()
    results = list(copy_to_folder([make_head(), make_head(uid="2.25.18")], share))
    assert [result.verdict for result in results] == [Verdict.FAILED, Verdict.STORED]
    assert sorted(path.name for path in share.folder.iterdir()) == ["2.25.17.dcm", "2.25.18.dcm"]
