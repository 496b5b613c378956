from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from operators.archives import (
    MAX_DIRECTORY_BYTES,
    MAX_INNER_ARCHIVE_BYTES,
    ZipMember,
    is_archive,
    members_of,
)
from operators.files import PlainFile, StoredFile

MIB = 2**20
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def zipped(members: dict[str, bytes], method: int = DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def written(path: Path, content: bytes) -> PlainFile:
    path.write_bytes(content)
    return PlainFile(path)


def members(archive: StoredFile) -> list[StoredFile]:
    found = list(members_of(archive))
    assert [problem for _, problem in found] == [None] * len(found)
    return [member for member, _ in found]


def problems(archive: StoredFile) -> dict[str, str | None]:
    return {file.path.name: problem for file, problem in members_of(archive)}


def content(file: StoredFile) -> bytes:
    with file.open() as stream:
        return stream.read()


def checksum(file: StoredFile) -> int:
    return zlib.crc32(content(file))


def directory_changed(archive: bytes, offset: int, form: str, value: int) -> bytes:
    """The archive with one field changed in the first entry of its directory."""
    changed = bytearray(archive)
    struct.pack_into(form, changed, archive.index(b"PK\1\2") + offset, value)
    return bytes(changed)


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_members_are_read_where_they_lie(tmp_path, method):
    files = {"b/2": os.urandom(5000), "b/1": b"words " * 5000, "a": b"x"}
    archive = written(tmp_path / "s.zip", zipped({"b/": b"", **files}, method))
    found = members(archive)
    assert [member.path for member in found] == [
        tmp_path / "s.zip" / n for n in ("a", "b/1", "b/2")
    ]
    for member, name in zip(found, ("a", "b/1", "b/2"), strict=True):
        assert member.size == len(files[name])
        with member.open() as stream:
            assert stream.read() == files[name]
            stream.seek(1)
            assert stream.read(7) == files[name][1:8]
    assert os.listdir(tmp_path) == ["s.zip"]


def test_members_can_be_read_after_pickling_and_in_other_processes(tmp_path):
    files = {f"{n:03}": os.urandom(2000 + n) for n in range(40)}
    found = members(written(tmp_path / "s.zip", zipped(files)))
    assert pickle.loads(pickle.dumps(found)) == found
    expected = [zlib.crc32(files[name]) for name in sorted(files)]
    assert [checksum(member) for member in found] == expected
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(checksum, found) == expected


def test_members_can_be_read_from_several_threads_at_once(tmp_path):
    files = {f"{n:03}": os.urandom(20000 + n) for n in range(40)}
    found = members(written(tmp_path / "s.zip", zipped(files)))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(content, found * 3)) == [files[name] for name in sorted(files)] * 3


def test_an_archive_within_an_archive_is_read_and_one_more_is_named(tmp_path):
    inner = zipped({"slice": b"pixels", "deep.zip": zipped({"x": b"y"})})
    outer = written(tmp_path / "o.zip", zipped({"i.zip": inner}))
    (middle,) = members(outer)
    assert is_archive(middle)
    deep, single = members(middle)
    assert single.path == tmp_path / "o.zip" / "i.zip" / "slice"
    assert content(pickle.loads(pickle.dumps(single))) == b"pixels"
    assert problems(deep) == {"deep.zip": "archive too deep: in an archive within an archive"}


def test_an_archive_within_an_archive_that_memory_cannot_hold_is_named(tmp_path):
    outer = PlainFile(tmp_path / "o.zip")
    inner = ZipMember(outer, "i.zip", MAX_INNER_ARCHIVE_BYTES + 1, 10**8, 0, DEFLATED, 0)
    assert problems(inner)["i.zip"].startswith("archive too large: 268435457 bytes")


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "\\x", "..\\x", "C:\\x", "c:x", "//server/share/x"]
)
def test_a_name_that_leaves_the_archive_is_named_and_never_a_path(tmp_path, name):
    archive = written(tmp_path / "s.zip", zipped({name: b"content"}))
    ((member, problem),) = members_of(archive)
    assert problem == f"unsafe name in an archive: {name!r}"
    assert member.path.is_relative_to(tmp_path / "s.zip")
    assert ".." not in member.path.parts


def test_an_empty_name_is_named(tmp_path):
    archive = zipped({"x": b"content"}).replace(b"x", b"\0")  # a name ends at a null byte
    ((member, problem),) = members_of(written(tmp_path / "s.zip", archive))
    assert problem == "unsafe name in an archive: ''"
    assert member.path == tmp_path / "s.zip"


def test_names_with_backslashes_are_folders_and_control_characters_are_not_shown(tmp_path):
    archive = written(tmp_path / "s.zip", zipped({"a\\b\x1b[31m\n": b"content"}))
    (member,) = members(archive)
    assert member.path == tmp_path / "s.zip" / "a" / "b\ufffd[31m\ufffd"


def test_members_of_one_name_are_two_files(tmp_path):
    both = zipped({"x": b"first", "y": b"second"}, STORED).replace(b"y", b"x")
    written(tmp_path / "s.zip", both)
    found = members(PlainFile(tmp_path / "s.zip"))
    assert [content(member) for member in found] == [b"first", b"second"]


def test_what_cannot_be_unpacked_comes_with_the_reason(tmp_path):
    plain = zipped({"x": b"content" * 9})
    for changed, reason in (
        (directory_changed(plain, 8, "<H", 1), "encrypted: cannot be read without a password"),
        (directory_changed(plain, 10, "<H", 99), "unknown compression: method 99 of an archive"),
        (directory_changed(plain, 24, "<I", 0), "empty file"),
        (
            directory_changed(plain, 20, "<I", 10**6),
            "damaged archive: this file would lie outside of it",
        ),
        (
            directory_changed(plain, 24, "<I", 2**31),
            "unpacks to too much: 2147483648 bytes from 12, at most 268435456 are read",
        ),
    ):
        assert problems(written(tmp_path / "s.zip", changed)) == {"x": reason}


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_wrong_checksum_shows_whenever_the_member_is_opened(tmp_path, method):
    archive = directory_changed(zipped({"x": b"content" * 99}, method), 16, "<I", 12345)
    (member,) = members(written(tmp_path / "s.zip", archive))
    with pytest.raises(OSError, match="damaged archive, the file's checksum is wrong"):
        member.open()


def test_bytes_that_no_longer_unpack_show_whenever_the_member_is_opened(tmp_path):
    archive = bytearray(zipped({"x": os.urandom(3000)}))
    archive[31:60] = bytes(29)
    (member,) = members(written(tmp_path / "s.zip", bytes(archive)))
    with pytest.raises(OSError, match="damaged archive, "):
        member.open()


def test_a_member_that_unpacks_to_more_or_less_than_its_size_is_damaged(tmp_path):
    plain = zipped({"x": b"content" * 99})
    for claimed, found in ((692, 693), (694, 693)):
        (member,) = members(
            written(tmp_path / "s.zip", directory_changed(plain, 24, "<I", claimed))
        )
        with pytest.raises(OSError, match=f"{claimed} bytes expected, {found} found"):
            member.open()


def test_an_archive_that_was_cut_or_replaced_after_it_was_listed_is_damaged(tmp_path):
    archive = written(tmp_path / "s.zip", zipped({"a": os.urandom(100), "x": os.urandom(9000)}))
    member = members(archive)[1]
    whole = archive.path.read_bytes()
    for left in (0, 150, 3000):
        archive.path.write_bytes(whole[:left])
        with pytest.raises(OSError, match="damaged archive, "):
            member.open()


@pytest.mark.parametrize(
    "archive",
    [
        b"PK\3\4" + bytes(3000),
        zipped({"x": os.urandom(9000)})[:-20],
        zipped({"x": os.urandom(9000)})[:5000],
        zipped({"x": b"y"})[:-22] + b"PK\5\6" + b"\xff" * 18,
    ],
)
def test_a_damaged_archive_is_named_itself(tmp_path, archive):
    file = written(tmp_path / "s.zip", archive)
    assert is_archive(file)
    assert problems(file) == {"s.zip": "damaged archive: its directory cannot be read"}


def test_an_archive_without_files_is_named_itself(tmp_path):
    assert problems(written(tmp_path / "s.zip", zipped({}))) == {"s.zip": "empty archive"}
    assert problems(written(tmp_path / "s.zip", zipped({"a/": b""}))) == {"s.zip": "empty archive"}


def test_a_directory_that_memory_cannot_hold_is_refused(tmp_path):
    entry = struct.pack("<4s42x", b"PK\1\2")
    count = MAX_DIRECTORY_BYTES // len(entry) + 1
    directory = entry * count
    end = struct.pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, count & 65535, count & 65535, len(directory), 4, 0
    )
    archive = written(tmp_path / "s.zip", b"PK\3\4" + directory + end)
    del directory
    tracemalloc.start()
    assert problems(archive) == {"s.zip": "damaged archive: its directory cannot be read"}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * MAX_DIRECTORY_BYTES


def test_a_claimed_size_takes_no_memory(tmp_path):
    archive = directory_changed(zipped({"x": b"content" * 99}), 24, "<I", 250 * MIB)
    (member,) = members(written(tmp_path / "s.zip", archive))
    tracemalloc.start()
    with pytest.raises(OSError, match="262144000 bytes expected, 693 found"):
        member.open()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MIB


def test_only_what_begins_as_a_zip_archive_is_one(tmp_path):
    assert is_archive(written(tmp_path / "a", zipped({"x": b"y"})))
    assert is_archive(written(tmp_path / "b", zipped({})))
    assert not is_archive(written(tmp_path / "c.zip", b"words"))
    assert not is_archive(PlainFile(tmp_path / "nowhere.zip"))
