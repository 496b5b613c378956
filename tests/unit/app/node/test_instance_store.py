from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from app.errors import InstanceMismatchError, InstanceRefusedError, StoreFullError
from app.node.instance_store import InstanceStore
from app.node.store_disk import StoreSettings
from app.node.stored import Origin, StoredInstance, study_key
from tests.unit.app.node.received import KEY, ROOMY, SCANNER, encoded, receive

# --- what is stored


def test_the_bytes_are_stored_as_they_came_in_a_file_that_others_read(
    store: InstanceStore, tmp_path: Path
) -> None:
    stored = receive(store)
    content = stored.path.read_bytes()
    assert content.endswith(encoded())
    read = dcmread(stored.path)
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3.1.1"
    assert read.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read.file_meta.SourceApplicationEntityTitle == "SCANNER"
    assert read.file_meta.ReceivingApplicationEntityTitle == "VISCERA"
    assert len(content) == stored.size_bytes
    length = read.file_meta.FileMetaInformationGroupLength
    assert content[132 + 12 + length :] == encoded()
    assert stored.path.parent == tmp_path / "incoming" / KEY


def test_a_file_passes_the_check_of_another_toolkit(store: InstanceStore) -> None:
    if shutil.which("dcmdump") is None:
        pytest.skip("dcmdump of DCMTK is absent")
    done = subprocess.run(["dcmdump", "+E", receive(store).path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(0008,0018) UI [1.2.3.1.1]" in done.stdout


def test_instances_are_listed_by_series_and_arrival(store: InstanceStore) -> None:
    for number, series in [(1, "2.2"), (2, "2.1"), (3, "2.2")]:
        receive(store, number, series=series)
    listed = store.instances(KEY)
    assert [one.SOPInstanceUID for one in listed] == ["1.2.3.1.2", "1.2.3.1.1", "1.2.3.1.3"]
    assert listed[1] == store.find("1.2.3.1.1", "VISCERA")[0]


def test_a_study_tells_what_has_arrived_and_from_whom(store: InstanceStore) -> None:
    other = Origin("VISCERA", "PACS", "10.0.0.8")
    first = receive(store, 1, series="2.1")
    receive(store, 2, series="2.2", origin=other)
    last = receive(store, 3, series="2.2")
    study = store.study(KEY)
    assert study is not None
    assert (study.workflow, study.StudyInstanceUID) == ("VISCERA", "1.2.3")
    assert study.series == {"2.1": 1, "2.2": 2}
    assert set(study.origins) == {SCANNER, other}
    assert (study.first_arrival, study.last_arrival) == (first.arrived, last.arrived)
    assert study.size_bytes == sum(one.size_bytes for one in store.instances(KEY))
    assert store.studies() == [study]


def test_one_study_sent_to_two_workflows_is_two(store: InstanceStore) -> None:
    receive(store)
    receive(store, origin=Origin("SPLEEN", "SCANNER", "10.0.0.7"))
    assert {study.workflow for study in store.studies()} == {"VISCERA", "SPLEEN"}
    assert len(store.find("1.2.3.1.1", "SPLEEN")) == 1


# --- the same instance again


def test_the_same_bytes_again_are_stored_once(store: InstanceStore) -> None:
    first, again = receive(store), receive(store)
    assert again == first
    assert (first.is_new, again.is_new) == (True, False)
    assert len(list(first.path.parent.iterdir())) == 1


def test_other_bytes_under_one_uid_become_a_new_version_beside_the_old(
    store: InstanceStore,
) -> None:
    first, second = receive(store), receive(store, text="corrected")
    assert (second.version, second.is_new) == (2, True)
    assert store.instances(KEY) == [second]
    study = store.study(KEY)
    assert study is not None
    assert study.instances == 1
    assert first.path.read_bytes().endswith(encoded())
    assert receive(store, text="corrected").is_new is False
    assert receive(store).version == 3


def test_equal_bytes_in_another_transfer_syntax_are_another_version(store: InstanceStore) -> None:
    receive(store)
    content = encoded()
    stored = store.receive(
        content,
        SOPClassUID=CTImageStorage,
        SOPInstanceUID="1.2.3.1.1",
        TransferSyntaxUID="1.2.840.10008.1.2.4.80",
        origin=SCANNER,
    )
    assert stored.version == 2


def test_one_instance_from_eight_senders_at_once_is_stored_once(store: InstanceStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: receive(store), range(32)))
    assert sum(one.is_new for one in stored) == 1
    assert {one.version for one in stored} == {1}


def test_an_instance_whose_file_was_removed_by_hand_is_stored_again(store: InstanceStore) -> None:
    receive(store).path.unlink()
    assert receive(store).path.is_file()


# --- refusals


def test_an_instance_other_than_announced_is_refused(store: InstanceStore) -> None:
    for SOPClassUID, SOPInstanceUID in [(MRImageStorage, "1.2.3.1.1"), (CTImageStorage, "1.9")]:
        with pytest.raises(InstanceMismatchError):
            store.receive(
                encoded(),
                SOPClassUID=SOPClassUID,
                SOPInstanceUID=SOPInstanceUID,
                TransferSyntaxUID=ExplicitVRLittleEndian,
                origin=SCANNER,
            )
    assert store.studies() == []


@pytest.mark.parametrize("uid", ["../../x", "", "1.2/3", "9" * 65, "1.2\0.3"])
def test_a_hostile_uid_never_reaches_the_disk(
    store: InstanceStore, tmp_path: Path, uid: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InstanceRefusedError, match="SOPInstanceUID"):
        store.receive(
            encoded(),
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=uid,
            TransferSyntaxUID=ExplicitVRLittleEndian,
            origin=SCANNER,
        )
    assert sorted(tmp_path.rglob("*")) == before


def test_bytes_in_another_encoding_than_said_are_refused(store: InstanceStore) -> None:
    with pytest.raises(InstanceRefusedError):
        store.receive(
            encoded(),
            SOPClassUID=CTImageStorage,
            SOPInstanceUID="1.2.3.1.1",
            TransferSyntaxUID=ImplicitVRLittleEndian,
            origin=SCANNER,
        )


def test_below_the_watermark_there_is_no_room_but_what_is_on_its_way_is_stored(
    tmp_path: Path,
) -> None:
    store = InstanceStore(tmp_path, StoreSettings(min_free_bytes=2**62, reserved_bytes=0))
    assert not store.has_room()
    assert receive(store).path.is_file()
    store.close()


def test_below_the_reserve_instances_are_refused(tmp_path: Path) -> None:
    store = InstanceStore(tmp_path, StoreSettings(min_free_bytes=0, reserved_bytes=2**62))
    with pytest.raises(StoreFullError):
        receive(store)
    assert store.studies() == []
    store.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_leaves_no_part_of_an_instance(tiny_disk: Path) -> None:
    store = InstanceStore(tiny_disk, ROOMY)
    stored: list[StoredInstance] = []
    number = 0

    def fill() -> None:
        nonlocal number
        while True:
            number += 1
            stored.append(receive(store, number, text="x" * 9000))

    with pytest.raises(StoreFullError):
        fill()
    assert stored
    files = [path for path in (tiny_disk / "incoming").rglob("*.*") if path.is_file()]
    assert {path for path in files if path.name != ".lock"} == {one.path for one in stored}
    assert store.instances(KEY) == sorted(stored, key=lambda one: one.arrived)
    store.close()


# --- associations


def test_a_study_knows_the_open_associations_that_sent_a_part_of_it(store: InstanceStore) -> None:
    store.open_association(1)
    store.open_association(2)
    receive(store, 1, association=1)
    receive(store, 2, association=2)
    receive(store, 1, study="4.5", association=2)
    assert store.open_associations(KEY) == 2
    assert set(store.close_association(2)) == {KEY, study_key("VISCERA", "4.5")}
    study = store.study(KEY)
    assert study is not None
    assert study.open_associations == 1


# --- removing


def test_a_study_is_removed_whole(store: InstanceStore, tmp_path: Path) -> None:
    receive(store)
    receive(store, text="other")
    kept = receive(store, study="4.5")
    assert store.remove_study(KEY)
    assert [study.StudyInstanceUID for study in store.studies()] == ["4.5"]
    assert list((tmp_path / "incoming").rglob("*.dcm")) == [kept.path]
    assert not store.remove_study(KEY)
    assert receive(store).version == 1


def test_a_study_is_kept_if_something_arrived_since_the_decision(store: InstanceStore) -> None:
    decided_on = receive(store, 1).arrived
    receive(store, 2)
    assert not store.remove_study(KEY, last_arrival=decided_on)
    assert len(store.instances(KEY)) == 2


def test_what_arrives_while_its_study_is_removed_is_never_lost(
    store: InstanceStore, tmp_path: Path
) -> None:
    """Each acknowledged instance is there afterwards, or went with the study before its answer."""
    stop = threading.Event()

    def remove() -> int:
        removed = 0
        while not stop.wait(0.002):
            removed += store.remove_study(KEY)
        return removed

    with ThreadPoolExecutor(3) as pool:
        removing = pool.submit(remove)
        list(pool.map(lambda number: receive(store, number), range(60)))
        stop.set()
        assert removing.result() > 0
    last = receive(store, 99)
    assert last in store.instances(KEY)
    files = set((tmp_path / "incoming").rglob("*.dcm"))
    assert files == {one.path for one in store.instances(KEY)}
