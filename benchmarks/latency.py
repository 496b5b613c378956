"""From the last slice to the delivered SEG, and studies per hour: latency.py [STUDIES] [WORKERS]

`viscera serve` runs with its shipped model; generated patients are sent to it by C-STORE, and a
receiver in this process takes the segmentations. First one study after the other: the time from the
end of the sender's association to the arrival of the SEG, without the wait for late images, which a
setting determines. Then as many at once: studies per hour at saturation.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.events import Event

from models.phantom import make_phantom
from operators.ct_series import SeriesIdentity, write_ct_series

STUDIES, WORKERS = 8, 1
PORT, PACS_PORT, HEALTH_PORT = 31112, 31113, 31114
VISCERA = Path(sys.executable).with_name("viscera")
STAGES = {
    "assemble": "assemble",
    "load": "read headers",
    "select": "select",
    "volume": "build volume",
    "segment": "segment",
    "write_volumes": "write volumes",
    "write_preview": "write preview",
    "write_seg": "write SEG",
    "send": "send",
}


class Pacs:
    """Takes segmentations, and notes when."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        self.changed = threading.Condition()
        entity = AE("PACS")
        entity.add_supported_context(SegmentationStorage, ExplicitVRLittleEndian)
        handlers = [(evt.EVT_C_STORE, self._store)]
        entity.start_server(("127.0.0.1", PACS_PORT), block=False, evt_handlers=handlers)

    def _store(self, event: Event) -> int:
        with self.changed:
            self.arrived[str(event.dataset.StudyInstanceUID)] = time.monotonic()
            self.changed.notify_all()
        return 0

    def wait_for(self, *studies: str) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: set(studies) <= set(self.arrived), 1200):
                sys.exit("not everything arrived")


@contextmanager
def node(folder: Path, workers: int) -> Iterator[None]:
    settings = {
        "state": str(folder / "state"),
        "listener": {"port": PORT, "bind_address": "127.0.0.1"},
        "workflows": {"VISCERA": {"destinations": ["pacs"]}},
        "destinations": {
            "pacs": {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": PACS_PORT}
        },
        "completion": {"closed_s": 0, "quiet_s": 5},
        "workers": {"count": workers},
        "health": {"port": HEALTH_PORT},
        "logging": {"level": "warning"},
    }
    config = folder / "node.yaml"
    config.write_text(json.dumps(settings))
    process = subprocess.Popen([str(VISCERA), "serve", "--config", str(config)])
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{HEALTH_PORT}/readyz", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def send(files: list[Path]) -> None:
    """One association; returns when it has ended."""
    entity = AE("SCANNER")
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", PORT, ae_title="VISCERA", max_pdu=131072)
    for file in files:
        if association.send_c_store(file).Status != 0:
            sys.exit("a slice was not stored")
    association.release()


def stage_seconds() -> dict[str, float]:
    """Sums of the node's own stage times so far."""
    url = f"http://127.0.0.1:{HEALTH_PORT}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    prefix = 'viscera_stage_seconds_sum{stage="'
    lines = [line for line in text.splitlines() if line.startswith(prefix)]
    return {line[len(prefix) :].partition('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def make_study(folder: Path, number: int) -> tuple[str, list[Path]]:
    """A generated patient as a CT study of its own."""
    write_ct_series(make_phantom(number).volume, folder, SeriesIdentity(seed_text=f"late {number}"))
    files = sorted(folder.glob("*.dcm"))
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID), files


def main(count: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [make_study(folder / f"ct{number}", number) for number in range(2 * count + 1)]
        pacs = Pacs()
        with node(folder, workers):
            (warm, files), *studies = made
            send(files)
            pacs.wait_for(warm)
            before = stage_seconds()
            latencies = []
            for uid, files in studies[:count]:
                send(files)
                ended = time.monotonic()
                pacs.wait_for(uid)
                latencies.append(pacs.arrived[uid] - ended)
            after = stage_seconds()
            begun = time.monotonic()
            for _, files in studies[count:]:
                send(files)
            pacs.wait_for(*(uid for uid, _ in studies[count:]))
            per_hour = count / (time.monotonic() - begun) * 3600
    print_table([len(files) for _, files in studies[:count]], latencies, before, after)
    print(f"\nat saturation, {workers} worker(s): {per_hour:.0f} studies an hour")


def print_table(
    slices: list[int], latencies: list[float], before: dict[str, float], after: dict[str, float]
) -> None:
    count, total = len(latencies), sum(latencies)
    ordered = sorted(latencies)
    p95 = ordered[min(count - 1, round(0.95 * (count - 1)))]
    print(f"{count} studies of {min(slices)} to {max(slices)} slices, one after the other\n")
    print(f"last slice to SEG: p50 {statistics.median(latencies):.2f} s, p95 {p95:.2f} s\n")
    print("| stage | mean s | share |\n|---|---|---|")
    told = 0.0
    for stage, words in STAGES.items():
        seconds = after.get(stage, 0.0) - before.get(stage, 0.0)
        told += seconds
        print(f"| {words} | {seconds / count:.2f} | {seconds / total:.0%} |")
    rest = total - told
    print(f"| queues, graph set-up and the rest | {rest / count:.2f} | {rest / total:.0%} |")


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    main(*(numbers + [STUDIES, WORKERS][len(numbers) :]))
