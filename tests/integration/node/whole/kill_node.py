"""Kill `viscera serve` at random moments: kill_node.py [KILLS] [SEED] [--folder FOLDER]

Each SIGKILL meets, by chance, the node's main process, which is the listener; a worker process;
or all of them at once. The node is started again at once. Two senders send small studies without
end meanwhile, and send again what was not acknowledged; a PACS that outlives the kills counts what
comes. At the end everything is waited for, and counted: an acknowledged instance that is not in
the store byte for byte, or a study whose last version has not exactly one result at the PACS, make
the exit status 1, and so does an audit trail that lacks a step.

A result may come twice, where the node died between the PACS's answer and the note of it; it is
then the same bytes under the same SOPInstanceUID, and replaces itself. The images state how many
belong to their study, and the node waits long for what lacks: so an association that a kill broke
does not make a version of a half. Such versions would be no fault, and are counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

from kill_peers import LONGEST_PAUSE_S, CtSource, Pacs, Sender, SentStudy
from kill_tally import KINDS, Tally, all_ended, count_deliveries, count_stored
from node_process import NodeProcess, node_settings

from operators.ct_series import SeriesIdentity, write_ct_series

KILLS = 20
SENDERS = 2
#: After the last kill.
SETTLING_S = 180.0


def load_patient() -> ModuleType:
    """What fixtures write the model and the patient with; no package holds it."""
    path = Path(__file__).resolve().parents[2] / "conftest.py"
    spec = importlib.util.spec_from_file_location("patient_of_ellipsoids", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def quiet_port() -> int:
    """A port that no outgoing connection gets: the node must find its own free again."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def prepare(folder: Path, seed: int) -> tuple[NodeProcess, CtSource, Pacs]:
    """Write model, images and settings."""
    patient = load_patient()
    bundle = patient.write_tent_bundle(folder / "models" / "tents")
    volume = patient.draw_patient(patient.grid((6.2, 4.4, 5.4), (17, 33, 29))).volume
    identity = SeriesIdentity(seed_text="killed node", PatientID="ELLIPSOID")
    files = write_ct_series(volume, folder / "ct", identity, shuffle_seed=5)
    pacs = Pacs(quiet_port(), seed)
    peer = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    ports = quiet_port(), quiet_port()
    settings = node_settings(folder, bundle.folder, {"pacs": peer}, *ports)
    settings["workflows"]["VISCERA"]["outputs"] = ["segmentation"]
    settings["completion"] |= {"incomplete_s": 600.0, "max_wait_s": 3600.0}
    return NodeProcess(folder, settings), CtSource(files, seed), pacs


def wait_for_a_moment(node: NodeProcess, pacs: Pacs, chance: random.Random) -> None:
    """While all is loading, while there is work, or while the PACS has a result to answer for."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 4))
        return
    before, give_up_at = len(pacs.stores), time.monotonic() + 30
    while len(pacs.stores) == before and time.monotonic() < give_up_at:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, chance.choice([LONGEST_PAUSE_S, 2.5])))


def kill(node: NodeProcess, wanted: str, chance: random.Random) -> str:
    """Kill; returns what was killed, as there may be no worker."""
    assert node.process is not None
    assert node.process.poll() is None, f"the node ended by itself:\n{node.log[-3000:]}"
    workers = node.workers
    if wanted == "worker" and workers:
        os.kill(chance.choice(workers), signal.SIGKILL)
        return "worker"
    node.process.kill()
    for worker in workers if wanted == "all" else ():
        os.kill(worker, signal.SIGKILL)
    node.process.wait()
    node.launch()
    return "all" if wanted == "all" and workers else "node"


def kill_often(node: NodeProcess, pacs: Pacs, kills: int, chance: random.Random) -> Counter[str]:
    begun, done = time.monotonic(), Counter[str]()
    for number in range(1, kills + 1):
        wait_for_a_moment(node, pacs, chance)
        wanted = chance.choices(list(KINDS), list(KINDS.values()))[0]
        done[kill(node, wanted, chance)] += 1
        if number % 10 == 0:
            told = f"{number} kills, {len(pacs.stores)} results, {time.monotonic() - begun:.0f} s"
            print(told, file=sys.stderr, flush=True)
    return done


def send_and_kill(
    node: NodeProcess, source: CtSource, pacs: Pacs, kills: int, chance: random.Random
) -> tuple[Tally, list[SentStudy]]:
    """Returns once all that was sent is acknowledged, and every study at its end or overdue."""

    def has_result(uid: str) -> bool:
        return any(store.StudyInstanceUID == uid for store in reversed(pacs.stores))

    senders = [Sender(f"CT{n}", source, node.port, has_result) for n in range(1, SENDERS + 1)]
    for sender in senders:
        sender.start()
    killed = kill_often(node, pacs, kills, chance)
    for sender in senders:
        sender.ended.set()
    for sender in senders:
        sender.join(SETTLING_S)
        assert not sender.is_alive(), f"not all of a study is acknowledged:\n{node.log[-3000:]}"
    studies = [study for sender in senders for study in sender.sent]
    give_up_at = time.monotonic() + SETTLING_S
    while not all_ended(node, studies) and time.monotonic() < give_up_at:
        time.sleep(0.5)
    time.sleep(2.0)  # for what should not come
    return Tally(killed, sum(sender.broken for sender in senders)), studies


def run(folder: Path, kills: int, seed: int) -> int:
    begun, chance = time.monotonic(), random.Random(seed)
    node, source, pacs = prepare(folder, seed)
    pacs.start()
    node.start()
    try:
        tally, studies = send_and_kill(node, source, pacs, kills, chance)
        count_deliveries(tally, node, studies, pacs)
        if node.stop(signal.SIGTERM) != 0:
            tally.faults.append("the node did not stop in order")
    finally:
        if node.process is not None:
            node.process.kill()
        pacs.stop()
    count_stored(tally, node, studies)
    tally.print(studies, pacs)
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if tally.faults or not tally.acknowledged else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kills", nargs="?", type=int, default=KILLS)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there")
    parsed = parser.parse_args()
    if parsed.folder is not None:
        parsed.folder.mkdir(parents=True)
        return run(parsed.folder, parsed.kills, parsed.seed)
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), parsed.kills, parsed.seed)


if __name__ == "__main__":
    sys.exit(main())
