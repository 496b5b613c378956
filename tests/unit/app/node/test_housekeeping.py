from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dbos import DBOS
from pydicom import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from app.node.housekeeping import Housekeeping
from app.node.instance_store import InstanceStore
from app.node.job_desk import JobDesk
from app.node.job_inputs import JobInput, hand_in
from app.node.job_steps import JobRef
from app.node.metrics import NodeMetrics
from app.node.settings import NodeSettings, with_names
from app.node.store_disk import StoreSettings
from app.node.stored import Origin, study_key

DAY_S = 86400.0


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Workers:
    deaths = 0


@dataclass
class House:
    settings: NodeSettings
    store: InstanceStore
    desk: JobDesk
    metrics: NodeMetrics
    keeping: Housekeeping
    clock: Clock

    def receive(self, study: str) -> str:
        """One instance; returns the key of its study."""
        header = Dataset()
        header.SOPClassUID = CTImageStorage
        header.SOPInstanceUID = f"{study}.1.1"
        header.StudyInstanceUID = study
        header.SeriesInstanceUID = f"{study}.1"
        header.PatientComments = "x" * 5000
        buffer = DicomFileLike(io.BytesIO())
        buffer.is_implicit_VR, buffer.is_little_endian = False, True
        write_dataset(buffer, header)
        self.store.receive(
            buffer.parent.getvalue(),
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=header.SOPInstanceUID,
            TransferSyntaxUID=ExplicitVRLittleEndian,
            origin=Origin("VISCERA", "CT1", "10.0.0.7"),
        )
        return study_key("VISCERA", study)

    def hand_in(self, key: str) -> JobRef:
        version, instances = self.store.take(key)
        found = JobInput(
            StudyInstanceUID=instances[0].StudyInstanceUID,
            callers=("CT1",),
            files={i.SOPInstanceUID: i.path for i in instances},
        )
        job = hand_in(self.desk, key, "VISCERA", found, node="here", taken=version, priority=100)
        (self.settings.work_folder / job.job_id).mkdir(parents=True)
        return job

    @property
    def kept(self) -> set[str]:
        return {study.study_key for study in self.store.studies()}

    def number(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(name.partition("{")[0], _labels(name))


def _labels(name: str) -> dict[str, str]:
    inner = name.partition("{")[2].rstrip("}")
    return dict(pair.split("=") for pair in inner.split(",") if pair)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = Clock()
    document = {
        "state": str(tmp_path),
        "workflows": {"VISCERA": {"destinations": ["share"]}},
        "destinations": {"share": {"kind": "folder", "folder": str(tmp_path)}},
        "jobs": {"node": "here"},
        "retention": {"longest_age_s": 3 * DAY_S, "largest_bytes": 20_000},
    }
    settings = NodeSettings.model_validate(with_names(document))
    store = InstanceStore(tmp_path, StoreSettings(min_free_bytes=0, reserved_bytes=0), clock)
    url = f"sqlite:///{tmp_path / 'dbos.sqlite'}"
    DBOS(config={"name": "house", "system_database_url": url})
    desk = JobDesk(url, clock)
    DBOS.launch()
    metrics = NodeMetrics(tmp_path, clock)
    (tmp_path / "work").mkdir()
    keeping = Housekeeping(settings, store, desk, Workers(), metrics)  # type: ignore[arg-type]
    keeping._ended_until = 0.0
    yield House(settings, store, desk, metrics, keeping, clock)
    DBOS.destroy(destroy_registry=True)
    desk.close()
    store.close()


def test_old_studies_go_once_no_job_needs_them(house: House) -> None:
    done, goes_on = house.receive("1.1"), house.receive("1.2")
    job = house.hand_in(done)
    house.hand_in(goes_on)
    house.desk.cancel(job.job_id)
    arriving = house.receive("1.3")
    house.keeping.delete_old(house.clock.now + DAY_S)
    assert house.kept == {done, goes_on, arriving}
    house.keeping.delete_old(house.clock.now + 4 * DAY_S)
    assert house.kept == {goes_on, arriving}
    assert [event.kind for event in house.store.audit.read(done)] == ["deleted"]


def test_the_oldest_studies_go_where_there_is_too_much(house: House) -> None:
    keys = []
    for number in range(5):
        keys.append(house.receive(f"1.{number}"))
        house.desk.cancel(house.hand_in(keys[-1]).job_id)
        house.clock.now += 60
    house.keeping.delete_old(house.clock.now)
    assert house.kept == set(keys[2:])


def test_a_study_that_comes_again_after_its_removal_is_worked_on_again(house: House) -> None:
    key = house.receive("1.1")
    house.desk.cancel(house.hand_in(key).job_id)
    house.keeping.delete_old(house.clock.now + 4 * DAY_S)
    assert house.kept == set()
    house.receive("1.1")
    assert house.hand_in(key).version == 2


def test_numbers_tell_what_has_ended_once(house: House) -> None:
    house.hand_in(house.receive("1.1"))
    house.keeping.refresh_numbers()
    assert house.number("viscera_queue_jobs{status=queued}") == 1
    house.clock.now += 1
    job = house.desk.jobs()[0].job.job_id
    with house.desk.engine.begin() as connection:
        house.desk.change(connection, job, status="failed", step="send", reason="no answer")
    for _ in range(2):
        house.keeping.refresh_numbers()
    assert house.number("viscera_failures_total{reason=not_delivered}") == 1
    assert house.number("viscera_queue_jobs{status=failed}") == 1
