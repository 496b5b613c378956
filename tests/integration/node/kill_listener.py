"""Kill the listener at random moments while it receives: kill_listener.py [KILLS] [SEED]

Two senders send small images without end. After each SIGKILL the listener is started again on the
same folder. At the end every image that was ever acknowledged must be there, byte for byte.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.dsutils import encode

from app.node.access import ListenerSettings
from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from app.node.store_disk import StoreSettings

SENDERS = 2
KILLS = 20
SMALL = StoreSettings(min_free_bytes=0, reserved_bytes=0)


def listen(state: Path) -> None:
    """What the killed process does."""
    listener = Listener(
        ListenerSettings(bind_address="127.0.0.1", port=0), InstanceStore(state, SMALL)
    )
    listener.start()
    print(listener.port, flush=True)
    threading.Event().wait()


def image(sender: int, number: int) -> Dataset:
    made = Dataset()
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = f"1.2.{sender}.{number}"
    made.StudyInstanceUID = f"1.2.{sender}.0.{number // 50}"
    made.SeriesInstanceUID = f"{made.StudyInstanceUID}.1"
    made.PixelData = random.Random(number).randbytes(20_000)
    made["PixelData"].VR = "OW"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


class Sender(threading.Thread):
    """Sends one image after the other to whatever port is current, and notes what was answered."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.port = 0
        self.ended = threading.Event()
        self.acknowledged: list[int] = []

    def run(self) -> None:
        sent = 0
        while not self.ended.is_set():
            entity = AE(f"SENDER{self.number}")
            entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 5
            association = entity.associate(
                "127.0.0.1",
                self.port,
                contexts=[build_context(CTImageStorage, ExplicitVRLittleEndian)],
                ae_title="VISCERA",
            )
            while association.is_established and not self.ended.is_set():
                sent += 1
                answer = association.send_c_store(image(self.number, sent))
                if answer.get("Status") == 0:
                    self.acknowledged.append(sent)
            association.abort()
            time.sleep(0.05)


def start(state: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--listen", str(state)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def kill_often(state: Path, kills: int, moments: random.Random) -> list[Sender]:
    senders = [Sender(number) for number in range(1, SENDERS + 1)]
    for _ in range(kills):
        process, port = start(state)
        for sender in senders:
            sender.port = port
            if not sender.is_alive():
                sender.start()
        time.sleep(moments.uniform(0.1, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    for sender in senders:
        sender.ended.set()
        sender.join(30)
    return senders


def missing(store: InstanceStore, senders: list[Sender]) -> list[str]:
    """Acknowledged images that are not there as they were sent."""
    lost = []
    for sender in senders:
        for number in sender.acknowledged:
            sent = image(sender.number, number)
            found = store.find(sent.SOPInstanceUID, "VISCERA")
            content = BytesIO(encode(sent, False, True) or b"").getvalue()
            if not found or not found[0].path.read_bytes().endswith(content):
                lost.append(sent.SOPInstanceUID)
    return lost


def main(kills: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        senders = kill_often(state, kills, random.Random(seed))
        store = InstanceStore(state, SMALL)
        lost = missing(store, senders)
        stored = sum(study.instances for study in store.studies())
        parts = len(list(state.rglob("*.part")))
        store.close()
    acknowledged = sum(len(sender.acknowledged) for sender in senders)
    print(
        f"kills {kills}, acknowledged {acknowledged}, stored {stored}, lost {len(lost)},"
        f" parts of files left {parts}"
    )
    return 1 if lost or parts or not acknowledged else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--listen"]:
        listen(Path(sys.argv[2]))
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(numbers + [KILLS, 0][len(numbers) :])))
