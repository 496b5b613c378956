"""Nodes are killed at random moments, and every job ends once all the same."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from app.node.job_desk import JobDesk
from app.node.job_listing import JobRecord

NODE = Path(__file__).with_name("node_of_jobs.py")
FILES = ("one.dcm", "two.dcm")


def start(
    url: str, shared: Path, node: str, jobs: int, seconds: float = 0.15
) -> subprocess.Popen[str]:
    arguments = [url, str(shared), str(shared / "pacs"), node, str(jobs), str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(NODE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def expect_ends(url: str, shared: Path, jobs: int) -> Counter[str]:
    """Every job ended as its number says, and each destination has each file once."""
    desk = JobDesk(url)
    records = desk.jobs()
    desk.close()
    assert len(records) == jobs
    delivered = []
    for record in records:
        number = int(record.job.study_key, 16)
        expected = "rejected" if number % 7 == 0 else "delivered"
        assert (record.status, record.ended_at is not None) == (expected, True), record
        if expected == "delivered":
            delivered.append(record)
            assert [d.files for d in record.deliveries] == [dict.fromkeys(FILES, "delivered")] * 2
    for destination in ("a", "b"):
        there = {p.name for p in (shared / "pacs" / destination).glob("*.dcm")}
        wanted = {f"{r.job.study_key}-{file}" for r in delivered for file in FILES}
        assert there == wanted
        for name in there:
            number = int(name.split("-")[0], 16)
            other = shared / "pacs" / "a" / name
            assert (shared / "pacs" / destination / name).read_text() == other.read_text()
            assert number % 7
    return Counter((shared / "pacs" / "stores.log").read_text().splitlines())


def stores(log: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for line, count in log.items():
        found[line.split()[0]] += count
    return found


@pytest.mark.parametrize(("database", "kills"), [("sqlite", 20), ("postgres", 5)])
def test_every_job_ends_once_however_often_the_node_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, kills: int
) -> None:
    url = f"sqlite:///{tmp_path / 'dbos.sqlite'}"
    if database == "postgres":
        url = request.getfixturevalue("postgres")
    jobs, chance = 3 * kills + 10, random.Random(4)
    lived_s = []
    for _ in range(kills):
        node = start(url, tmp_path, "one", jobs)
        assert node.stdout is not None
        if chance.random() < 0.8:
            assert node.stdout.readline() == "started\n"
        begun = time.monotonic()
        time.sleep(chance.uniform(0.0, 1.2))
        node.kill()
        node.wait()
        lived_s.append(time.monotonic() - begun)
    node = start(url, tmp_path, "one", jobs)
    out, _ = node.communicate(timeout=120)
    assert out == "started\nended\n"
    found = stores(expect_ends(url, tmp_path, jobs))
    twice = sum(count - 1 for count in found.values())
    print(
        f"{database}: {kills} kills, {jobs} jobs, all ended; {len(found)} files at destinations, "
        f"{twice} sent a second time (killed between the store and its note)"
    )
    assert twice <= kills * 2  # each kill interrupts at most one file per destination


def records_of(desk: JobDesk, node: str, status: str) -> list[JobRecord]:
    return [r for r in desk.jobs(statuses=[status]) if r.node == node]


def test_another_node_finishes_what_a_dead_one_left(postgres: str, tmp_path: Path) -> None:
    jobs = 12
    first = start(postgres, tmp_path, "first", jobs, seconds=1.0)
    second = start(postgres, tmp_path, "second", jobs, seconds=1.0)
    for node in (first, second):
        assert node.stdout is not None
        assert node.stdout.readline() == "started\n"
    desk = JobDesk(postgres)
    give_up_at = time.monotonic() + 60
    while not [r for r in records_of(desk, "first", "running") if r.step == "segment"]:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    first.kill()
    first.wait()
    killed_at = time.time()
    left = {r.job.job_id for r in records_of(desk, "first", "running")}
    assert left
    out, _ = second.communicate(timeout=120)
    assert out == "ended\n"
    finished = [record for record in desk.jobs() if record.job.job_id in left]
    desk.close()
    assert {record.node for record in finished} == {"second"}
    expect_ends(postgres, tmp_path, jobs)
    seconds = max((r.ended_at or 0) - killed_at for r in finished)
    print(f"{len(left)} jobs of the dead node were finished by the other within {seconds:.1f} s")
