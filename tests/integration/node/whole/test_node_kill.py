from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLS = 20


def test_every_study_is_delivered_once_however_often_the_node_is_killed() -> None:
    script = Path(__file__).with_name("kill_node.py")
    done = subprocess.run(
        [sys.executable, str(script), str(KILLS), "1"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    print(done.stdout)
    assert f"kills {KILLS}: " in done.stdout
    assert "lost 0" in done.stdout
    assert "faults 0" in done.stdout
