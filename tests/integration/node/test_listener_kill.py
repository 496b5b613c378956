from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_every_acknowledged_instance_survives_the_death_of_the_listener() -> None:
    script = Path(__file__).with_name("kill_listener.py")
    done = subprocess.run(
        [sys.executable, str(script), "4"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "lost 0" in done.stdout
