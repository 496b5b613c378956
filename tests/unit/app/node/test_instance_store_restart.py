from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.errors import StoreError
from app.node.instance_store import InstanceStore
from app.node.stored import Origin
from tests.unit.app.node.received import KEY, ROOMY, SCANNER, receive


def reopened(store: InstanceStore, state: Path) -> InstanceStore:
    store.close()
    return InstanceStore(state, ROOMY)


def test_the_index_is_made_anew_from_the_files(store: InstanceStore, tmp_path: Path) -> None:
    receive(store, 1)
    receive(store, 2, series="2.2", origin=Origin("VISCERA", "PACS", "::1"))
    receive(store, 2, series="2.2", text="corrected")
    receive(store, 3, study="4.5")
    before = (store.studies(), store.instances(KEY))
    store.close()
    for path in tmp_path.glob("node.sqlite*"):
        path.unlink()
    again = InstanceStore(tmp_path, ROOMY)
    assert (again.studies(), again.instances(KEY)) == before
    again.close()


def test_an_instance_with_a_long_header_is_found_again(
    store: InstanceStore, tmp_path: Path
) -> None:
    text = "x" * 10_000
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = "1.2.3.1.1"
    block = header.private_block(0x0009, "VENDOR", create=True)
    block.add_new(1, "OB", text.encode() * 100)
    header.StudyInstanceUID = "1.2.3"
    header.SeriesInstanceUID = "1.2.3.1"
    buffer = DicomFileLike(io.BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, header)
    stored = store.receive(
        buffer.parent.getvalue(),
        SOPClassUID=CTImageStorage,
        SOPInstanceUID="1.2.3.1.1",
        TransferSyntaxUID=ExplicitVRLittleEndian,
        origin=SCANNER,
    )
    store.close()
    for path in tmp_path.glob("node.sqlite*"):
        path.unlink()
    again = InstanceStore(tmp_path, ROOMY)
    assert again.instances(KEY) == [stored]
    again.close()


def test_parts_of_files_and_of_removals_are_cleared_at_the_start(
    store: InstanceStore, tmp_path: Path
) -> None:
    stored = receive(store)
    (tmp_path / "incoming" / ".partial" / "7.part").write_bytes(b"half")
    stored.path.parent.rename(tmp_path / "incoming" / ".removed" / KEY)
    again = reopened(store, tmp_path)
    assert again.studies() == []
    assert not list((tmp_path / "incoming").rglob("*.part"))
    assert not list((tmp_path / "incoming").rglob("*.dcm"))
    assert again.audit.read(kind="file gone") == []
    again.close()


def test_a_file_that_is_gone_is_forgotten_and_told(store: InstanceStore, tmp_path: Path) -> None:
    gone = receive(store, 1)
    kept = receive(store, 2)
    gone.path.unlink()
    again = reopened(store, tmp_path)
    assert again.instances(KEY) == [kept]
    (event,) = again.audit.read(KEY)
    assert (event.kind, event.details) == ("file gone", {"file": gone.path.name})
    again.close()


def test_foreign_files_are_left_alone(store: InstanceStore, tmp_path: Path) -> None:
    stored = receive(store)
    (stored.path.parent / "notes.dcm").write_text("not ours")
    (stored.path.parent / f"{'0' * 32}-1.dcm").write_bytes(b"DICM" * 50)
    again = reopened(store, tmp_path)
    assert again.instances(KEY) == [stored]
    assert (stored.path.parent / "notes.dcm").is_file()
    again.close()


def test_a_second_process_is_kept_out(store: InstanceStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another process"):
        InstanceStore(tmp_path, ROOMY)


def test_a_damaged_index_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "node.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="made anew"):
        InstanceStore(tmp_path, ROOMY)


# --- audit trail


def test_the_audit_trail_keeps_its_order_over_a_restart(
    store: InstanceStore, tmp_path: Path
) -> None:
    store.audit.append("received", KEY, instances=3)
    store.audit.append("sent", "other", to="PACS")
    store.audit.append("completed", KEY, reason="quiet")
    again = reopened(store, tmp_path)
    assert [event.kind for event in again.audit.read()] == ["received", "sent", "completed"]
    assert [event.details for event in again.audit.read(KEY)] == [
        {"instances": 3},
        {"reason": "quiet"},
    ]
    assert [event.study_key for event in again.audit.read(kind="sent")] == ["other"]
    again.close()
