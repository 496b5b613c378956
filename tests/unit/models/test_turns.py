from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from models.turns import DeviceTurns

HOLD = """
import sys
from pathlib import Path
from models.turns import DeviceTurns
with DeviceTurns(Path(sys.argv[1]), "cpu", 1)():
    print("held", flush=True)
    sys.stdin.read()
"""


def most_at_once(folder: Path, at_once: int) -> int:
    """How many of six threads, each with a file of its own, were in their turn together."""
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        turns = DeviceTurns(folder, "gpu:0", at_once)
        for _ in range(5):
            with turns():
                with lock:
                    inside += 1
                    most = max(most, inside)
                threading.Event().wait(0.002)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most


def test_no_more_than_allowed_have_a_turn_at_once(tmp_path: Path) -> None:
    assert most_at_once(tmp_path / "one", 1) == 1
    assert most_at_once(tmp_path / "two", 2) == 2


def test_devices_have_turns_of_their_own(tmp_path: Path) -> None:
    with DeviceTurns(tmp_path, "gpu:0", 1)(), DeviceTurns(tmp_path, "gpu:1", 1)():
        assert len(list(tmp_path.iterdir())) == 2


def test_the_turn_of_a_process_that_is_killed_is_free(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with DeviceTurns(tmp_path, "cpu", 1)():
        pass
