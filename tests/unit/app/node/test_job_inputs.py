from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dbos import DBOS

from app.errors import InputGoneError
from app.node.job_desk import JobDesk
from app.node.job_inputs import JobInput, forget_inputs, hand_in, input_of
from app.node.job_steps import JobRef

KEY = "ab" * 16


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[JobDesk]:
    url = f"sqlite:///{tmp_path / 'dbos.sqlite'}"
    DBOS(config={"name": "inputs", "system_database_url": url})
    opened = JobDesk(url)
    DBOS.launch()
    yield opened
    DBOS.destroy(destroy_registry=True)
    opened.close()


class Files:
    """Files of instances, and what of them a node hands in."""

    def __init__(self, folder: Path, desk: JobDesk) -> None:
        self.folder = folder
        self.desk = desk

    def path(self, uid: str) -> Path:
        path = self.folder / uid
        path.touch()
        return path

    def hand_in(self, node: str, taken: int, *uids: str, caller: str = "CT1") -> JobRef:
        found = JobInput(
            StudyInstanceUID="1.2.3",
            callers=(caller,),
            files={uid: self.path(uid) for uid in uids},
        )
        return hand_in(self.desk, KEY, "VISCERA", found, node=node, taken=taken, priority=100)

    def of(self, job: JobRef) -> list[str]:
        return sorted(input_of(self.desk, job).files)


@pytest.fixture
def files(tmp_path: Path, desk: JobDesk) -> Files:
    (tmp_path / "incoming").mkdir()
    return Files(tmp_path / "incoming", desk)


def test_the_same_version_handed_in_twice_is_one_job(files: Files) -> None:
    assert files.hand_in("a", 1, "1", "2") == files.hand_in("a", 1, "1", "2")
    assert len(files.desk.jobs()) == 1


def test_a_later_version_replaces_the_job_that_goes_on(files: Files) -> None:
    one = files.hand_in("a", 1, "1", "2")
    two = files.hand_in("a", 2, "1", "2", "3")
    assert (one.version, two.version) == (1, 2)
    assert files.desk.job(one.job_id).status == "replaced"
    assert (files.of(one), files.of(two)) == (["1", "2"], ["1", "2", "3"])


def test_what_two_nodes_received_of_a_study_comes_together(files: Files) -> None:
    files.hand_in("a", 1, "1", "2", caller="CT1")
    job = files.hand_in("b", 1, "3", caller="CT2")
    assert (job.version, files.of(job)) == (2, ["1", "2", "3"])
    assert input_of(files.desk, job).callers == ("CT1", "CT2")
    again = files.hand_in("b", 2, "3", "4")
    assert (again.version, files.of(again)) == (3, ["1", "2", "3", "4"])


def test_a_node_whose_index_was_lost_hands_in_anew(files: Files) -> None:
    files.hand_in("a", 1, "1", "2")
    assert files.hand_in("a", 1, "1", "2", "3").version == 2


def test_what_was_removed_meanwhile_is_no_part_of_a_new_version(files: Files) -> None:
    files.hand_in("a", 1, "1", "2")
    (files.folder / "1").unlink()
    assert files.of(files.hand_in("b", 1, "3")) == ["2", "3"]


def test_what_is_forgotten_is_told(files: Files) -> None:
    job = files.hand_in("a", 1, "1")
    forget_inputs(files.desk, KEY, "b")
    assert files.of(job) == ["1"]
    forget_inputs(files.desk, KEY, "a")
    with pytest.raises(InputGoneError):
        input_of(files.desk, job)
    assert files.hand_in("a", 1, "1").version == 2
