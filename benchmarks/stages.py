"""Time and memory of the stages of `viscera segment`, a fresh process a run: stages.py FOLDER..."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RUNS = 3
VISCERA = Path(sys.executable).with_name("viscera")


def run_once(folder: Path) -> dict[str, Any]:
    """Run the installed command once and return its report."""
    with tempfile.TemporaryDirectory() as output:
        command = [str(VISCERA), "segment", str(folder), "-o", output, "--quiet"]
        subprocess.run(command, check=True)
        report: dict[str, Any] = json.loads((Path(output) / "report.json").read_text())
    return report


def seconds_of(report: dict[str, Any]) -> dict[str, float]:
    """Stages of the run and of its series, in order, and the whole."""
    stages = dict(report["stages_s"])
    for series in report["series"]:
        stages.update(series["stages_s"])
    return {**stages, "whole run": report["duration_s"]}


def main() -> None:
    for folder in map(Path, sys.argv[1:]):
        reports = [run_once(folder) for _ in range(RUNS)]
        shape = " x ".join(str(n) for n in reports[0]["series"][0]["shape"])
        print(f"\n{folder.name}: {shape}, {reports[0]['models'][0]['runtime']}, {RUNS} runs\n")
        print("| stage | median s | min | max |\n|---|---|---|---|")
        for stage in seconds_of(reports[0]):
            times = [seconds_of(report)[stage] for report in reports]
            median = statistics.median(times)
            print(f"| {stage} | {median:.2f} | {min(times):.2f} | {max(times):.2f} |")
        print(f"| peak memory, MiB | {max(r['peak_memory_mib'] for r in reports)} | | |")


if __name__ == "__main__":
    main()
