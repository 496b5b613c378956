from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from operators.errors import OutputError
from operators.outputs import atomic_write, make_folder


def test_file_has_its_name_only_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"

    with atomic_write(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        stream.write(b" and half")

    assert path.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == ["result.bin"]


def test_failure_leaves_the_earlier_file_and_no_remainder(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"
    path.write_bytes(b"earlier")

    def interrupted() -> None:
        with atomic_write(path) as stream:
            stream.write(b"later")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert path.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["result.bin"]


def test_errors_of_the_writer_keep_their_class(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "result.bin"):
        _ = 1 // 0

    assert os.listdir(tmp_path) == []


def test_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "result.bin"

    with pytest.raises(OutputError, match=r"absent/result\.bin") as caught, atomic_write(path):
        pass

    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_file_obeys_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "result.bin"):
            pass
    finally:
        os.umask(before)

    assert (tmp_path / "result.bin").stat().st_mode & 0o777 == 0o640


_WRITE_A_MEGABYTE = """
import sys
from pathlib import Path
from operators.errors import OutputError
from operators.outputs import atomic_write, make_folder
try:
    with atomic_write(Path(sys.argv[1])) as stream:
        for _ in range(1024):
            stream.write(bytes(1024))
except OutputError as error:
    print(error.__cause__.errno, error)
    sys.exit(3)
"""


def _limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def test_file_size_limit_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "result.bin"

    run = subprocess.run(
        [sys.executable, "-c", _WRITE_A_MEGABYTE, path],
        preexec_fn=_limit_file_size,
        capture_output=True,
        text=True,
    )

    assert run.returncode == 3, run.stderr
    assert run.stdout.startswith(f"{errno.EFBIG} {path} could not be written: ")
    assert os.listdir(tmp_path) == []


def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A mount name space of its own with a file system of 256 KiB: no mock, no trace after."""
    script = (
        'mount -t tmpfs -o size=256k none "$2" || exit 77; '
        '"$0" -c "$1" "$2/result.bin"; status=$?; ls -A "$2"; exit $status'
    )
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, _WRITE_A_MEGABYTE, tmp_path]
        if os.geteuid() == 0
        else [
            *("unshare", "--mount", "--map-root-user"),
            *("sh", "-c", script, sys.executable, _WRITE_A_MEGABYTE, tmp_path),
        ],
        capture_output=True,
        text=True,
    )
    if "unshare" in run.stderr or run.returncode == 77:
        pytest.skip(f"no small file system can be mounted here: {run.stderr.strip()}")

    assert run.returncode == 3, run.stderr
    message, *remainder = run.stdout.splitlines()
    assert message.startswith(f"{errno.ENOSPC} {tmp_path / 'result.bin'} could not be written: ")
    assert remainder == []


def test_folder_is_made_with_its_parents_or_named_in_the_error(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()

    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(OutputError, match="file/c could not be created"):
        make_folder(tmp_path / "file" / "c")
