from __future__ import annotations

import pickle

from operators.files import PlainFile, most_unpacked_bytes

MIB = 2**20


def test_a_plain_file_has_its_path_its_size_and_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    file = pickle.loads(pickle.dumps(PlainFile(tmp_path / "a")))
    assert file == PlainFile(tmp_path / "a")
    assert file.size == 5
    with file.open() as stream:
        stream.seek(3)
        assert stream.read() == b"45"


def test_little_may_unpack_to_256_mib_and_much_to_200_times_its_size():
    assert most_unpacked_bytes(10, 1024 * MIB) == 256 * MIB
    assert most_unpacked_bytes(2 * MIB, 1024 * MIB) == 400 * MIB
    assert most_unpacked_bytes(900 * MIB, 1024 * MIB) == 1024 * MIB
    assert most_unpacked_bytes(10, MIB) == MIB
