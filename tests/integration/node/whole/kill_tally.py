"""What is left of studies after a node was killed often, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from kill_peers import Content, Pacs, SentStudy, contents_of
from node_process import NodeProcess

from app.node.instance_store import InstanceStore
from app.node.job_listing import JobRecord
from app.node.job_statuses import END_STATUSES
from app.node.store_disk import StoreSettings
from app.node.stored import study_key

#: What is killed, and how often in ten times.
KINDS = {"node": 4, "worker": 3, "all": 3}


@dataclass
class Tally:
    """What is counted at the end, and what is wrong."""

    kills: Counter[str]
    broken: int
    versions: int = 0
    without_received: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def print(self, studies: Sequence[SentStudy], pacs: Pacs) -> None:
        results = contents_of(pacs.stores)
        told = ", ".join(f"{kind} {self.kills[kind]}" for kind in KINDS)
        print(f"kills {self.kills.total()}: {told}; associations broken or refused {self.broken}")
        there = self.acknowledged - len(self.lost)
        print(f"instances acknowledged {self.acknowledged}, there {there}, lost {len(self.lost)}")
        delivered = self.statuses["delivered"]
        ended = sum(self.statuses[status] for status in END_STATUSES)
        print(
            f"studies sent {len(studies)}, ended {ended}, delivered {delivered}, "
            f"with another status {len(studies) - delivered}, "
            f"without the event 'received' {self.without_received}"
        )
        print(
            f"results at the PACS {len(results)}, C-STOREs that repeated one "
            f"{len(pacs.stores) - len(results)}, versions beyond the first {self.versions}"
        )
        print(f"faults {len(self.faults)}", *self.faults, sep="\n  ")


def jobs_of(node: NodeProcess) -> dict[str, list[JobRecord]]:
    """By study key, each in order of version."""
    found: dict[str, list[JobRecord]] = {}
    for record in sorted(node.desk.jobs(), key=lambda record: record.job.version):
        found.setdefault(record.job.study_key, []).append(record)
    return found


def key_of(study: SentStudy) -> str:
    return study_key("VISCERA", study.StudyInstanceUID)


def all_ended(node: NodeProcess, studies: Sequence[SentStudy]) -> bool:
    jobs = jobs_of(node)
    last = [jobs[key_of(s)][-1] for s in studies if key_of(s) in jobs]
    return len(last) == len(studies) and all(record.status in END_STATUSES for record in last)


def made(node: NodeProcess, job: JobRecord) -> dict[str, Path]:
    """The results of a job, by SOPInstanceUID."""
    if job.folder is None:
        return {}
    files = (node.state / "work" / job.folder).rglob("*.dcm")
    return {
        str(pydicom.dcmread(f, specific_tags=["SOPInstanceUID"]).SOPInstanceUID): f for f in files
    }


def fault_of_delivery(
    node: NodeProcess, jobs: Sequence[JobRecord], at_pacs: dict[str, set[Content]]
) -> str:
    """Why a study is not delivered exactly once, empty where it is."""
    if not jobs:
        return "has no job"
    if jobs[-1].status != "delivered":
        return f"{jobs[-1].status}: {jobs[-1].reason}"
    wanted = made(node, jobs[-1])
    if len(wanted) != 1:
        return f"{len(wanted)} results were made"
    ((uid, file),) = wanted.items()
    contents = at_pacs.get(uid, set())
    if len(contents) != 1 or not next(iter(contents)).ends(file):
        return f"of its result the PACS has {len(contents)} contents, or another than was made"
    earlier = {uid for job in jobs[:-1] for uid in made(node, job)}
    others = set(at_pacs) - earlier - {uid}
    return f"the PACS has {len(others)} results that no version is known to have" if others else ""


def count_deliveries(
    tally: Tally, node: NodeProcess, studies: Sequence[SentStudy], pacs: Pacs
) -> None:
    found = jobs_of(node)
    for study in studies:
        jobs = found.get(key_of(study), [])
        tally.versions += max(0, len(jobs) - 1)
        tally.statuses[jobs[-1].status if jobs else "unknown"] += 1
        fault = fault_of_delivery(node, jobs, pacs.results(study.StudyInstanceUID))
        if fault:
            tally.faults.append(f"study {study.StudyInstanceUID}: {fault}")


def count_stored(tally: Tally, node: NodeProcess, studies: Sequence[SentStudy]) -> None:
    """Look at the store, which the node has let go of."""
    store = InstanceStore(node.state, StoreSettings(min_free_bytes=0))
    for study in studies:
        tally.acknowledged += len(study.acknowledged)
        for uid, content in study.acknowledged.items():
            found = store.find(uid, "VISCERA")
            if not found or not content.ends(found[0].path):
                tally.lost.append(uid)
                tally.faults.append(f"instance {uid} was acknowledged and is not there")
        events = {event.kind for event in store.audit.read(key_of(study))}
        tally.without_received += "received" not in events
        for kind in ("complete", "segmented", "sent"):
            if kind not in events:
                tally.faults.append(f"study {study.StudyInstanceUID}: no event {kind!r}")
    left = store.not_taken()
    if left:
        tally.faults.append(f"{len(left)} studies have instances that are in no version")
    store.close()
