from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

from pydicom import Dataset

from operators.archives import members_of
from operators.files import PlainFile, StoredFile
from operators.same_instances import keep_one
from operators.series import Instance


def instance(file: StoredFile) -> Instance:
    header = Dataset()
    header.SOPInstanceUID = "1.2.3"
    return Instance(file=file, header=header)


def written(path: Path, content: bytes) -> Instance:
    path.write_bytes(content)
    return instance(PlainFile(path))


def test_of_equal_copies_the_first_is_kept(tmp_path):
    copies = [written(tmp_path / name, b"equal") for name in "bca"]
    kept, others = keep_one(copies)
    assert kept is copies[0]
    assert others == [(tmp_path / name, f"same instance as: {tmp_path / 'b'}") for name in "ca"]


def test_of_differing_copies_the_content_decides_not_name_or_order(tmp_path):
    content = {"a": b"one", "b": b"two", "c": b"three" * 10**6}
    kept = set()
    for names in itertools.permutations(content):
        one, others = keep_one([written(tmp_path / name, content[name]) for name in names])
        kept.add(one.path.name)
        reason = f"same SOPInstanceUID but other content than: {one.path}"
        assert [why for _, why in others] == [reason, reason]
    assert len(kept) == 1


def test_a_member_of_an_archive_equals_the_same_file_outside(tmp_path):
    plain = written(tmp_path / "plain", b"content")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", b"content")
    ((member, _),) = members_of(PlainFile(tmp_path / "a.zip"))
    kept, others = keep_one([plain, instance(member)])
    assert kept is plain
    assert others == [(tmp_path / "a.zip" / "x", f"same instance as: {tmp_path / 'plain'}")]


def test_a_copy_that_cannot_be_read_is_never_kept(tmp_path):
    gone, there = instance(PlainFile(tmp_path / "gone")), written(tmp_path / "there", b"content")
    reason = (tmp_path / "gone", "cannot be read: No such file or directory")
    assert keep_one([gone, there]) == (there, [reason])
    assert keep_one([gone, gone]) == (None, [reason, reason])
